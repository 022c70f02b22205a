"""Start and resume sweeps: check everything first, then start Ray."""

from __future__ import annotations

import contextlib
import datetime
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.match_checks import check_reachable
from search_spaces.study import Study
from sweep.display import SILENT, Display
from sweep.endings import Interrupted
from sweep.log_to import LogTo, parse_log_to
from sweep.records.reader import read_manifest
from sweep.records.schema import MANIFEST
from trainables.errors import UserError, shorten
from trainables.strict import parse

if TYPE_CHECKING:
    from ray.tune.logger import LoggerCallback

    from sweep.conductor import Conductor

    Loggers = Sequence[tuple[LogTo, LoggerCallback]]


def start_sweep(
    study: Study,
    *,
    out: Path | None = None,
    address: str | None = None,
    download: bool = False,
    command: str = "sweep.launch.start_sweep",
    display: Display = SILENT,
    log_to: Sequence[str] = (),
    project: Path | None = None,
) -> Path:
    """Run a study in a new folder and return the folder, which is made once the cluster has been reached.

    Args:
        study: the study, for example from ``search_spaces.discover.load_study``.
        out: folder of the sweep, new or empty; None: ``sweeps/STUDY-TIME``.
        address: Ray cluster to join, ``auto`` or ``HOST:PORT``; None: start Ray on this machine.
        download: whether missing public data are downloaded.
        command: how the sweep was started, for the manifest.
        display: shows the progress.
        log_to: live loggers, for example ``wandb:cutmix``.
        project: folder of the user's project, whose commit is recorded; None: the working directory.

    Raises:
        UserError: the study, its data, the folder, a logger or the cluster cannot be used.
        Interrupted: by Ctrl-C.

    Examples:
        >>> from search_spaces.discover import load_study
        >>> sweep_dir = start_sweep(load_study("quickstart", scale="smoke"), out=Path("demo"))  # doctest: +SKIP
    """
    from sweep.conductor import Conductor
    from sweep.engine import cluster, locked
    from sweep.manifest import new_manifest, with_run
    from sweep.records.writer import write_manifest

    sweep_dir, targets = _new_folder(study, out), parse_log_to(log_to)
    loggers = _open_loggers(targets, sweep_dir, study)
    fingerprints = prepare(study, address=address, download=download, display=display)
    with cluster(study.resources, address=address, display=display) as slots:
        _make_folder(sweep_dir)
        with locked(sweep_dir):
            manifest = new_manifest(study, sweep_dir, command, fingerprints)
            write_manifest(sweep_dir, with_run(manifest, command, project=project))
            _run(Conductor(study, sweep_dir), sweep_dir, slots, address, display, loggers)
    return sweep_dir


def resume_sweep(
    sweep_dir: Path,
    *,
    address: str | None = None,
    retry_failed: bool = False,
    command: str = "sweep.launch.resume_sweep",
    display: Display = SILENT,
    change: Callable[[Study], Study] | None = None,
    log_to: Sequence[str] = (),
) -> None:
    """Resume an interrupted sweep, or continue a sweep whose study is changed so that there is more to do.

    Args:
        sweep_dir: folder of the sweep.
        address: Ray cluster to join, ``auto`` or ``HOST:PORT``; None: start Ray on this machine.
        retry_failed: whether failed trials are restarted.
        command: how the sweep was resumed, for the manifest.
        display: shows the progress.
        change: returns the changed study; see ``search_spaces.extension``.
        log_to: live loggers, for example ``wandb:cutmix``.

    Raises:
        UserError: there is no sweep, it is in use, its data are gone or different, or the change is not possible.
        Interrupted: by Ctrl-C.

    Examples:
        >>> resume_sweep(Path("demo"))  # doctest: +SKIP
    """
    from sweep.conductor import Conductor
    from sweep.engine import cluster, locked
    from sweep.manifest import with_run, with_study
    from sweep.records.writer import write_manifest

    sweep_dir, targets = sweep_dir.resolve(), parse_log_to(log_to)
    read_manifest(sweep_dir)
    with locked(sweep_dir):
        manifest = read_manifest(sweep_dir)
        study = parse(Study, manifest["study"], where=f"'{sweep_dir / MANIFEST}'")
        if change is not None:
            study = change(study)
            manifest = with_study(manifest, study)
        fingerprints = prepare(study, address=address, download=False, display=display)
        for source, fingerprint in manifest["data"].items():
            if fingerprints.get(source) != fingerprint:
                raise UserError(
                    f"the images of '{source}' differ from the images that '{sweep_dir}' was started with: restore "
                    "them, or start a new sweep with: cutmix-sweep run"
                )
        conductor = Conductor(study, sweep_dir, retry_failed=retry_failed)
        if not conductor.n_left:
            display.show_line(f"all {conductor.n_trials} trials of '{sweep_dir}' have ended: nothing to resume")
            return
        loggers = _open_loggers(targets, sweep_dir, study)
        with cluster(study.resources, address=address, display=display) as slots:
            # written only now: a cluster that cannot be reached must not leave a changed study behind
            write_manifest(sweep_dir, with_run({**manifest, "data": fingerprints}, command))
            _run(conductor, sweep_dir, slots, address, display, loggers)


