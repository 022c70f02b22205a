"""Confirmed winners: test errors of each arm's best configurations on fresh seeds, with intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sweep.findings.student_t import LEVEL, holm, mean_interval, p_value
from sweep.findings.summary import baseline_arm, final_epochs
from sweep.records.reader import SweepRecords
from sweep.records.schema import COMPLETED, WEIGHTS

COLUMNS = [
    *("arm", "confirms", "rank", "n", "top1_error", "low", "high", "nll", "ece"),
    *("difference", "difference_low", "difference_high", "n_pairs", "p", "p_holm"),
]


class RankedTrial(NamedTuple):
    """A trial of an arm's search.

    Attributes:
        trial: its name.
        number: its number.
        configuration: equal for replicates.
        value: what it is ranked by, lower is better; None if it did not run to the end.
    """

    trial: str
    number: int
    configuration: Hashable
    value: float | None


def ranked(trials: Iterable[RankedTrial]) -> list[str]:
    """Return the configurations of one arm's search, each by the name of its first trial, best first.

    A configuration is ranked by its mean over the replicates that ran to the end, because a stopped replicate was
    trained for fewer epochs. A configuration with more such replicates comes first, so that none is ranked by its
    luckiest replicate alone. Of equal configurations the earlier comes first. Configurations without a value are left
    out.
    """
    replicates: dict[Hashable, list[RankedTrial]] = {}
    for row in sorted(trials, key=lambda row: row.number):
        replicates.setdefault(row.configuration, []).append(row)
    order = []
    for rows in replicates.values():
        values = [row.value for row in rows if row.value is not None and math.isfinite(row.value)]
        if values:
            order.append((-len(values), statistics.fmean(values), rows[0].number, rows[0].trial))
    return [name for *_, name in sorted(order)]


def summarise_confirmed(search: SweepRecords, confirm: SweepRecords) -> pd.DataFrame:
    """Summarise each confirmed configuration in one row.

    Args:
        search: records of the phase ``search``.
        confirm: records of the phase ``confirm``.

    Returns:
        Columns ``COLUMNS``: arms in the study's order, the configurations of an arm in the order of their present rank.
        ``confirms``: first trial of the search with the configuration. ``rank``: from 1. ``n``: seeds that ran to the
        end. ``top1_error``, ``nll``, ``ece``: means of the test values. ``low``, ``high``: t interval of the top-1
        error, cut at 0 and 1.

        The best configuration of every other arm is compared with the baseline's best, seed by seed. ``difference`` of
        the top-1 error, with ``n_pairs``. ``difference_low``, ``difference_high``: an interval with Bonferroni's
        correction, wide enough for all comparisons at once, cut at -1 and 1. ``p``: t-test on the pairs. ``p_holm``:
        with Holm's correction for all comparisons, which finds more than the intervals. Unknown values are NaN.
    """
    done = confirm.trials[confirm.trials["status"] == COMPLETED]
    if done.empty:
        return pd.DataFrame(columns=COLUMNS)
    values = test_values(confirm.evaluations).pivot_table(index="trial", columns="metric", values="value")
    rows = done[["trial", "arm", "confirms", "replicate"]].join(values, on="trial")
    study = search.manifest["study"]
    n_compared = max(1, len(study["arms"]) - 1)
    level = 1 - (1 - LEVEL) / n_compared
    baseline = baseline_arm(study)
    ranks = {arm: _confirmed_of(arm, rows, search) for arm in study["arms"]}
    baseline_rows = ranks[baseline].get(1)
    table: list[dict[str, Any]] = []
    for arm, configurations in ranks.items():
        for rank, group in configurations.items():
            compared = baseline_rows if rank == 1 and arm != baseline else None
            table.append({"rank": rank, **_row(group, compared, level)})
    summary = pd.DataFrame(table, columns=COLUMNS)
    # an arm that is not confirmed yet counts as a test: it will be compared later
    tests = np.full(n_compared, np.nan)
    has_p = summary["p"].notna().to_numpy()
    tests[: has_p.sum()] = summary["p"].to_numpy()[has_p]
    summary.loc[has_p, "p_holm"] = holm(tests, n_compared)[: has_p.sum()]
    return summary


def has_cut_interval(summary: pd.DataFrame) -> bool:
    """Return whether an interval in the frame of :func:`summarise_confirmed` ends at a bound of an error rate."""
    cut = (summary["low"] == 0) | (summary["high"] == 1)
    return bool((cut | (summary["difference_low"] == -1) | (summary["difference_high"] == 1)).any())


def test_values(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the evaluations that confirming trials wrote after their last epoch, on test images."""
    is_confirmation = (evaluations["axis"] == "classification") & evaluations["setting"].isin(WEIGHTS)
    return evaluations[is_confirmation & (evaluations["split"] == "test")]


