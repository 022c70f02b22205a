"""Starting a sweep and going on with one: all refusals first, then Ray."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from rich.console import Console

from search_spaces.study import Study
from sweep.endings import Interrupted
from sweep.records.reader import read_manifest
from sweep.records.schema import MANIFEST
from trainables.errors import UserError
from trainables.strict import parse


def start(
    study: Study, *, out: Path | None, address: str | None, download: bool, command: str, console: Console
) -> Path:
    """Run a study in a new folder; return the folder.

    Raises:
        UserError: the study, its data, the folder or the cluster cannot be used.
    """
    sweep_dir = _new_folder(study, out)
    prepare(study, address=address, download=download, console=console)
    from sweep.manifest import new_manifest

    _make_folder(sweep_dir)
    _go(study, sweep_dir, new_manifest(study, sweep_dir, command), address, command, console)
    return sweep_dir


def resume(sweep_dir: Path, *, address: str | None, retry_failed: bool, command: str, console: Console) -> None:
    """Go on with an interrupted sweep.

    Raises:
        UserError: there is no sweep, it is in use, or its data is gone.
    """
    sweep_dir = sweep_dir.resolve()
    manifest = read_manifest(sweep_dir)
    study = parse(Study, manifest["study"], where=f"'{sweep_dir / MANIFEST}'")
    prepare(study, address=address, download=False, console=console)
    _go(study, sweep_dir, manifest, address, command, console, retry_failed=retry_failed)


def prepare(study: Study, *, address: str | None, download: bool, console: Console) -> None:
    """Refuse what cannot run and decode what this node has not decoded yet.

    Raises:
        UserError: resources, data or image size do not do.
    """
    from sweep.engine import check_local
    from trainables.data.sources.registry import open_source

    configs = {
        config.data: config
        for arm in study.arms
        for config in (study.trial_config(arm, study.draw(arm, 0), replicate=0),)
    }
    for data in configs:
        source = open_source(data.source)
        if download:
            source.download()
        source.check()
    if address is None:
        check_local(study.resources)
    from trainables.data.prepared import prepare_data
    from trainables.models.build import build_model

    for data, config in configs.items():
        with console.status(f"opening {data.source} (decoded once, then shared by all trials)"):
            images = prepare_data(data).images
        height_px, width_px = images.images.shape[1:3]
        build_model(config.model, n_classes=len(images.classes), height_px=height_px, width_px=width_px, seed=0)


def _go(
    study: Study,
    sweep_dir: Path,
    manifest: dict[str, object],
    address: str | None,
    command: str,
    console: Console,
    *,
    retry_failed: bool = False,
) -> None:
    from sweep.conductor import Conductor
    from sweep.engine import cluster, locked, run_trials
    from sweep.manifest import with_run
    from sweep.records.writer import write_manifest

    with locked(sweep_dir):
        write_manifest(sweep_dir, with_run(manifest, command))
        conductor = Conductor(study, sweep_dir, retry_failed=retry_failed)
        if not conductor.n_left:
            console.print(f"all {conductor.n_trials} trials of '{sweep_dir}' have ended")
            return
        console.print(
            f"{study.name}: {conductor.n_left} of {conductor.n_trials} trials to run, records in {sweep_dir}",
            highlight=False,
            soft_wrap=True,
        )
        with cluster(study.resources, address=address, console=console) as slots:
            run_trials(study, sweep_dir, conductor, slots=slots, console=console)
        if conductor.n_left:
            raise Interrupted(sweep_dir, conductor.n_trials - conductor.n_left, conductor.n_trials)


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
