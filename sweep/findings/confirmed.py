"""Confirmed winners: test errors of each arm on fresh seeds, with intervals over independent searches or over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sweep.findings.searches import Unit, unit_of
from sweep.findings.student_t import LEVEL, holm, mean_interval, p_value
from sweep.findings.summary import baseline_arm, final_epochs
from sweep.findings.wording import Wording
from sweep.records.errors import RecordsError
from sweep.records.reader import SweepRecords
from sweep.records.schema import COMPLETED, WEIGHTS

METRICS = ["top1_error", "nll", "ece"]
"""Test values of a confirmation trial."""

VALUE_COLUMNS = ["trial", "arm", "search", "rank", "confirms", "replicate", *METRICS]

WINNER_COLUMNS = ["arm", "search", "rank", "winner", "val_top1_error", "n_seeds", *METRICS]

COLUMNS = [
    *("arm", "rank", "winners", "unit", "n", "n_seeds", "top1_error", "low", "high", "nll", "ece"),
    *("difference", "difference_low", "difference_high", "n_pairs", "p", "p_holm"),
]


class UnequalTestSets(RecordsError):
    """Confirmation trials were measured on different test images, so that their errors cannot be compared."""


class RankedTrial(NamedTuple):
    """A trial of one search of an arm.

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
    """Return the configurations of one search of an arm, each by the name of its first trial, best first.

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


def confirmed_values(search: SweepRecords, confirm: SweepRecords) -> pd.DataFrame:
    """Return the test values of each completed confirmation trial that has all of them.

    Args:
        search: records of the phase ``search``.
        confirm: records of the phase ``confirm``.

    Returns:
        Columns ``VALUE_COLUMNS``, arms in the study's order, then by rank and by search. ``search``: index of the
        search, from 0. ``rank``: present rank of the configuration in its search, from 1. ``confirms``: first trial of
        the search with the configuration. ``replicate``: equal for trials with the same seed.

    Raises:
        UnequalTestSets: the trials were measured on different numbers of test images.
    """
    done = confirm.trials[confirm.trials["status"] == COMPLETED]
    if done.empty:
        return pd.DataFrame(columns=VALUE_COLUMNS)
    recorded = test_values(confirm.evaluations)
    _check_equal_test_sets(recorded[recorded["trial"].isin(done["trial"])])
    recorded = recorded[recorded["metric"].isin(METRICS)]
    whole = recorded.groupby("trial")["metric"].transform("nunique") == len(METRICS)  # values may be lost
    tests = recorded[whole].pivot_table(index="trial", columns="metric", values="value")
    rows = done[["trial", "arm", "search", "confirms", "replicate"]].join(tests, on="trial", how="inner")
    rows = rows.assign(rank=rows["trial"].map(confirmed_ranks(search, confirm)))
    rows = rows[rows["rank"].notna()].astype({"rank": int})
    place = rows["arm"].map({arm: place for place, arm in enumerate(search.manifest["study"]["arms"])})
    order = np.lexsort((rows["search"], rows["rank"], place))
    return rows.iloc[order].reindex(columns=VALUE_COLUMNS).reset_index(drop=True)


def confirmed_ranks(search: SweepRecords, confirm: SweepRecords) -> pd.Series[Any]:
    """Return the present rank of each completed confirmation trial's configuration in its search, by trial.

    Args:
        search: records of the phase ``search``.
        confirm: records of the phase ``confirm``.

    Returns:
        Ranks from 1, indexed by the name of the confirmation trial; NaN for a configuration without a rank.
    """
    done = confirm.trials[confirm.trials["status"] == COMPLETED].set_index("trial")
    return done["confirms"].map(_configurations(search)["rank"]).rename("rank")


def _check_equal_test_sets(values: pd.DataFrame) -> None:
    """Check that all values are based on equally many test images.

    Raises:
        UnequalTestSets: they are not; the message has the numbers, each with a trial.
    """
    counts = values.dropna(subset="n").drop_duplicates("n").sort_values("n", ascending=False)
    if len(counts) > 1:
        found = ", ".join(f"{int(row['n'])} ({row['trial']})" for row in counts.to_dict("records"))
        raise UnequalTestSets(
            f"confirmation trials were measured on different numbers of test images, {found}: their errors cannot be "
            "averaged or compared; restore the test images and confirm in a new sweep"
        )


def unit_values(values: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    """Return one row per independent value of an arm: the mean of a search over its seeds, or the value of a seed.

    Args:
        values: from :func:`confirmed_values`.
        unit: ``search`` or ``seed``, from :func:`~sweep.findings.searches.unit_of`.

    Returns:
        Columns ``arm``, ``rank``, ``unit`` (index of the search, or replicate of the seed), ``n_seeds`` and the means
        ``top1_error``, ``nll``, ``ece``; in the order of ``values``.

    Examples:
        >>> values = pd.DataFrame({"arm": "off", "rank": 1, "search": [0, 0, 1], "replicate": [0, 1, 1000]})
        >>> values = values.assign(top1_error=[0.3, 0.4, 0.2], nll=1.0, ece=0.1)
        >>> unit_values(values, "search")[["unit", "n_seeds", "top1_error"]].to_numpy().tolist()
        [[0.0, 2.0, 0.35], [1.0, 1.0, 0.2]]
    """
    column = "search" if unit == "search" else "replicate"
    groups = values.groupby(["arm", "rank", column], sort=False)
    table = groups[METRICS].mean().assign(n_seeds=groups.size()).rename_axis(index={column: "unit"}).reset_index()
    return table[["arm", "rank", "unit", "n_seeds", *METRICS]]


def summarise_confirmed(search: SweepRecords, confirm: SweepRecords) -> pd.DataFrame:
    """Summarise each arm's confirmed configurations of each rank in one row.

    Args:
        search: records of the phase ``search``.
        confirm: records of the phase ``confirm``.

    Returns:
        Columns ``COLUMNS``: arms in the study's order, the ranks of an arm from 1. ``winners``: the configurations of
        that rank, one per search, each by the name of its first search trial, separated by commas. ``unit``:
        ``search`` for a study with several searches per arm, otherwise ``seed``. ``n``: units, which are searches with
        a completed confirmation trial, or seeds. ``n_seeds``: completed confirmation trials. ``top1_error``, ``nll``,
        ``ece``: means over the units. ``low``, ``high``: t interval of the top-1 error over the units, cut at 0 and 1.

        The winners of every other arm are compared with the winners of the baseline, search by search or seed by seed.
        ``difference`` of the top-1 error, with ``n_pairs``. ``difference_low``, ``difference_high``: an interval with
        Bonferroni's correction, wide enough for all comparisons at once, cut at -1 and 1. ``p``: t-test on the pairs.
        ``p_holm``: with Holm's correction for all comparisons, which finds more than the intervals. Unknown values are
        NaN.
    """
    study = search.manifest["study"]
    unit, baseline = unit_of(study), baseline_arm(study)
    values = confirmed_values(search, confirm)
    units = unit_values(values, unit)
    n_compared = max(1, len(study["arms"]) - 1)
    level = 1 - (1 - LEVEL) / n_compared
    baseline_units = units[(units["arm"] == baseline) & (units["rank"] == 1)]
    by_rank = values.groupby(["arm", "rank"])["confirms"]
    names = {key: ", ".join(map(str, column.unique())) for key, column in by_rank}
    table: list[dict[str, Any]] = []
    for (arm, rank), group in units.groupby(["arm", "rank"], sort=False):
        compared = baseline_units if rank == 1 and arm != baseline and len(baseline_units) else None
        row = {"arm": arm, "rank": rank, "winners": names[arm, rank], "unit": unit}
        table.append(row | _estimate(group) | _comparison(group, compared, level))
    summary = pd.DataFrame(table, columns=COLUMNS)
    # an arm that is not confirmed yet counts as a test: it will be compared later
    tests = np.full(n_compared, np.nan)
    has_p = summary["p"].notna().to_numpy()
    tests[: has_p.sum()] = summary["p"].to_numpy()[has_p]
    summary.loc[has_p, "p_holm"] = holm(tests, n_compared)[: has_p.sum()]
    return summary


def search_winners(search: SweepRecords, confirm: SweepRecords) -> pd.DataFrame:
    """Return one row per confirmed configuration of each search.

    Args:
        search: records of the phase ``search``.
        confirm: records of the phase ``confirm``.

    Returns:
        Columns ``WINNER_COLUMNS``, arms in the study's order, then by search and by rank. ``search``: index of the
        search, from 0. ``rank``: 1 for the present winner of the search; former winners have higher ranks. ``winner``:
        first trial of the search with the configuration. ``val_top1_error``: mean over its completed search trials,
        after the last epoch; it is too optimistic, because the winner was selected on validation data. ``n_seeds``:
        completed confirmation trials. ``top1_error``, ``nll``, ``ece``: means of the test values over these seeds.
    """
    values = confirmed_values(search, confirm)
    groups = values.groupby(["arm", "search", "rank", "confirms"], sort=False)
    table = groups[METRICS].mean().assign(n_seeds=groups.size()).reset_index().rename(columns={"confirms": "winner"})
    table["val_top1_error"] = table["winner"].map(_configurations(search)["val_top1_error"])
    place = table["arm"].map({arm: place for place, arm in enumerate(search.manifest["study"]["arms"])})
    order = np.lexsort((table["rank"], table["search"], place))
    return table.iloc[order][WINNER_COLUMNS].reset_index(drop=True)


def has_cut_interval(summary: pd.DataFrame) -> bool:
    """Return whether an interval in the frame of :func:`summarise_confirmed` ends at a bound of an error rate."""
    cut = (summary["low"] == 0) | (summary["high"] == 1)
    return bool((cut | (summary["difference_low"] == -1) | (summary["difference_high"] == 1)).any())


def test_values(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the evaluations that confirming trials wrote after their last epoch, on test images."""
    is_confirmation = (evaluations["axis"] == "classification") & evaluations["setting"].isin(WEIGHTS)
    return evaluations[is_confirmation & (evaluations["split"] == "test")]


