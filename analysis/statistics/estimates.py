"""Estimates with intervals, from samples and from tables.

Resamples are drawn from the generator of the caller only. No function warns. An interval is NaN if the samples are too
small for one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sweep.findings.bounds import UNBOUNDED, bounds_of, cut
from sweep.findings.student_t import MIN_SEEDS, ci_half_width

Statistic = Literal["mean", "median"]
Array = NDArray[np.float64]

MIN_N = 5
"""Smallest sample with a bootstrap interval: fewer values have too few distinct resamples for its tails."""

MIN_PAIRS = 8
"""Smallest number of pairs whose rank correlation has an interval. Five pairs are in perfect order once in 60 times by
chance, and all resamples then agree."""


_STATISTICS: dict[Statistic, Callable[..., Any]] = {"mean": np.mean, "median": np.median}

_ALMOST_SURE = 1 - 1e-12
"""Highest level of percentiles. The outermost resamples are reached long before."""

LOWER, HIGHER, UNDECIDED, TOO_FEW = "lower", "higher", "undecided", "too few"
"""Results of a comparison: the interval is below zero, above zero, contains zero, or there is no interval."""


@dataclass(frozen=True)
class Estimate:
    """A number computed from samples, with its interval.

    Attributes:
        value: the estimate; NaN without data.
        low: lower end of the interval; NaN if a sample is too small or has no spread.
        high: upper end of the interval, NaN like the lower end.
        confidence: nominal fraction of repetitions whose interval covers the true value.
        n: size of each sample, without NaN.

    Examples:
        >>> estimate = Estimate(value=-0.5, low=-0.75, high=-0.25, confidence=0.95, n=(5,))
        >>> estimate.excludes_zero, estimate.verdict
        (True, 'lower')
    """

    value: float
    low: float
    high: float
    confidence: float
    n: tuple[int, ...]

    @property
    def has_interval(self) -> bool:
        """True if the samples were large enough for an interval."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def excludes_zero(self) -> bool:
        """True if there is an interval and it excludes zero."""
        return self.has_interval and not self.low <= 0.0 <= self.high

    @property
    def verdict(self) -> str:
        """Result of a difference or correlation: ``lower``, ``higher``, ``undecided`` or ``too few``."""
        if not self.has_interval:
            return TOO_FEW
        if not self.excludes_zero:
            return UNDECIDED
        return LOWER if self.value < 0 else HIGHER


def mean(values: ArrayLike, *, confidence: float = 0.95, bounds: tuple[float, float] = UNBOUNDED) -> Estimate:
    """Estimate the mean of one sample with its t interval.

    Report means with this interval: with few seeds, a bootstrap interval covers less often than its level (see
    :func:`sweep.findings.student_t.ci_half_width`).

    Args:
        values: float [n]; NaN are left out. Fewer than two values, or equal values, have no interval.
        confidence: level of the interval, in (0, 1).
        bounds: smallest and largest possible value, where the interval is cut.

    Examples:
        >>> estimate = mean([1.0, 2.0, 3.0])
        >>> f"{estimate.value} ({estimate.low:.3f} to {estimate.high:.3f})"
        '2.0 (-0.484 to 4.484)'
        >>> mean([0.0, 0.25], bounds=(0.0, 1.0)).low
        0.0
    """
    sample = _finite(values)
    enough = len(sample) >= MIN_SEEDS and np.ptp(sample) > 0
    half = float(ci_half_width(sample.std(ddof=1) if enough else math.nan, len(sample), level=confidence))
    value = float(sample.mean()) if len(sample) else math.nan
    low, high = cut(value - half, value + half, bounds)
    return Estimate(value, low, high, confidence, (len(sample),))


