"""Errors by which the arms of a sweep are compared: on test images once confirmed, otherwise on validation images.

The tables have one row per trial: ``arm``, ``replicate`` (equal replicates share their seed), ``error`` (top-1, a
fraction), ``images`` (on which it was measured), ``baseline`` (the arm that the others are compared with), and
``sweep`` where there are several sweeps.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis.data import frames
from analysis.data.grid import ERROR, by_seed
from sweep.findings.confirmed import summarise_confirmed, test_values
from sweep.findings.summary import baseline_arm
from sweep.records.errors import RecordsError
from sweep.records.reader import read_sweep
from sweep.records.schema import CONFIRM

SWEEP_DIRS = "CUTMIX_SWEEP_DIRS"
"""Environment variable that names the folders of several sweeps, separated as in ``PATH``."""


TEST, VALIDATION = "test", "validation"
"""Images on which arms are compared."""


def labels(sweep_dirs: Sequence[Path | str] | None = None) -> dict[str, Path]:
    """Name sweeps by their folders, those of equal name by their parents' as well.

    Args:
        sweep_dirs: the folders; None takes those of the environment variable ``CUTMIX_SWEEP_DIRS``.

    Raises:
        RecordsError: no folder, or one twice.
    """
    given = [part for part in os.environ.get(SWEEP_DIRS, "").split(os.pathsep) if part]
    folders = [Path(folder) for folder in (given if sweep_dirs is None else sweep_dirs)]
    if not folders:
        raise RecordsError(f"no sweeps to compare: pass their folders or set the environment variable {SWEEP_DIRS}")
    resolved = [folder.resolve() for folder in folders]
    if twice := [str(folder) for place, folder in enumerate(folders) if resolved[place] in resolved[:place]]:
        raise RecordsError(f"sweep '{twice[0]}' is given twice")
    names = [folder.name for folder in resolved]
    unique = [
        folder.name if names.count(folder.name) == 1 else "-".join(folder.parts[1:])
        for folder in resolved  # a whole path is never another one
    ]
    return dict(zip(unique, folders, strict=True))


def arm_values(sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Gather the errors by which the arms of a sweep are compared.

    On test images, once an arm has been confirmed: those of each arm's best configuration, over fresh seeds. Else on
    validation images: of all trials of the search after their last epoch, whatever they drew, nan where not completed;
    of a grid, means over its settings, a row a seed.

    Args:
        sweep_dir: its folder; None takes the environment variable ``CUTMIX_SWEEP_DIR``.

    Returns:
        One row a trial, in the order of the study's arms: ``arm``, ``replicate``, ``error``, ``images``, ``baseline``.

    Raises:
        ValueError: no readable sweep.
    """
    folder = frames.folder_of(sweep_dir)
    search = frames.load(folder)
    baseline = baseline_arm(search.manifest["study"])
    best = best_confirmed(folder)
    if best.empty:
        values = by_seed(search.trials, value=ERROR)
        return _ordered(values[["arm", "replicate"]].assign(error=values[ERROR]), VALIDATION, baseline)
    confirm = frames.load(folder, phase="confirm")
    errors = test_values(confirm.evaluations).query("metric == 'top1_error'").set_index("trial")["value"]
    return _ordered(best[["arm", "replicate"]].assign(error=best["trial"].map(errors)), TEST, baseline)


def best_confirmed(sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Return the confirming trials of each arm's best configuration, as the search ranks them now; none at first."""
    folder = frames.folder_of(sweep_dir)
    confirmed = summarise_confirmed(read_sweep(folder), read_sweep(folder, CONFIRM))
    trials = frames.load(folder, phase="confirm").trials
    return trials[trials["confirms"].isin(confirmed["confirms"][confirmed["rank"] == 1])]


def _ordered(values: pd.DataFrame, images: str, baseline: str) -> pd.DataFrame:
    rows = values.sort_values("arm", kind="stable").reset_index(drop=True)
    return rows.assign(arm=rows["arm"].astype(str), images=images, baseline=baseline)


def values_of(sweeps: Mapping[str, Path]) -> pd.DataFrame:
    """Gather the values of several sweeps, by name: those of :func:`arm_values`, led by ``sweep``."""
    values = [arm_values(folder).assign(sweep=name) for name, folder in sweeps.items()]
    joined = pd.concat(values, ignore_index=True)
    return joined[["sweep", *joined.columns.drop("sweep")]]