def _configurations(search: SweepRecords) -> pd.DataFrame:
    """Return the ranked configurations of each search, indexed by the name of their first trial.

    Columns ``rank``, from 1, and ``val_top1_error``, the mean over the completed trials of the configuration.
    """
    final = final_epochs(search.trials, search.epochs)
    values = final[search.manifest["study"]["metric"]]
    params = search.trials.filter(regex=r"^params\.").astype(str)
    trials = search.trials[["trial", "arm", "search", "number"]].assign(
        configuration=pd.Series(list(params.itertuples(index=False, name=None)), index=params.index, dtype=object),
        error=search.trials["trial"].map(final["val_top1_error"]).astype(float),
    )
    errors = trials.groupby(["arm", "search", "configuration"])["error"].transform("mean")
    searches: dict[tuple[str, int], list[RankedTrial]] = {}
    for row in trials.to_dict("records"):
        trial = RankedTrial(row["trial"], row["number"], row["configuration"], values.get(row["trial"]))
        searches.setdefault((row["arm"], row["search"]), []).append(trial)
    ranks = {trial: rank for rows in searches.values() for rank, trial in enumerate(ranked(rows), start=1)}
    by_trial = errors.rename("val_top1_error").set_axis(pd.Index(trials["trial"]))
    return pd.DataFrame({"rank": pd.Series(ranks, dtype=int)}).join(by_trial)


