"""What confirmation says: test errors of each arm's winners on fresh seeds, with intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sweep.findings.student_t import MIN_SEEDS, ci_half_width, holm, p_value
from sweep.findings.summary import final_epochs
from sweep.records.reader import SweepRecords
from sweep.records.schema import COMPLETED, WEIGHTS

LEVEL = 0.95
"""Chance that an interval of an error covers its mean over all seeds, and all those of differences theirs at once."""

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

    A configuration is ranked by its mean over the replicates that ran to the end: what was stopped is known at another
    fidelity. One more of whose replicates did comes first, so that none is judged by its luckiest alone. Of equal ones
    the earlier comes first; those without a value are left out.
    """
    replicates: dict[Hashable, list[RankedTrial]] = {}
    for row in sorted(trials, key=lambda row: row.number):
        replicates.setdefault(row.configuration, []).append(row)
    order = []
    for alike in replicates.values():
        values = [row.value for row in alike if row.value is not None and math.isfinite(row.value)]
        if values:
            order.append((-len(values), statistics.fmean(values), alike[0].number, alike[0].trial))
    return [name for *_, name in sorted(order)]


def summarise_confirmed(search: SweepRecords, confirm: SweepRecords) -> pd.DataFrame:
    """Summarise each confirmed configuration in one row.

    Args:
        search: records of the phase ``search``.
        confirm: records of the phase ``confirm``.

    Returns:
        Columns ``COLUMNS``, arms in the study's order, an arm's configurations as the search ranks them now:
        ``confirms`` (first trial of the search that has it), ``rank`` (from 1), ``n`` (seeds that ran to the end),
        means of the test values, ``low`` and ``high`` of the t interval of the top-1 error. Of the best of every arm
        but the first: ``difference`` of the error to that of the first arm's best, seed by seed, with ``n_pairs`` and
        an interval that is Bonferroni's, wide enough for all these comparisons at once; ``p`` of a t-test on the pairs
        and ``p_holm``, Holm's for all comparisons at once, which finds more than the intervals. What cannot be said is
        nan.
    """
    done = confirm.trials[confirm.trials["status"] == COMPLETED]
    if done.empty:
        return pd.DataFrame(columns=COLUMNS)
    values = test_values(confirm.evaluations).pivot_table(index="trial", columns="metric", values="value")
    rows = done[["trial", "arm", "confirms", "replicate"]].join(values, on="trial")
    arms = list(search.manifest["study"]["arms"])
    level = 1 - (1 - LEVEL) / max(1, len(arms) - 1)
    table: list[dict[str, Any]] = []
    baseline: pd.DataFrame | None = None
    for arm in arms:
        of_config = dict(list(rows[rows["arm"] == arm].groupby("confirms")))
        for rank, name in enumerate(_ranked_in(search, arm), start=1):
            if name not in of_config:
                continue
            compared = baseline if rank == 1 and arm != arms[0] else None
            table.append({"rank": rank, **_row(of_config[name], compared, level)})
            if rank == 1 and arm == arms[0]:
                baseline = of_config[name]
    summary = pd.DataFrame(table, columns=COLUMNS)
    tests = np.full(max(1, len(arms) - 1), np.nan)  # an arm that is not confirmed yet is compared some day
    known = summary["p"].notna().to_numpy()
    tests[: known.sum()] = summary["p"].to_numpy()[known]
    summary.loc[known, "p_holm"] = holm(tests, len(tests))[: known.sum()]
    return summary


def test_values(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the evaluations that confirmations wrote, each trial after its last epoch."""
    own = (evaluations["axis"] == "classification") & evaluations["setting"].isin(WEIGHTS)
    return evaluations[own & (evaluations["split"] == "test")]


def _ranked_in(search: SweepRecords, arm: str) -> list[str]:
    trials = search.trials[search.trials["arm"] == arm]
    final = final_epochs(trials, search.epochs)[search.manifest["study"]["metric"]]
    params = trials.filter(regex=r"^params\.").astype(str)
    rows = zip(trials["trial"], trials["number"], params.itertuples(index=False, name=None), strict=True)
    return ranked(RankedTrial(trial, number, values, final.get(trial)) for trial, number, values in rows)


def _row(group: pd.DataFrame, baseline: pd.DataFrame | None, level: float) -> dict[str, Any]:
    error, low, high = interval(group["top1_error"].to_numpy())
    row = {
        "arm": group["arm"].iloc[0],
        "confirms": group["confirms"].iloc[0],
        "n": len(group),
        **{"top1_error": error, "low": low, "high": high},
        **{name: group[name].mean() for name in ("nll", "ece")},
        "n_pairs": 0,
        **{"p": math.nan, "p_holm": math.nan},
    }
    if baseline is None:
        return row
    paired = group.set_index("replicate")["top1_error"] - baseline.set_index("replicate")["top1_error"]
    differences = paired.dropna().to_numpy()
    difference, low, high = interval(differences, level=level)
    return row | {
        **{"difference": difference, "difference_low": low, "difference_high": high},
        "n_pairs": len(differences),
        "p": float(p_value(difference, differences.std(ddof=1), len(differences)))
        if len(differences) > 1
        else math.nan,
    }


def interval(values: np.ndarray, *, level: float = LEVEL) -> tuple[float, float, float]:
    """Return the mean of values, float64 [n], and the ends of its t interval; nan for fewer than two."""
    if len(values) < MIN_SEEDS:
        return (float(values.mean()) if len(values) else math.nan), math.nan, math.nan
    mean, half = float(values.mean()), float(ci_half_width(values.std(ddof=1), len(values), level=level))
    return mean, mean - half, mean + half


def verdict_confirmed(summary: pd.DataFrame) -> str:
    """Say in one sentence which arms differ from the first one, by Holm's test of all of them.

    Args:
        summary: from :func:`summarise_confirmed`.
    """
    compared = summary[summary["difference_low"].notna()]
    if compared.empty:
        return "Confirmed on fresh seeds; there is nothing to compare yet."
    baseline, seeds = summary["arm"].iloc[0], compared["n_pairs"]
    alone = [arm for arm in summary["arm"].unique() if arm not in {baseline, *compared["arm"]}]
    n = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    differs = compared[compared["p_holm"] <= 1 - LEVEL]
    lower = list(differs["arm"][differs["difference"] < 0].unique())
    higher = list(differs["arm"][differs["difference"] > 0].unique())
    said = [
        f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} a {word} test error than {baseline}"
        for names, word in ((lower, "lower"), (higher, "higher"))
        if names
    ]
    what = " and ".join(said) if said else f"undecided: no arm can be told from {baseline}"
    many = f", Holm's correction for {len(compared)} comparisons" if len(compared) > 1 else ""
    but = f"; not compared: {', '.join(alone)}" if alone else ""
    return f"Confirmed on fresh seeds (n = {n}, paired t-tests at 5 %{many}): {what}{but}."
