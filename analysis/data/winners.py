"""Confirmed winners of all searches, each with its test error and the validation error that it had in its search."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.data import frames
from analysis.data.arms import confirmed_winners
from analysis.data.replication import replication_of
from sweep.findings.confirmed import search_winners, unit_values
from sweep.findings.searches import unit_of
from sweep.records.reader import read_both_phases, read_manifest


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
    confirmed, trials = confirmed_winners(folder), frames.load(folder).trials
    study = read_manifest(folder)["study"]
    unit, replication = unit_of(study), replication_of(study)
    column = "search" if unit == "search" else "replicate"
    names = confirmed.groupby(["arm", column])["confirms"].first().rename("winner")
    units = unit_values(confirmed, unit).rename(columns={"unit": "replicate", "top1_error": "error"})
    rows = units.join(names, on=["arm", "replicate"])
    selected = search_winners(*read_both_phases(folder)).set_index("winner")["val_top1_error"]
    rows = rows.assign(
        validation=rows["winner"].map(selected),
        unit=unit,
        is_searched=rows["arm"].map(lambda arm: bool(replication.search_trials[arm])).astype(bool),
    ).astype({"arm": trials["arm"].dtype})
    return rows[["arm", "replicate", "winner", "n_seeds", "error", "validation", "unit", "is_searched"]]
