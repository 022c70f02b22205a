"""What confirmation says: test errors of each arm's winners on fresh seeds, with intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from sweep.records.reader import SweepRecords
from sweep.records.schema import COMPLETED

LEVEL = 0.95
"""Chance that an interval of an error covers its mean over all seeds, and all those of differences theirs at once."""

COLUMNS = [
    *("arm", "confirms", "n", "top1_error", "low", "high", "nll", "ece"),
    *("difference", "difference_low", "difference_high", "n_pairs"),
]


def summarise_confirmed(confirm: SweepRecords, *, arms: list[str]) -> pd.DataFrame:
    """Summarise each confirmed configuration in one row.

    Args:
        confirm: records of the phase ``confirm``.
        arms: the study's arms in their order; the first is the one that the others are compared with.

    Returns:
        Columns ``COLUMNS``, rows in the order of ``arms`` and of the searches' ranks: ``confirms`` (trial of the
        search), ``n`` (seeds), means of the test values, ``low`` and ``high`` of the t interval of the top-1 error;
        ``difference`` of the error to that of the first arm's best configuration, seed by seed, with ``n_pairs`` and
        an interval that is Bonferroni's: wide enough for all comparisons at once. Intervals of fewer than two seeds
        are nan, as is the difference of the first arm to itself.
    """
    done = confirm.trials[confirm.trials["status"] == COMPLETED]
    if done.empty:
        return pd.DataFrame(columns=COLUMNS)
    tests = confirm.evaluations[confirm.evaluations["split"] == "test"]
    values = tests.pivot_table(index="trial", columns="metric", values="value")
    rows = done[["trial", "arm", "confirms", "replicate"]].join(values, on="trial")
    groups = [group for arm in arms for _, group in rows[rows["arm"] == arm].groupby("confirms", sort=False)]
    baseline = groups[0] if groups and groups[0]["arm"].iloc[0] == arms[0] else None
    level = 1 - (1 - LEVEL) / max(1, len(groups) - 1)
    return pd.DataFrame([_row(group, baseline, level) for group in groups], columns=COLUMNS)


def _row(group: pd.DataFrame, baseline: pd.DataFrame | None, level: float) -> dict[str, Any]:
    error, low, high = interval(group["top1_error"].to_numpy())
    row = {
        "arm": group["arm"].iloc[0],
        "confirms": group["confirms"].iloc[0],
        "n": len(group),
        **{"top1_error": error, "low": low, "high": high},
        **{name: group[name].mean() for name in ("nll", "ece")},
        "n_pairs": 0,
    }
    if baseline is None or baseline is group:
        return row
    paired = group.set_index("replicate")["top1_error"] - baseline.set_index("replicate")["top1_error"]
    difference, low, high = interval(paired.dropna().to_numpy(), level=level)
    return row | {
        **{"difference": difference, "difference_low": low, "difference_high": high},
        "n_pairs": int(paired.notna().sum()),
    }


def interval(values: np.ndarray, *, level: float = LEVEL) -> tuple[float, float, float]:
    """Return the mean of values, float64 [n], and the ends of its t interval; nan for fewer than two."""
    from scipy import stats

    if len(values) < 2:
        return (float(values.mean()) if len(values) else math.nan), math.nan, math.nan
    mean, half = values.mean(), stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    return float(mean), float(mean - half), float(mean + half)


def verdict_confirmed(summary: pd.DataFrame) -> str:
    """Say in one sentence which arms differ from the first one, as far as the intervals tell.

    Args:
        summary: from :func:`summarise_confirmed`.
    """
    compared = summary[summary["difference_low"].notna()]
    if compared.empty:
        return "Confirmed on fresh seeds; there is nothing to compare yet."
    baseline, seeds = summary["arm"].iloc[0], compared["n_pairs"]
    n = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    lower = list(compared["arm"][compared["difference_high"] < 0].unique())
    higher = list(compared["arm"][compared["difference_low"] > 0].unique())
    said = [
        f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} a {word} test error than {baseline}"
        for names, word in ((lower, "lower"), (higher, "higher"))
        if names
    ]
    what = " and ".join(said) if said else f"undecided: no arm can be told from {baseline}"
    many = f", {len(compared)} comparisons at once" if len(compared) > 1 else ""
    return f"Confirmed on fresh seeds (n = {n}, paired 95 % intervals{many}): {what}."
