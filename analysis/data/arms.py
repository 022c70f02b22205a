"""Errors by which the arms of a sweep are compared: on test images once confirmed, otherwise on validation images.

The tables have one row per independent value of an arm: ``arm``, ``replicate`` (values of equal replicate are paired),
``error`` (top-1, a fraction), ``images`` (on which the error was measured), ``baseline`` (the arm that the others are
compared with), ``unit`` (what a value stands for: ``search``, ``seed`` or ``trial``), ``search_trials`` (trials of one
search of the arm, 0 if nothing varies in it), and ``sweep`` if the table covers several sweeps.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis.data import frames
from analysis.data.grid import ERROR, by_seed
from analysis.data.replication import COLUMNS, SEARCH, replication_of, unit_of_search
from sweep.findings.confirmed import confirmed_values, unit_values
from sweep.findings.searches import unit_of
from sweep.findings.summary import baseline_arm
from sweep.records.errors import RecordsError
from sweep.records.reader import read_both_phases
from sweep.storage import local_folder

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
    folders = [local_folder(folder) for folder in (listed if sweep_dirs is None else sweep_dirs)]
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

    Once an arm has been confirmed, these are errors on test images. With several searches per arm, a value is that of
    one search: the mean over the fresh seeds of its winner. With one search, a value is that of one seed of the winner.
    Before that, they are errors on validation images, after the last epoch of all search trials, with any sampled
    parameters. On a grid, each row is the mean over the grid points of one seed.

    Args:
        sweep_dir: folder of the sweep; None uses the environment variable ``CUTMIX_SWEEP_DIR``.

    Returns:
        One row per search, seed or trial, in the order of the study's arms: ``arm``, ``replicate``, ``error``,
        ``images``, ``baseline``, ``unit`` and ``search_trials``. ``replicate`` is the index of the search if ``unit``
        is ``search``. ``error`` is NaN for a search trial that has not completed.

    Raises:
        ValueError: there is no readable sweep.
    """
    folder = frames.folder_of(sweep_dir)
    search = frames.load(folder)
    study = search.manifest["study"]
    replication = replication_of(study)
    confirmed = confirmed_winners(folder)
    if confirmed.empty:
        seeds = by_seed(search.trials, value=ERROR)
        values = seeds[["arm", "replicate"]].assign(error=seeds[ERROR], images=VALIDATION, unit=unit_of_search(study))
    else:
        units = unit_values(confirmed, unit_of(study)).rename(columns={"unit": "replicate", "top1_error": "error"})
        values = units[["arm", "replicate", "error"]].assign(images=TEST, unit=replication.unit)
        values = values.astype({"arm": search.trials["arm"].dtype})
    rows = values.sort_values("arm", kind="stable").reset_index(drop=True)
    rows = rows.assign(arm=rows["arm"].astype(str), baseline=baseline_arm(study))
    rows["search_trials"] = rows["arm"].map(replication.search_trials).fillna(0).astype(int)
    return rows[["arm", "replicate", "error", "images", "baseline", *COLUMNS]]


def confirmed_winners(sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Return the test values of the confirmed winners: the best configuration of each search by its present ranking.

    Returns:
        The rows of :func:`sweep.findings.confirmed.confirmed_values` with rank 1; empty before the first confirmation.
    """
    folder = frames.folder_of(sweep_dir)
    values = confirmed_values(*read_both_phases(folder))
    return values[values["rank"] == 1].reset_index(drop=True)


def best_confirmed(sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Return the completed confirmation trials of the winners, as from ``frames.load``.

    ``replicate`` names the unit of replication: the index of the search if an arm has several, otherwise that of the
    seed. Empty before the first confirmation.
    """
    trials = by_unit(frames.load(sweep_dir, phase="confirm"))
    return trials[trials["rank"] == 1]


def by_unit(confirm: frames.Sweep) -> pd.DataFrame:
    """Return the trials of a confirmation with the unit of replication as ``replicate``.

    Args:
        confirm: a sweep, loaded with ``phase="confirm"``.
    """
    if unit_of(confirm.manifest["study"]) == SEARCH:
        return confirm.trials.assign(replicate=confirm.trials["search"])
    return confirm.trials


def values_of(sweeps: Mapping[str, Path]) -> pd.DataFrame:
    """Return the errors of several sweeps: the columns of :func:`arm_values` after the column ``sweep``."""
    values = [arm_values(folder).assign(sweep=name) for name, folder in sweeps.items()]
    joined = pd.concat(values, ignore_index=True)
    return joined[["sweep", *joined.columns.drop("sweep")]]
