"""One figure for many values: means, medians and interquartile means of groups, over seeds and data sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.statistics.estimates import Statistic, mean, stratified


def means(table: pd.DataFrame, *, value: str, by: Sequence[str] = ("arm",), confidence: float = 0.95) -> pd.DataFrame:
    """Estimate the mean of each group with its t interval.

    Args:
        table: one row a trial; values of nan are left out.
        value: column that is averaged.
        by: columns that name a group.
        confidence: level of each interval alone.

    Returns:
        One row a group: the columns of ``by``, ``n``, ``estimate``, ``low``, ``high`` and ``confidence``.
    """
    rows = []
    for key, values in table.groupby(list(by), observed=True, sort=False)[value]:
        found = mean(values, confidence=confidence)
        rows.append((*key, found.n[0], found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=[*by, "n", "estimate", "low", "high"]).assign(confidence=confidence)


def aggregates(
    table: pd.DataFrame,
    *,
    value: str,
    rng: np.random.Generator,
    by: Sequence[str] = ("arm",),
    strata: Sequence[str] = (),
    statistic: Statistic = "iqm",
    confidence: float = 0.95,
    resamples: int = 4000,
) -> pd.DataFrame:
    """Estimate one figure for each group with its stratified bootstrap interval.

    Of differences to a baseline, from :func:`analysis.statistics.comparisons.pairs`, it is the paired bootstrap: what a
    seed does to both arms has dropped out before anything is resampled.

    Args:
        table: one row a trial or pair; values of nan are left out.
        value: column that is summarised.
        rng: source of the resamples, group after group.
        by: columns that name a group.
        strata: columns that name a stratum, as the data set, whose seeds are resampled on their own.
        statistic: ``iqm``, ``median`` or ``mean``.
        confidence: level of each interval alone; see :func:`analysis.statistics.estimates.stratified`.
        resamples: number of bootstrap samples.

    Returns:
        One row a group: the columns of ``by``, ``n``, ``n_strata``, ``estimate``, ``low``, ``high``, ``statistic`` and
        ``confidence``.
    """
    known, rows = table[table[value].notna()], []
    for key, group in known.groupby(list(by), observed=True, sort=False):
        of_stratum = group.groupby(list(strata), observed=True)[value] if strata else [((), group[value])]
        samples = [values.to_numpy() for _, values in of_stratum]
        found = stratified(samples, rng=rng, statistic=statistic, confidence=confidence, resamples=resamples)
        rows.append((*key, sum(found.n), len(found.n), found.value, found.low, found.high))
    frame = pd.DataFrame(rows, columns=[*by, "n", "n_strata", "estimate", "low", "high"])
    return frame.assign(statistic=statistic, confidence=confidence)
