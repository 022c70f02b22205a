"""Rank correlation of two quantities, controlling for groups and for a third quantity."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from analysis.statistics.estimates import MIN_PAIRS, Array, Estimate


def partial_rank_correlation(
    x: ArrayLike,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    given: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Estimate Spearman's rank correlation within groups, controlling for a third quantity.

    First the median of each group is subtracted, so that a difference between groups in both quantities does not count
    as a correlation. Then the ranks of ``given`` are regressed out of the ranks of both by least squares. The interval
    is that of Bonett and Wright (Psychometrika 2000), by Fisher's transformation. It has one pair less for each group
    but one, and for ``given``. In contrast to a bootstrap interval, it is accurate at the small levels of many
    comparisons, and fast.

    Args:
        x: float [n].
        y: float [n].
        groups: group of each pair, [n]; None: all pairs form one group.
        given: float [n], the quantity that is controlled for; None: no such quantity.
        confidence: level of the interval, in (0, 1).

    Returns:
        The correlation over the pairs without a NaN. It is NaN if one side is constant. There is no interval if fewer
        than ``MIN_PAIRS`` pairs are left.

    Raises:
        ValueError: ``confidence`` out of range.

    Examples:
        >>> estimate = partial_rank_correlation([1, 2, 3, 11, 12, 13], [3, 2, 1, 13, 12, 11], groups=list("aaabbb"))
        >>> round(estimate.value, 3)
        -1.0
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    columns = {"x": x, "y": y} | ({} if given is None else {"given": given})
    table = pd.DataFrame({name: np.asarray(values, dtype=np.float64) for name, values in columns.items()})
    table["group"] = "all" if groups is None else np.asarray(groups).astype(str)
    table = table.loc[np.isfinite(table[list(columns)].to_numpy()).all(axis=1)]
    of_group = table.groupby("group")[list(columns)]
    ranks = (table[list(columns)] - of_group.transform("median")).rank()
    n_left = len(table) - max(of_group.ngroups - 1, 0) - (given is not None)
    first, second = (_without(ranks[name].to_numpy(), ranks.get("given")) for name in ("x", "y"))
    if len(table) < 2 or min(np.ptp(first), np.ptp(second)) < _ROUNDING * len(table):
        return Estimate(math.nan, math.nan, math.nan, confidence, (len(table),))
    value = float(np.corrcoef(first, second)[0, 1])
    return Estimate(value, *_interval(value, n_left, confidence), confidence, (len(table),))


_ROUNDING = 1e-9


def _without(ranks: Array, given: pd.Series[float] | None) -> Array:
    """Return the residuals of the ranks after a linear regression on the ranks of ``given``."""
    centred = ranks - ranks.mean() if len(ranks) else ranks
    if given is None:
        return centred
    other = given.to_numpy() - given.mean()
    scale = float(other @ other)
    return np.asarray(centred - (centred @ other / scale) * other if scale > 0 else centred, dtype=np.float64)


def _interval(value: float, n: int, confidence: float) -> tuple[float, float]:
    if n < MIN_PAIRS:
        return math.nan, math.nan
    half = stats.norm.ppf((1 + confidence) / 2) * math.sqrt((1 + value**2 / 2) / (n - 3))
    centre = np.arctanh(np.clip(value, -1, 1) * (1 - 1e-12))  # arctanh of a perfect correlation is infinite
    return float(np.tanh(centre - half)), float(np.tanh(centre + half))
