"""Several sweeps side by side: what each ran, the errors of their arms, and how the arms rank over all sweeps."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import statistics
from analysis.data import frames
from analysis.data.arms import TEST
from analysis.questions.any_study import arm_errors, differences, images_of
from analysis.statistics.ranks import MIN_ARMS

MIN_SWEEPS = 3
"""Sweeps that ranks over sweeps need."""


def overview(sweeps: Mapping[str, Path]) -> pd.DataFrame:
    """Say what each of several sweeps ran: a row a sweep, so that what differs between them is seen."""
    rows = []
    for name, folder in sweeps.items():
        search, confirm = frames.load(folder), frames.load(folder, phase="confirm")
        study = search.manifest["study"]
        rows.append(
            {
                **{"sweep": name, "study": study["name"], "data": ", ".join(search.manifest.get("data", {}))},
                **{word: _values(search.trials, path) for word, path in _VARIED.items()},
                **{"arms": len(study["arms"]), "trials": len(search.trials), "confirmed": len(confirm.trials)},
            }
        )
    return pd.DataFrame(rows)


_VARIED = {
    "network": "config.model.name",
    "images": "n_train",
    "epochs": "config.optimizer.max_epochs",
}


def _values(trials: pd.DataFrame, column: str) -> str:
    values = trials[column].dropna() if column in trials else pd.Series(dtype=object)
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values.unique())


def side_by_side(values: pd.DataFrame) -> pd.DataFrame:
    """Return a table to read: a row an arm, a column a sweep, each cell an error in percent with its interval.

    Args:
        values: from :func:`values_of`.
    """
    errors = arm_errors(values)
    cells = errors.assign(cell=[_cell(row) for _, row in errors.iterrows()])
    wide = cells.pivot(index="arm", columns="sweep", values="cell")
    return wide.reindex(index=errors["arm"].unique(), columns=errors["sweep"].unique()).rename_axis(columns="sweep")


def _cell(row: pd.Series[Any]) -> str:
    if not row["n"]:
        return ""
    error, low, high = (f"{100 * row[end]:.2f}" for end in ("error", "error_low", "error_high"))
    return f"{error} ({low} to {high})" if pd.notna(row["error_low"]) else error


def verdict_of_sweeps(values: pd.DataFrame) -> list[str]:
    """Say of each sweep which arms differ from its first one, and then how arms rank over all.

    Args:
        values: from :func:`values_of`.
    """
    return [*(_of_sweep(name, own) for name, own in values.groupby("sweep", sort=False)), _of_ranks(ranks(values))]


def _of_sweep(name: Any, values: pd.DataFrame) -> str:
    images = images_of(values)
    note = "" if images == TEST else ", not confirmed"
    return f"{name} ({images} top-1 error{note}): {statistics.summary_line(differences(values))}."


def ranks(values: pd.DataFrame) -> statistics.Ranks | None:
    """Rank the arms that all sweeps have over the sweeps; None for fewer than three arms or sweeps.

    Args:
        values: from :func:`values_of`.
    """
    known = values[values["error"].notna()]
    n_sweeps = values["sweep"].nunique()
    common = known.groupby("arm")["sweep"].nunique() == n_sweeps
    if common.sum() < MIN_ARMS or n_sweeps < MIN_SWEEPS:
        return None
    shared = known[known["arm"].map(common)]
    return statistics.critical_differences(shared, value="error", block=("sweep",))


def rank_table(ranks: statistics.Ranks | None) -> pd.DataFrame:
    """Return mean ranks, best first: ``arm``, ``mean_rank``, ``n_sweeps`` and ``critical_difference``; none of None."""
    if ranks is None:
        return pd.DataFrame(columns=["arm", "mean_rank", "n_sweeps", "critical_difference"])
    rows = ranks.mean_rank.rename_axis("arm").rename("mean_rank").reset_index()
    return rows.assign(n_sweeps=ranks.n_blocks, critical_difference=ranks.critical_difference)


def _of_ranks(ranks: statistics.Ranks | None) -> str:
    if ranks is None:
        few = f"ranks over sweeps need {MIN_SWEEPS} sweeps that have {MIN_ARMS} arms in common"
        return f"Over all sweeps: {few}."
    alpha, mean = 1 - ranks.confidence, ranks.mean_rank
    head = f"Over n = {ranks.n_blocks} sweeps (Friedman p = {ranks.friedman_p:.2g})"
    pairs = [(a, b) for a, b in combinations(mean.index, 2) if ranks.p.loc[a, b] <= alpha]
    if not ranks.friedman_p <= alpha or not pairs:
        return f"{head}: undecided, no arm ranks before another."
    said = [f"{a} ranks before {b} ({mean[a]:.2f} against {mean[b]:.2f})" for a, b in pairs]
    return f"{head}: {'; '.join(said)}."
