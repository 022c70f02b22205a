"""Starting a sweep and going on with one: all refusals first, then Ray."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from search_spaces.match_checks import check_reachable
from search_spaces.study import Study
from sweep.endings import Interrupted
from sweep.log_to import LogTo, parse_log_to
from sweep.records.reader import read_manifest
from sweep.records.schema import MANIFEST
from trainables.errors import UserError
from trainables.strict import parse

if TYPE_CHECKING:
    from ray.tune.logger import LoggerCallback

    from sweep.conductor import Conductor

    Loggers = Sequence[tuple[LogTo, LoggerCallback]]


def start_sweep(
    study: Study,
    *,
    out: Path | None,
    address: str | None,
    download: bool,
    command: str,
    console: Console,
    log_to: Sequence[str] = (),
) -> Path:
    """Run a study in a new folder; return the folder. The folder is made once the cluster has been reached.

    Raises:
        UserError: the study, its data, the folder, a logger or the cluster cannot be used.
        Interrupted: by Ctrl-C.
    """
    from sweep.conductor import Conductor
    from sweep.engine import cluster, locked
    from sweep.manifest import new_manifest, with_run
    from sweep.records.writer import write_manifest

    sweep_dir, targets = _new_folder(study, out), parse_log_to(log_to)
    loggers = _open_loggers(targets, sweep_dir, study)
    fingerprints = prepare(study, address=address, download=download, console=console)
    with cluster(study.resources, address=address, console=console) as slots:
        _make_folder(sweep_dir)
        with locked(sweep_dir):
            write_manifest(sweep_dir, with_run(new_manifest(study, sweep_dir, command, fingerprints), command))
            _run(Conductor(study, sweep_dir), sweep_dir, slots, address, console, loggers)
    return sweep_dir


def resume_sweep(
    sweep_dir: Path,
    *,
    address: str | None,
    retry_failed: bool,
    command: str,
    console: Console,
    change: Callable[[Study], Study] | None = None,
    log_to: Sequence[str] = (),
) -> None:
    """Go on with an interrupted sweep, or with one whose study is changed so that there is more to do.

    Raises:
        UserError: there is no sweep, it is in use, its data is gone or another, or it cannot be changed so.
        Interrupted: by Ctrl-C.
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
        fingerprints = prepare(study, address=address, download=False, console=console)
        for source, fingerprint in manifest["data"].items():
            if fingerprints.get(source) != fingerprint:
                raise UserError(f"the images of '{source}' are no longer those that '{sweep_dir}' was begun with")
        conductor = Conductor(study, sweep_dir, retry_failed=retry_failed)
        if not conductor.n_left:
            console.print(f"all {conductor.n_trials} trials of '{sweep_dir}' have ended", soft_wrap=True, markup=False)
            return
        loggers = _open_loggers(targets, sweep_dir, study)
        with cluster(study.resources, address=address, console=console) as slots:
            # only now: a cluster that cannot be reached must not leave a changed study behind
            write_manifest(sweep_dir, with_run({**manifest, "data": fingerprints}, command))
            _run(conductor, sweep_dir, slots, address, console, loggers)


def prepare(study: Study, *, address: str | None, download: bool, console: Console) -> dict[str, str]:
    """Refuse what cannot run and decode what this node has not decoded yet.

    Returns:
        Fingerprint of the training images by data source.

    Raises:
        UserError: resources, data or image size do not do.
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
        with console.status(f"opening {escape(data.source)} (decoded once, then shared by all trials)"):
            images = prepare_data(data).images
            if study.confirm is not None:
                prepare_test(data)
        height_px, width_px = images.images.shape[1:3]
        build_model(config.model, n_classes=len(images.classes), height_px=height_px, width_px=width_px, seed=0)
    if study.match is not None:
        with console.status("matching the dose of the arms"):
            check_reachable(study)
    return {data.source: open_source(data.source).fingerprint("train") for data in configs}


def _open_loggers(targets: Sequence[LogTo], sweep_dir: Path, study: Study) -> Loggers:
    if not targets:
        return []
    from sweep.tune_loggers import open_logger

    return [(target, open_logger(target, sweep_dir, study=study.name)) for target in targets]


def _run(
    conductor: Conductor, sweep_dir: Path, slots: int, address: str | None, console: Console, loggers: Loggers
) -> None:
    from sweep.engine import run_trials

    console.print(
        f"{conductor.study.name}: {conductor.n_left} of {conductor.n_trials} trials to run, {slots} at a time,"
        f" records in {sweep_dir}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    callbacks = []
    if loggers:
        from sweep.tune_loggers import ShowingCallback

        callbacks = [ShowingCallback(logger, target, conductor, sweep_dir, console) for target, logger in loggers]
    with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C while Tune ends
        run_trials(sweep_dir, conductor, slots=slots, console=console, callbacks=callbacks)
    if conductor.n_left:
        raise Interrupted(sweep_dir, address, conductor.n_trials - conductor.n_left, conductor.n_trials)


def _new_folder(study: Study, out: Path | None) -> Path:
    """Choose the folder of a new sweep, without making it."""
    if out is not None and ":/" in str(out):  # a Path writes s3://bucket as s3:/bucket
        raise UserError(f"--out '{out}': must be a folder that all nodes of the cluster see, not an address")
    stamp = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    sweep_dir = (out or Path("sweeps") / f"{study.name}-{stamp}").absolute()
    if (sweep_dir / MANIFEST).exists():
        raise UserError(f"--out '{sweep_dir}' holds a sweep already: go on with it by: cutmix-sweep resume {sweep_dir}")
    if sweep_dir.is_dir() and any(sweep_dir.iterdir()):
        raise UserError(f"--out '{sweep_dir}' is not empty: name a new folder")
    nearest = next(folder for folder in (sweep_dir, *sweep_dir.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--out '{sweep_dir}': cannot write to '{nearest}'")
    return sweep_dir


def _make_folder(sweep_dir: Path) -> None:
    try:
        sweep_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out '{sweep_dir}': {error.strerror}") from None
