"""Confirmed winners of all searches, each with its test error and the validation error that it had in its search."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.data import frames
from analysis.data.arms import confirmed_winners
from analysis.data.grid import ERROR
from analysis.data.replication import replication_of
from sweep.findings.confirmed import unit_values
from sweep.findings.searches import unit_of


def winners(sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Return the test error of each winner, and its validation error in the search.

    Args:
        sweep_dir: folder of the sweep; None uses the environment variable ``CUTMIX_SWEEP_DIR``.

    Returns:
        One row per search, or per seed of the winner if an arm has one search: ``arm`` (ordered category),
        ``replicate`` (index of the search, or of the seed), ``winner`` (first search trial with the configuration),
        ``n_seeds``, ``error`` (test top-1 error, mean over the seeds), ``validation`` (final validation top-1 error of
        the same configuration, mean over its trials in the search), ``unit`` and ``is_searched`` (whether something
        varies in the arm). Errors are fractions. Empty before the first confirmation.
    """
    folder = frames.folder_of(sweep_dir)
    search, confirmed = frames.load(folder), confirmed_winners(folder)
    study = search.manifest["study"]
    unit, replication = unit_of(study), replication_of(study)
    column = "search" if unit == "search" else "replicate"
    names = confirmed.groupby(["arm", column])["confirms"].first().rename("winner")
    units = unit_values(confirmed, unit).rename(columns={"unit": "replicate", "top1_error": "error"})
    rows = units.join(names, on=["arm", "replicate"])
    rows = rows.assign(
        validation=rows["winner"].map(_validation_errors(search.trials)),
        unit=unit,
        is_searched=rows["arm"].map(lambda arm: bool(replication.search_trials[arm])).astype(bool),
    ).astype({"arm": search.trials["arm"].dtype})
    return rows[["arm", "replicate", "winner", "n_seeds", "error", "validation", "unit", "is_searched"]]


def _validation_errors(trials: pd.DataFrame) -> pd.Series[float]:
    """Return the mean final error of each trial's configuration in its search, by the name of the trial."""
    params = trials.filter(regex=r"^params\.").astype(str).agg(tuple, axis=1)
    group = [trials["arm"].astype(str), trials["search"], params]
    return trials[ERROR].astype(float).groupby(group).transform("mean").set_axis(trials["trial"])
