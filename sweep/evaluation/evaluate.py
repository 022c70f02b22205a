"""Evaluate the models of a sweep: select trials and axes, measure on Ray, read the results."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from search_spaces.own_parts import own_parts
from search_spaces.resources import Resources
from sweep.connection import check_connection
from sweep.display import SILENT, Display
from sweep.endings import HERE, FolderLost, Joined, resume_command
from sweep.evaluation.pictures import write_sheets
from sweep.evaluation.request import (
    Task,
    applicable_axes,
    data_of,
    list_tasks,
    own_axes,
    read_contents,
    select_axes,
    select_trials,
)
from sweep.images import check_same_images, present_places, recorded_places, show_data_warnings, with_images
from sweep.ledger import model_damage
from sweep.node_checker import NodeChecker, checked_nodes
from sweep.node_record import follow_nodes, with_nodes
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import EVALUATIONS, FAILED, MEASUREMENTS
from sweep.run_log import LoggedDisplay
from sweep.signals import catch_signals, current_signals
from sweep.slots import Slots, start_patience_s
from trainables.data.places import images_at
from trainables.data.sources.registry import SOURCES
from trainables.evaluation.base import Axis
from trainables.networks import NETWORKS
from trainables.own_part import shipped_paths
from trainables.strict import parse


@dataclass(frozen=True)
class Evaluated:
    """Results of an evaluation.

    Attributes:
        trials: records of the requested trials, one row per trial, from :func:`select_trials`.
        axes: requested axes by name.
        evaluations: values of these trials and axes under these settings.
        failures: records of the failed measurements, with the reasons.
        pictures: files of pictures, one sheet per arm.
        damaged: trials that were not measured, because their model is not the recorded one.
    """

    trials: pd.DataFrame
    axes: Mapping[str, Axis]
    evaluations: pd.DataFrame
    failures: pd.DataFrame
    pictures: Sequence[Path]
    damaged: Sequence[str] = ()


@catch_signals()
def evaluate_sweep(
    sweep_dir: Path,
    *,
    axes: Sequence[str] | None = None,
    trials: Sequence[str] | None = None,
    settings: Sequence[str] = (),
    data: str | None = None,
    joined: Joined = HERE,
    cpus: int | None = None,
    gpus: float | None = None,
    command: str = "sweep.evaluation.evaluate.evaluate_sweep",
    display: Display = SILENT,
) -> Evaluated:
    """Measure trials of a sweep and return the results; a measurement that is recorded already is not repeated.

    Args:
        sweep_dir: folder of the sweep.
        axes: names of axes; None: all applicable axes except those on request.
        trials: names of trials, or ``search``; None: the completed confirmation trials of present winners.
        settings: settings of the axes, for example ``ood.n_images=500``.
        data: present place of the sweep's images if they were moved, for example ``imagefolder:photos``; None: where
            the last run read them.
        joined: cluster of the run; by default Ray is started on this machine.
        cpus: CPU cores per measurement; None: as many as a trial of the sweep.
        gpus: GPUs per measurement; None: as many as a trial of the sweep.
        command: how the evaluation was started, for the manifest.
        display: shows the progress.

    Raises:
        UserError: a trial, an axis or a setting does not exist or is not applicable; nothing has been started then.
        EvaluationInterrupted: by a signal; finished measurements are recorded.

    Examples:
        >>> evaluated = evaluate_sweep(Path("demo"), axes=["calibration"])  # doctest: +SKIP
    """
    from sweep.engine import cluster
    from sweep.lock import locked
    from sweep.manifest import add_part_folders, check_unchanged, read_study, with_parts, with_run
    from sweep.records.study_edits import check_study

    display, sweep_dir = LoggedDisplay(display), Path(os.path.realpath(sweep_dir))
    check_study(sweep_dir)  # the run that is recorded below would vouch for it
    manifest = read_manifest(sweep_dir)
    for warning in add_part_folders(manifest, sweep_dir):
        display.show_warning(warning)
    study = read_study(manifest, sweep_dir)
    check_connection(joined.address, insecure=joined.insecure)
    selected = select_trials(sweep_dir, trials)
    chosen = select_axes(axes, settings)
    places = present_places(manifest, [each.source for each in data_of(selected)], data)
    with images_at(places), show_data_warnings(display.show_warning):
        contents = read_contents(selected)
        recorded = {source: splits for source, splits in manifest["data"].items() if source in contents}
        check_same_images(recorded, contents, places, sweep_dir)
        applicable = applicable_axes(chosen, selected, by_name=axes is not None, display=display)
    resources = _resources(study.resources, cpus, gpus)
    parts = [part for part in own_parts(study) if part.kind in (SOURCES.kind, NETWORKS.kind)]
    parts += own_axes(applicable)
    for warning in check_unchanged(manifest, parts, sweep_dir):
        display.show_warning(warning)
    modules = shipped_paths([*own_parts(study), *parts])
    with locked(sweep_dir, show_status=display.show_status):
        tasks = list_tasks(sweep_dir, selected, applicable)
        damaged = _damaged(sweep_dir, tasks, display)
        tasks = [task for task in tasks if task.trial not in damaged]
        _write_headlines(sweep_dir, applicable)
        if tasks:
            ray_ = cluster(
                resources,
                address=joined.address,
                display=display,
                modules=modules,
                start_timeout_s=start_patience_s(joined.start_timeout),
            )
            with ray_ as slots, contextlib.ExitStack() as stack:
                images = {source: place.source for source, place in places.items()}
                manifest = with_parts(with_images(read_manifest(sweep_dir), contents), parts)
                manifest = with_run(manifest, command, images=images, joined=joined)
                measured = study.model_copy(update={"resources": resources})
                checking = checked_nodes(
                    measured,
                    sweep_dir,
                    manifest,
                    joined=joined,
                    display=display,
                    read=slots.living,
                )
                checker = stack.enter_context(checking)
                current_signals().bound("interrupted; run the same command again for the other measurements")
                _measure(tasks, sweep_dir, manifest, resources, slots, checker, joined.max_trials, display)
        pictures = [path for name in applicable for path in write_sheets(sweep_dir, name, selected)]
    return replace(_read_results(sweep_dir, selected, applicable, pictures), damaged=damaged)


def _measure(
    tasks: Sequence[Task],
    sweep_dir: Path,
    manifest: dict[str, Any],
    resources: Resources,
    slots: Slots,
    checker: NodeChecker | None,
    max_trials: int | None,
    display: LoggedDisplay,
) -> None:
    """Record the run, and run the measurements on the nodes that can run them."""
    from sweep.evaluation.run import run_tasks
    from sweep.records.writer import write_manifest

    if checker is not None:
        slots.nodes = checker.nodes
        slots.update(now=True)
        follow_nodes(checker.nodes, sweep_dir, display.show_warning)
    manifest = with_nodes(manifest, slots.nodes)
    write_manifest(sweep_dir, manifest)
    with display.log_run(sweep_dir, manifest["runs"][-1]):
        try:
            run_tasks(
                tasks,
                sweep_dir,
                resources,
                slots=slots,
                max_tasks=max_trials,
                display=display,
                places=recorded_places(manifest),
                poll=checker.poll if checker else lambda: None,
            )
        except FileNotFoundError as error:
            if sweep_dir.exists():
                raise
            raise FolderLost(sweep_dir) from error


def _damaged(sweep_dir: Path, tasks: Sequence[Task], display: Display) -> list[str]:
    """Return the trials whose model is not the recorded one, and show one line for each of them."""
    damaged = []
    with display.show_status("checking the models"):
        for trial, record in {task.trial: task.record for task in tasks}.items():
            sha256 = record["model_sha256"]
            damage = model_damage(sweep_dir, trial, sha256 if isinstance(sha256, str) else None)
            if damage is not None:
                damaged.append(trial)
                regain = f"regain it with: {resume_command(sweep_dir)}"
                display.show_warning(f"trial {trial} is not measured: {damage}; {regain}")
    return damaged


def _write_headlines(sweep_dir: Path, axes: Mapping[str, Axis]) -> None:
    """Record which quantities of each axis come first: reports show these, and cannot import the axes."""
    from sweep.records.writer import write_manifest

    manifest = read_manifest(sweep_dir)
    headlines = manifest.get("headlines", {}) | {
        name: [list(quantity) for quantity in axis.headline] for name, axis in axes.items()
    }
    if headlines != manifest.get("headlines"):
        write_manifest(sweep_dir, {**manifest, "headlines": headlines})


def _resources(resources: Resources, cpus: int | None, gpus: float | None) -> Resources:
    changes = {name: value for name, value in (("cpus", cpus), ("gpus", gpus)) if value is not None}
    changes["workers"] = 1  # a measurement is not shared
    return parse(Resources, resources.model_dump() | changes, where="resources")


def _read_results(
    sweep_dir: Path, trials: pd.DataFrame, axes: Mapping[str, Axis], pictures: Sequence[Path]
) -> Evaluated:
    """Read the records of these trials and axes under these settings."""
    requested = {(name, axis.model_dump_json()) for name, axis in axes.items()}

    def select(rows: pd.DataFrame) -> pd.DataFrame:
        keys = np.array([key in requested for key in zip(rows["axis"], rows["settings"], strict=True)], dtype=bool)
        return rows[keys & rows["trial"].isin(trials["trial"])].reset_index(drop=True)

    measurements = select(read_table(sweep_dir, MEASUREMENTS))
    evaluations = select(read_table(sweep_dir, EVALUATIONS))
    return Evaluated(trials, axes, evaluations, measurements[measurements["status"] == FAILED], pictures)