def _estimate(units: pd.DataFrame) -> dict[str, Any]:
    error, low, high = mean_interval(units["top1_error"].to_numpy())
    return {
        "n": len(units),
        "n_seeds": int(units["n_seeds"].sum()),
        **{"top1_error": error, "low": max(low, 0.0), "high": min(high, 1.0)},
        **{name: units[name].mean() for name in ("nll", "ece")},
    }


def _comparison(units: pd.DataFrame, baseline: pd.DataFrame | None, level: float) -> dict[str, Any]:
    """Return the difference from the baseline over the units that both have; only NaN without a baseline."""
    row: dict[str, Any] = {"n_pairs": 0, "p": math.nan, "p_holm": math.nan}
    if baseline is None:
        return row
    paired = units.set_index("unit")["top1_error"] - baseline.set_index("unit")["top1_error"]
    differences = paired.dropna().to_numpy()
    difference, low, high = mean_interval(differences, level=level)
    return row | {
        **{"difference": difference, "difference_low": max(low, -1.0), "difference_high": min(high, 1.0)},
        "n_pairs": len(differences),
        "p": float(p_value(difference, differences.std(ddof=1), len(differences)))
        if len(differences) > 1
        else math.nan,
    }


def verdict_confirmed(summary: pd.DataFrame, study: Mapping[str, Any], *, unfinished: bool = False) -> str:
    """Return sentences: which arms differ from the baseline, by paired t-tests with Holm's correction.

    Several searches per arm allow a sentence about an arm. One search does not, if something varies in the arm: the
    sentence is then about the configuration that the search found.

    Args:
        summary: from :func:`summarise_confirmed`.
        study: the study as it is recorded in the manifest.
        unfinished: whether trials are left to run, for example of an extension: winners may still change.
    """
    baseline = baseline_arm(study)
    head = "Confirmed so far on fresh seeds" if unfinished else "Confirmed on fresh seeds"
    compared = summary[summary["difference_low"].notna()]
    if len(study["arms"]) == 1:
        return f"{head}; {baseline} is the only arm, so there is nothing to compare it with."
    if compared.empty:
        return f"{head}; no arm can be compared with {baseline}{' yet' if unfinished else ''}."
    wording = Wording(study, compared, unfinished=unfinished)
    missing = [arm for arm in study["arms"] if arm not in {baseline, *compared["arm"]}]
    not_compared = f"; not compared: {', '.join(missing)}" if missing else ""
    n_compared = len(study["arms"]) - 1
    correction = f", Holm's correction for {n_compared} comparisons" if n_compared > 1 else ""
    tests = f"{wording.describe_sample()}, paired t-tests at 5 %{correction}"
    return f"{head} ({tests}): {wording.describe_result()}{not_compared}.{wording.describe_limits()}"
