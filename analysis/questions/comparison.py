"""Several sweeps compared: what each ran, the errors of their arms, and how often and where arms differ."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import statistics
from analysis.data import frames
from analysis.data.arms import TEST
from analysis.data.replication import SEARCH, replication_in
from analysis.questions.any_study import arm_errors, baseline_differences, images_of
from analysis.statistics.ranks import MIN_ARMS
from sweep.findings.searches import n_searches

MIN_SWEEPS = 3
"""Sweeps that ranks over sweeps need."""

_IMPROVEMENT = ["arm", "baseline", "n_sweeps", "n_pairs", "estimate", "low", "high"]


def overview(sweeps: Mapping[str, Path]) -> pd.DataFrame:
    """Summarise what each sweep ran, one row per sweep, so that their differences can be seen.

    Args:
        sweeps: folders by name, from :func:`analysis.data.arms.labels`.
    """
    rows = []
    for name, folder in sweeps.items():
        search, confirm = frames.load(folder), frames.load(folder, phase="confirm")
        study = search.manifest["study"]
        rows.append(
            {
                **{"sweep": name, "study": study["name"], "data": ", ".join(search.manifest.get("data", {}))},
                **{label: _values(search.trials, path) for label, path in _VARIED.items()},
                **{"arms": len(study["arms"]), "trials": len(search.trials), "searches_per_arm": n_searches(study)},
                "confirmed": len(confirm.trials),
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
    """Return a table to read: one row per arm, one column per sweep, each cell an error in percent with its interval.

    Args:
        values: from :func:`analysis.data.arms.values_of`.
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


def improvement(values: pd.DataFrame) -> pd.DataFrame:
    """Estimate the probability that an arm has a lower error than the baseline on the same sweep and search or seed.

    Args:
        values: from :func:`analysis.data.arms.values_of`.

    Returns:
        One row per arm that all sweeps have: ``arm``, ``baseline``, ``n_sweeps``, ``n_pairs`` (over all sweeps),
        ``estimate`` (fraction of pairs) with Wilson's 95 % interval ``low`` and ``high``. Empty for one sweep, or if
        the sweeps have different baselines.
    """
    measured = values[values["error"].notna()]
    common = _common_arms(measured, values["sweep"].nunique())
    baselines = values["baseline"].unique()
    if values["sweep"].nunique() < 2 or len(baselines) > 1 or baselines[0] not in common:
        return pd.DataFrame(columns=_IMPROVEMENT)
    rows = statistics.probability_of_improvement(
        measured[measured["arm"].isin(common)], value="error", baseline=str(baselines[0]), unit=("sweep", "replicate")
    )
    return rows.assign(n_sweeps=values["sweep"].nunique())[_IMPROVEMENT]


def _common_arms(values: pd.DataFrame, n_sweeps: int) -> list[str]:
    """Return the arms that have a value in each sweep."""
    return [str(arm) for arm, n in values.groupby("arm", sort=False)["sweep"].nunique().items() if n == n_sweeps]


def ranks(values: pd.DataFrame) -> statistics.Ranks | None:
    """Rank the arms that all sweeps have, one rank per sweep; None for fewer than three arms or sweeps.

    Args:
        values: from :func:`analysis.data.arms.values_of`.
    """
    measured, n_sweeps = values[values["error"].notna()], values["sweep"].nunique()
    common = _common_arms(measured, n_sweeps)
    if len(common) < MIN_ARMS or n_sweeps < MIN_SWEEPS:
        return None
    return statistics.critical_differences(measured[measured["arm"].isin(common)], value="error", block=("sweep",))


def rank_table(ranks: statistics.Ranks | None) -> pd.DataFrame:
    """Return mean ranks, the lowest first: ``arm``, ``mean_rank``, ``n_sweeps``, ``critical_difference``.

    Args:
        ranks: from :func:`ranks`; None gives an empty table.
    """
    if ranks is None:
        return pd.DataFrame(columns=["arm", "mean_rank", "n_sweeps", "critical_difference"])
    rows = ranks.mean_rank.rename_axis("arm").rename("mean_rank").reset_index()
    return rows.assign(n_sweeps=ranks.n_blocks, critical_difference=ranks.critical_difference)


def verdict(values: pd.DataFrame) -> list[str]:
    """Return one sentence per sweep on the arms that differ from its baseline, then sentences over all sweeps.

    Args:
        values: from :func:`analysis.data.arms.values_of`.
    """
    sweeps = [_sweep_sentence(name, sweep) for name, sweep in values.groupby("sweep", sort=False)]
    return [*sweeps, *_improvement_sentences(improvement(values), values), _rank_sentence(ranks(values))]


def _sweep_sentence(name: Any, values: pd.DataFrame) -> str:
    return f"{name} ({_sample(values)}): {statistics.summary_line(baseline_differences(values))}."


def _sample(values: pd.DataFrame) -> str:
    """Return what was compared in a sweep: ``test top-1 error, n = 5 searches of 4 trials``."""
    images, replication = images_of(values), replication_in(values)
    if images != TEST:
        return f"{images} top-1 error, not confirmed"
    n = f"n = {values['replicate'].nunique()} {replication.units}"
    if _is_found(values):
        return f"{images} top-1 error of the configurations that one search found, {n}"
    trials = max(replication.search_trials.values()) if replication.unit == SEARCH else 0
    return f"{images} top-1 error, {n}" + (f" of {trials} trials" if trials else "")


def _improvement_sentences(rows: pd.DataFrame, values: pd.DataFrame) -> list[str]:
    is_found = any(_is_found(sweep) for _, sweep in values.groupby("sweep"))
    note = ", in part of configurations that one search found" if is_found else ""
    return [
        f"{row['arm']} has a lower error than {row['baseline']} in {100 * row['estimate']:.0f} % of pairs{note} "
        f"({100 * row['low']:.0f} to {100 * row['high']:.0f} %, n = {row['n_pairs']} pairs of "
        f"{row['n_sweeps']} sweeps)."
        for row in rows.to_dict("records")
    ]


def _is_found(values: pd.DataFrame) -> bool:
    return images_of(values) == TEST and replication_in(values).is_one_search


def _rank_sentence(ranks: statistics.Ranks | None) -> str:
    if ranks is None:
        return f"Over all sweeps: ranks over sweeps need {MIN_SWEEPS} sweeps that have {MIN_ARMS} arms in common."
    alpha, mean = 1 - ranks.confidence, ranks.mean_rank
    head = f"Over n = {ranks.n_blocks} sweeps (Friedman p = {ranks.friedman_p:.2g})"
    pairs = [(a, b) for a, b in combinations(mean.index, 2) if ranks.p.loc[a, b] <= alpha]
    if not ranks.friedman_p <= alpha or not pairs:
        return f"{head}: undecided, no arm ranks before another."
    sentences = [f"{a} ranks before {b} ({mean[a]:.2f} against {mean[b]:.2f})" for a, b in pairs]
    return f"{head}: {'; '.join(sentences)}."
