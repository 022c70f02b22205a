"""Evaluating a sweep's models: what is chosen, measured on Ray, and found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from search_spaces.study import Resources, Study
from sweep.evaluation.pictures import write_sheets
from sweep.evaluation.request import applicable_axes, chosen_axes, chosen_trials, tasks_left
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import EVALUATIONS, FAILED, MANIFEST, MEASUREMENTS
from trainables.evaluation.base import Axis
from trainables.strict import parse


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation left.

    Attributes:
        trials: rows of the records of the trials that were asked for.
        axes: the axes that were asked for, by name.
        evaluations: values of these trials and axes under these settings.
        failures: rows of the axes' table: what could not be measured, and why.
        pictures: files of pictures, a sheet an arm.
    """

    trials: pd.DataFrame
    axes: Mapping[str, Axis]
    evaluations: pd.DataFrame
    failures: pd.DataFrame
    pictures: Sequence[Path]


def evaluate_sweep(
    sweep_dir: Path,
    *,
    axes: Sequence[str] | None,
    trials: Sequence[str] | None,
    settings: Sequence[str],
    address: str | None,
    cpus: int | None,
    gpus: float | None,
    command: str,
    console: Console,
) -> Evaluated:
    """Measure trials of a sweep; what was measured under the same settings before is not measured again.

    Args:
        sweep_dir: the sweep.
        axes: names of axes; None: all that suit the data and need nothing to be set.
        trials: names of trials; None: all that a confirmation has completed.
        settings: values of the axes, as in ``ood.n_images=500``.
        address: cluster to join.
        cpus: cores of a task; None: as for a trial of the sweep.
        gpus: GPUs of a task, likewise.
        command: command line, for the manifest.
        console: shows the progress.

    Raises:
        UserError: something asked for does not exist or does not suit; nothing has begun then.
        EvaluationInterrupted: by Ctrl-C; what was measured is recorded.
    """
    from sweep.engine import cluster, locked
    from sweep.evaluation.run import run_tasks
    from sweep.manifest import with_run
    from sweep.records.writer import write_manifest

    sweep_dir = sweep_dir.resolve()
    study = parse(Study, read_manifest(sweep_dir)["study"], where=f"'{sweep_dir / MANIFEST}'")
    chosen = chosen_trials(sweep_dir, trials)
    suits = applicable_axes(chosen_axes(axes, settings), chosen, asked=axes is not None, console=console)
    resources = _resources(study.resources, cpus, gpus)
    with locked(sweep_dir):
        tasks = tasks_left(sweep_dir, chosen, suits)
        _write_headlines(sweep_dir, suits)
        if tasks:
            with cluster(resources, address=address, console=console) as slots:
                write_manifest(sweep_dir, with_run(read_manifest(sweep_dir), command))
                run_tasks(tasks, sweep_dir, resources, slots=slots, console=console)
        pictures = [path for name in suits for path in write_sheets(sweep_dir, name, chosen)]
    return _found(sweep_dir, chosen, suits, pictures)


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
    given = {name: value for name, value in (("cpus", cpus), ("gpus", gpus)) if value is not None}
    return parse(Resources, resources.model_dump() | given, where="resources")


def _found(sweep_dir: Path, trials: pd.DataFrame, axes: Mapping[str, Axis], pictures: Sequence[Path]) -> Evaluated:
    """Read what is recorded of trials and axes under these settings."""
    wanted = {(name, axis.model_dump_json()) for name, axis in axes.items()}

    def asked_for(rows: pd.DataFrame) -> pd.DataFrame:
        keys = np.array([key in wanted for key in zip(rows["axis"], rows["settings"], strict=True)], dtype=bool)
        return rows[keys & rows["trial"].isin(trials["trial"])].reset_index(drop=True)

    measured = asked_for(read_table(sweep_dir, MEASUREMENTS))
    evaluations = asked_for(read_table(sweep_dir, EVALUATIONS))
    return Evaluated(trials, axes, evaluations, measured[measured["status"] == FAILED], pictures)