def _confirmed_of(arm: str, rows: pd.DataFrame, search: SweepRecords) -> dict[int, pd.DataFrame]:
    """Return the confirming trials of each configuration of an arm by the configuration's rank, best first."""
    by_config = dict(list(rows[rows["arm"] == arm].groupby("confirms")))
    ranks = enumerate(_ranked_in(search, arm), start=1)
    return {rank: by_config[name] for rank, name in ranks if name in by_config}


def _ranked_in(search: SweepRecords, arm: str) -> list[str]:
    trials = search.trials[search.trials["arm"] == arm]
    final = final_epochs(trials, search.epochs)[search.manifest["study"]["metric"]]
    params = trials.filter(regex=r"^params\.").astype(str)
    rows = zip(trials["trial"], trials["number"], params.itertuples(index=False, name=None), strict=True)
    return ranked(RankedTrial(trial, number, values, final.get(trial)) for trial, number, values in rows)


def _row(group: pd.DataFrame, baseline: pd.DataFrame | None, level: float) -> dict[str, Any]:
    error, low, high = mean_interval(group["top1_error"].to_numpy())
    row = {
        "arm": group["arm"].iloc[0],
        "confirms": group["confirms"].iloc[0],
        "n": len(group),
        **{"top1_error": error, "low": max(low, 0.0), "high": min(high, 1.0)},
        **{name: group[name].mean() for name in ("nll", "ece")},
        "n_pairs": 0,
        **{"p": math.nan, "p_holm": math.nan},
    }
    if baseline is None:
        return row
    paired = group.set_index("replicate")["top1_error"] - baseline.set_index("replicate")["top1_error"]
    differences = paired.dropna().to_numpy()
    difference, low, high = mean_interval(differences, level=level)
    return row | {
        **{"difference": difference, "difference_low": max(low, -1.0), "difference_high": min(high, 1.0)},
        "n_pairs": len(differences),
        "p": float(p_value(difference, differences.std(ddof=1), len(differences)))
        if len(differences) > 1
        else math.nan,
    }


def verdict_confirmed(summary: pd.DataFrame, *, baseline: str) -> str:
    """Return one sentence: which arms differ from the baseline, by paired t-tests with Holm's correction.

    Args:
        summary: from :func:`summarise_confirmed`.
        baseline: arm that the others are compared with, from :func:`~sweep.findings.summary.baseline_arm`.
    """
    compared = summary[summary["difference_low"].notna()]
    if compared.empty:
        return f"Confirmed on fresh seeds; no arm can be compared with {baseline} yet."
    seeds = compared["n_pairs"]
    missing = [arm for arm in summary["arm"].unique() if arm not in {baseline, *compared["arm"]}]
    n = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    differing = compared[compared["p_holm"] <= 1 - LEVEL]
    lower = list(differing["arm"][differing["difference"] < 0].unique())
    higher = list(differing["arm"][differing["difference"] > 0].unique())
    results = [
        f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} a {direction} test error than {baseline}"
        for names, direction in ((lower, "lower"), (higher, "higher"))
        if names
    ]
    result = " and ".join(results) if results else f"undecided: no arm differs significantly from {baseline}"
    correction = f", Holm's correction for {len(compared)} comparisons" if len(compared) > 1 else ""
    remark = f"; not compared: {', '.join(missing)}" if missing else ""
    return f"Confirmed on fresh seeds (n = {n}, paired t-tests at 5 %{correction}): {result}{remark}."