def means(
    table: pd.DataFrame,
    *,
    value: str,
    by: Sequence[str] = ("arm",),
    metric: str | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Estimate the mean of each group of a table with its t interval.

    Args:
        table: one row per trial; NaN values are left out.
        value: column that is averaged.
        by: columns that name a group.
        metric: metric of the values, or the column of ``by`` with the metric of each group; None: ``value`` is its
            name. Intervals are cut at the metric's bounds, for example at 0 and 1 for an error, unless a value of the
            metric lies outside.
        confidence: level of each interval alone.

    Returns:
        One row per group: the columns of ``by``, ``n``, ``estimate``, ``low``, ``high`` and ``confidence``; NaN as
        from :func:`mean`.

    Examples:
        >>> table = pd.DataFrame({"arm": ["off", "off", "cutmix"], "error": [0.25, 0.75, 0.5]})
        >>> means(table, value="error")[["arm", "n", "estimate"]]
              arm  n  estimate
        0     off  2       0.5
        1  cutmix  1       0.5
    """
    rows = []
    place = list(by).index(metric) if metric is not None and metric in by else None
    if place is None:
        bounds_of_metrics = {"": bounds_of(metric or value, table[value])}
    else:
        of_metrics = table.groupby(by[place], observed=True)[value]
        bounds_of_metrics = {str(name): bounds_of(str(name), values) for name, values in of_metrics}
    for group, values in table.groupby(list(by), observed=True, sort=False)[value]:
        bounds = bounds_of_metrics["" if place is None else str(group[place])]
        estimate = mean(values, confidence=confidence, bounds=bounds)
        rows.append((*group, estimate.n[0], estimate.value, estimate.low, estimate.high))
    return pd.DataFrame(rows, columns=[*by, "n", "estimate", "low", "high"]).assign(confidence=confidence)


def bootstrap(
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    statistic: Statistic = "median",
    confidence: float = 0.95,
    resamples: int = 4000,
) -> Estimate:
    """Estimate the mean or median of one sample with its bootstrap interval.

    The interval is the expanded percentile interval (Hesterberg, The American Statistician 2015). Its tails are those
    of Student's t and correct for resamples whose spread is too small by the factor sqrt((n - 1) / n). For five values
    it is close to their range, which covers the median 94 times in 100. Prefer :func:`mean` for a mean.

    Args:
        values: float [n]; NaN are left out. Fewer than ``MIN_N`` values, or equal values, have no interval.
        rng: source of the resamples.
        statistic: the quantity that is estimated.
        confidence: level of the interval, in (0, 1).
        resamples: number of bootstrap samples.

    Examples:
        >>> estimate = bootstrap([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], rng=np.random.default_rng(0))
        >>> estimate.value, estimate.low <= estimate.value <= estimate.high
        (3.5, True)
    """
    sample = (_finite(values),)
    return _resampled(sample, _STATISTICS[statistic], rng=rng, confidence=confidence, resamples=resamples)


def difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    rng: np.random.Generator,
    statistic: Statistic = "median",
    confidence: float = 0.95,
    resamples: int = 4000,
) -> Estimate:
    """Estimate statistic(first) - statistic(second) of two independent samples.

    Args:
        first: float [n]; NaN are left out.
        second: float [m]; NaN are left out.
        rng: source of the resamples; the samples are resampled independently.
        statistic: the quantity that is compared.
        confidence: level of the interval, in (0, 1), expanded as in :func:`bootstrap`.
        resamples: number of bootstrap samples.

    Examples:
        >>> estimate = difference([1.0, 2.0, 3.0], [0.5], rng=np.random.default_rng(0))
        >>> estimate.value, estimate.verdict
        (1.5, 'too few')
    """
    centre = _STATISTICS[statistic]

    def minus(x: Array, y: Array, axis: int = -1) -> Any:
        return centre(x, axis=axis) - centre(y, axis=axis)

    samples = (_finite(first), _finite(second))
    return _resampled(samples, minus, rng=rng, confidence=confidence, resamples=resamples)


def rank_correlation(
    x: ArrayLike,
    y: ArrayLike,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 4000,
) -> Estimate:
    """Estimate Spearman's rank correlation of pairs with its percentile interval.

    Args:
        x: float [n].
        y: float [n]; a pair with a NaN is left out.
        rng: source of the resamples; pairs are resampled together.
        confidence: level of the interval, in (0, 1).
        resamples: number of bootstrap samples; a resample without spread counts as a correlation of 0.

    Returns:
        The correlation; NaN if one side is constant. No interval for fewer than ``MIN_PAIRS`` pairs.

    Examples:
        >>> estimate = rank_correlation([1.0, 2.0, 3.0], [1.0, 4.0, 9.0], rng=np.random.default_rng(0))
        >>> round(estimate.value, 3), estimate.verdict
        (1.0, 'too few')
    """
    pairs = np.asarray(np.broadcast_arrays(x, y), dtype=np.float64)
    first, second = pairs[:, np.isfinite(pairs).all(axis=0)]
    if len(first) == 0 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Estimate(np.nan, np.nan, np.nan, confidence, (len(first),))
    return _resampled(
        (first, second), _spearman, rng=rng, confidence=confidence, resamples=resamples, min_n=MIN_PAIRS, paired=True
    )


def _finite(values: ArrayLike) -> Array:
    sample = np.asarray(values, dtype=np.float64).ravel()
    return sample[np.isfinite(sample)]


def _spearman(x: Array, y: Array, axis: int = -1) -> Any:
    """Compute the Pearson correlation of average ranks; 0 if one side is constant.

    scipy.stats.spearmanr does not vectorise over resamples and returns NaN for a constant side.
    """
    ranks = [stats.rankdata(side, axis=axis) for side in (x, y)]
    a, b = (side - side.mean(axis=axis, keepdims=True) for side in ranks)
    scale = np.sqrt((a**2).sum(axis=axis) * (b**2).sum(axis=axis))
    return (a * b).sum(axis=axis) / np.where(scale > 0, scale, np.inf)


def _resampled(
    samples: tuple[Array, ...],
    statistic: Callable[..., Any],
    *,
    rng: np.random.Generator,
    confidence: float,
    resamples: int,
    min_n: int = MIN_N,
    paired: bool = False,
) -> Estimate:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    n = (len(samples[0]),) if paired else tuple(len(sample) for sample in samples)
    smallest = min(n, default=0)
    value = float(statistic(*samples, axis=-1)) if smallest else np.nan
    if smallest < min_n or all(np.ptp(sample) == 0 for sample in samples):
        return Estimate(value, np.nan, np.nan, confidence, n)
    interval = stats.bootstrap(
        samples,
        statistic,
        n_resamples=resamples,
        vectorized=True,
        paired=paired,
        # the range of a correlation is bounded: its percentiles are wide enough without expansion
        confidence_level=confidence if paired else _expanded(confidence, n),
        method="percentile",
        rng=rng,
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), confidence, n)


def _expanded(confidence: float, n: tuple[int, ...]) -> float:
    """Return the level at which percentiles of resamples have the tails of Student's t."""
    total, df = sum(n), sum(n) - len(n)
    quantile = math.sqrt(total / df) * stats.t.ppf((1 + confidence) / 2, df)
    return min(float(1 - 2 * stats.norm.sf(quantile)), _ALMOST_SURE)
