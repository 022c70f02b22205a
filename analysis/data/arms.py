"""Errors by which the arms of a sweep are compared: on test images once confirmed, otherwise on validation images.

The tables have one row per trial: ``arm``, ``replicate`` (trials of equal replicate share their seed), ``error``
(top-1, a fraction), ``images`` (on which the error was measured), ``baseline`` (the arm that the others are compared
with), and ``sweep`` if the table covers several sweeps.
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
"""Environment variable with the folders of several sweeps, separated as the folders in ``PATH`` are."""

TEST, VALIDATION = "test", "validation"
"""Images on which arms are compared."""


def labels(sweep_dirs: Sequence[Path | str] | None = None) -> dict[str, Path]:
    """Return a unique name for each sweep: the name of its folder, or its whole path if two folders share a name.

    Args:
        sweep_dirs: folders of the sweeps; None uses the environment variable ``CUTMIX_SWEEP_DIRS``.

    Returns:
        The folder of each sweep by name, in the given order.

    Raises:
        RecordsError: no folder, or a folder that is listed twice.

    Examples:
        >>> list(labels(["sweeps/digits", "sweeps/cifar10"]))
        ['digits', 'cifar10']
    """
    listed = [part for part in os.environ.get(SWEEP_DIRS, "").split(os.pathsep) if part]
    folders = [Path(folder) for folder in (listed if sweep_dirs is None else sweep_dirs)]
    if not folders:
        raise RecordsError(f"no sweeps to compare: pass their folders or set the environment variable {SWEEP_DIRS}")
    resolved = [folder.resolve() for folder in folders]
    if repeated := [str(folder) for place, folder in enumerate(folders) if resolved[place] in resolved[:place]]:
        raise RecordsError(f"sweep '{repeated[0]}' is given twice")
    names = [folder.name for folder in resolved]
    unique = [
        folder.name if names.count(folder.name) == 1 else "-".join(folder.parts[1:])
        for folder in resolved  # no two folders have the same whole path
    ]
    return dict(zip(unique, folders, strict=True))


def arm_values(sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Return the errors by which the arms of a sweep are compared.

    Once an arm has been confirmed, these are errors on test images, of each arm's best configuration over fresh seeds.
    Before that, they are errors on validation images, after the last epoch of all search trials, with any sampled
    parameters. On a grid, each row is the mean over the grid points of one seed.

    Args:
        sweep_dir: folder of the sweep; None uses the environment variable ``CUTMIX_SWEEP_DIR``.

    Returns:
        One row per trial (on a grid: per seed), in the order of the study's arms: ``arm``, ``replicate``, ``error``,
        ``images`` and ``baseline``. ``error`` is NaN for a trial that has not completed.

    Raises:
        ValueError: there is no readable sweep.
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
    """Return the confirmation trials of each arm's best configuration by the present ranking of the search.

    Empty before the first confirmation.
    """
    folder = frames.folder_of(sweep_dir)
    confirmed = summarise_confirmed(read_sweep(folder), read_sweep(folder, CONFIRM))
    trials = frames.load(folder, phase="confirm").trials
    return trials[trials["confirms"].isin(confirmed["confirms"][confirmed["rank"] == 1])]


def _ordered(values: pd.DataFrame, images: str, baseline: str) -> pd.DataFrame:
    rows = values.sort_values("arm", kind="stable").reset_index(drop=True)
    return rows.assign(arm=rows["arm"].astype(str), images=images, baseline=baseline)


def values_of(sweeps: Mapping[str, Path]) -> pd.DataFrame:
    """Return the errors of several sweeps: the columns of :func:`arm_values` after the column ``sweep``."""
    values = [arm_values(folder).assign(sweep=name) for name, folder in sweeps.items()]
    joined = pd.concat(values, ignore_index=True)
    return joined[["sweep", *joined.columns.drop("sweep")]]
