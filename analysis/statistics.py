"""Estimates with bootstrap intervals.

Every function draws from the generator it is given and from nothing else, never warns, and returns a nan
interval where the samples are too small to carry one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Statistic = Literal["mean", "median"]
Method = Literal["percentile", "BCa"]
Array = NDArray[np.float64]

MIN_N = 5
"""Smallest sample that gets an interval: fewer values have too few distinct resamples for its tails."""

MIN_PAIRS = 8
"""Smallest number of pairs whose rank correlation gets an interval: by chance alone, five pairs are in
perfect order, where every resample agrees, once in 60 times."""

_STATISTICS: dict[Statistic, Callable[..., Any]] = {"mean": np.mean, "median": np.median}


LOWER, HIGHER, UNDECIDED, TOO_FEW = "lower", "higher", "undecided", "too few"
"""How a comparison ends: the interval is below zero, above zero, holds zero, or there is none."""


@dataclass(frozen=True)
class Estimate:
    """A number computed from samples, and how far it may be off.

    Attributes:
        value: the estimate; nan without data.
        low: lower end of the interval; nan where a sample is too small or has no spread to resample.
        high: its upper end.
        confidence: share of repetitions whose interval is meant to hold the true value.
        n: size of each sample that went in.
    """

    value: float
    low: float
    high: float
    confidence: float
    n: tuple[int, ...]

    @property
    def has_interval(self) -> bool:
        """Whether the samples were large enough for an interval."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and zero lies outside it."""
        return self.has_interval and not self.low <= 0.0 <= self.high

    @property
    def verdict(self) -> str:
        """What a difference, or a correlation, says: ``lower``, ``higher``, ``undecided`` or ``too few``."""
        if not self.has_interval:
            return TOO_FEW
        if not self.excludes_zero:
            return UNDECIDED
        return LOWER if self.value < 0 else HIGHER


def bootstrap(
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    statistic: Statistic = "median",
    confidence: float = 0.95,
    method: Method = "percentile",
    resamples: int = 4000,
) -> Estimate:
    """Estimate the mean or median of one sample.

    Args:
        values: float [n]; nan are left out.
        rng: source of the resamples.
        statistic: what is estimated.
        confidence: level of the interval, in (0, 1).
        method: ``percentile``, or ``BCa``, which corrects for bias and skew and suits means; the median's
            jackknife, which it needs, takes two values only.
        resamples: number of bootstrap samples.
    """
    sample = _finite(values)
    return _estimate(
        (sample,),
        _STATISTICS[statistic],
        rng=rng,
        confidence=confidence,
        method=method,
        resamples=resamples,
    )


def difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    rng: np.random.Generator,
    statistic: Statistic = "median",
    confidence: float = 0.95,
    method: Method = "percentile",
    resamples: int = 4000,
) -> Estimate:
    """Estimate statistic(first) - statistic(second) of two independent samples.

    Args:
        first: float [n]; nan are left out.
        second: float [m]; nan are left out.
        rng: source of the resamples; each sample is resampled on its own.
        statistic: what is compared.
        confidence: level of the interval, in (0, 1).
        method: as in ``bootstrap``.
        resamples: number of bootstrap samples.
    """
    centre = _STATISTICS[statistic]

    def minus(x: Array, y: Array, axis: int = -1) -> Any:
        return centre(x, axis=axis) - centre(y, axis=axis)

    samples = (_finite(first), _finite(second))
    return _estimate(samples, minus, rng=rng, confidence=confidence, method=method, resamples=resamples)


def rank_correlation(
    x: ArrayLike,
    y: ArrayLike,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 4000,
) -> Estimate:
    """Estimate Spearman's rank correlation of pairs, with a percentile interval.

    Args:
        x: float [n].
        y: float [n]; a pair with a nan is left out.
        rng: source of the resamples; pairs stay together.
        confidence: level of the interval, in (0, 1).
        resamples: number of bootstrap samples; one that has no spread counts as 0, as it orders nothing.
    """
    pairs = np.asarray(np.broadcast_arrays(x, y), dtype=np.float64)
    first, second = pairs[:, np.isfinite(pairs).all(axis=0)]
    if len(first) == 0 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Estimate(np.nan, np.nan, np.nan, confidence, (len(first),))
    return _estimate(
        (first, second),
        _spearman,
        rng=rng,
        confidence=confidence,
        method="percentile",
        resamples=resamples,
        min_n=MIN_PAIRS,
        paired=True,
    )


def _finite(values: ArrayLike) -> Array:
    sample = np.asarray(values, dtype=np.float64).ravel()
    return sample[np.isfinite(sample)]


def _spearman(x: Array, y: Array, axis: int = -1) -> Any:
    """Pearson correlation of average ranks; 0 where a side is constant."""
    ranks = [stats.rankdata(side, axis=axis) for side in (x, y)]
    a, b = (side - side.mean(axis=axis, keepdims=True) for side in ranks)
    scale = np.sqrt((a**2).sum(axis=axis) * (b**2).sum(axis=axis))
    return (a * b).sum(axis=axis) / np.where(scale > 0, scale, np.inf)


def _estimate(
    samples: tuple[Array, ...],
    statistic: Callable[..., Any],
    *,
    rng: np.random.Generator,
    confidence: float,
    method: Method,
    resamples: int,
    min_n: int = MIN_N,
    paired: bool = False,
) -> Estimate:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    n = (len(samples[0]),) if paired else tuple(len(sample) for sample in samples)
    value = float(statistic(*samples, axis=-1)) if min(n) else np.nan
    if min(n) < min_n or all(np.ptp(sample) == 0 for sample in samples):
        return Estimate(value, np.nan, np.nan, confidence, n)
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        # BCa of a sample with many ties says so in warnings and returns nan, which is our answer as well
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            samples,
            statistic,
            n_resamples=resamples,
            vectorized=True,
            paired=paired,
            confidence_level=confidence,
            method=method,
            rng=rng,
        ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), confidence, n)