def prepare(study: Study, *, address: str | None, download: bool, display: Display = SILENT) -> dict[str, str]:
    """Check that all trials of a study can run, and decode the images that this node has not decoded yet.

    Returns:
        Fingerprint of the training images by data source.

    Raises:
        UserError: the resources, the data or the image size cannot be used.
    """
    from sweep.engine import check_address, check_local
    from trainables.data.sources.registry import open_source

    check_address(address)
    configs = {config.data: config for arm in study.arms for config in study.extremes(arm)}
    for data in configs:
        source = open_source(data.source)
        if download:
            source.download()
        source.check()
    if address is None:
        check_local(study.resources)
    from trainables.data.prepared import prepare_data, prepare_test
    from trainables.models.build import build_model

    for data, config in configs.items():
        with display.show_status(f"preparing the images of {data.source} (decoded once per node for all trials)"):
            images = prepare_data(data).images
            if study.confirm is not None:
                prepare_test(data)
        height_px, width_px = images.images.shape[1:3]
        build_model(config.model, n_classes=len(images.classes), height_px=height_px, width_px=width_px, seed=0)
    if study.match is not None:
        with display.show_status("matching the dose of the arms"):
            check_reachable(study)
    return {data.source: open_source(data.source).fingerprint("train") for data in configs}


def _open_loggers(targets: Sequence[LogTo], sweep_dir: Path, study: Study) -> Loggers:
    if not targets:
        return []
    from sweep.tune_loggers import open_logger

    return [(target, open_logger(target, sweep_dir, study=study.name)) for target in targets]


def _run(
    conductor: Conductor, sweep_dir: Path, slots: int, address: str | None, display: Display, loggers: Loggers
) -> None:
    from sweep.engine import run_trials

    display.show_line(
        f"{conductor.study.name}: {conductor.n_left} of {conductor.n_trials} trials to run, {slots} at a time, "
        f"records in {sweep_dir}"
    )
    callbacks = []
    if loggers:
        from sweep.tune_loggers import LoggingCallback

        callbacks = [LoggingCallback(logger, target, conductor, sweep_dir, display) for target, logger in loggers]
    with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C while Tune ends
        run_trials(sweep_dir, conductor, slots=slots, display=display, callbacks=callbacks)
    if conductor.n_left:
        raise Interrupted(sweep_dir, address, conductor.n_trials - conductor.n_left, conductor.n_trials)


def _new_folder(study: Study, out: Path | None) -> Path:
    """Return the folder of a new sweep, which is checked but not made."""
    if out is not None and ":/" in str(out):  # a Path writes s3://bucket as s3:/bucket
        raise UserError(f"--out '{out}': must be a folder that all nodes of the cluster can use, not an address")
    stamp = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    sweep_dir = (out or Path("sweeps") / f"{study.name}-{stamp}").absolute()
    try:
        _check_new_folder(sweep_dir)
    except OSError as error:  # for example a name that is too long
        raise UserError(f"--out '{shorten(str(out or sweep_dir))}': {error.strerror}") from None
    return sweep_dir


def _check_new_folder(sweep_dir: Path) -> None:
    if (sweep_dir / MANIFEST).exists():
        resume = f"cutmix-sweep resume {shlex.quote(str(sweep_dir))}"
        raise UserError(f"--out '{sweep_dir}' already contains a sweep: resume it with: {resume}")
    if sweep_dir.is_dir() and any(sweep_dir.iterdir()):
        raise UserError(f"--out '{sweep_dir}' is not empty: choose a new folder")
    nearest = next(folder for folder in (sweep_dir, *sweep_dir.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--out '{sweep_dir}': cannot write to '{nearest}'")


def _make_folder(sweep_dir: Path) -> None:
    try:
        sweep_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out '{sweep_dir}': {error.strerror}") from None
