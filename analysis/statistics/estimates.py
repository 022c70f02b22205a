"""Estimates of samples with their intervals.

What is resampled draws from the generator it is given and from nothing else. Nothing warns; an interval is nan where
the samples are too small to carry one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sweep.findings.student_t import MIN_SEEDS, ci_half_width

Statistic = Literal["mean", "median", "iqm"]
Array = NDArray[np.float64]

MIN_N = 5
"""Smallest sample that is resampled for an interval: fewer values have too few distinct resamples for its tails."""

MIN_PAIRS = 8
"""Smallest number of pairs whose rank correlation gets an interval: by chance alone, five pairs are in
perfect order, where every resample agrees, once in 60 times."""


def iqm(values: ArrayLike, axis: int = -1) -> Any:
    """Return the interquartile mean: what is left without the lowest and the highest quarter (rounded down).

    As steady as a mean and as deaf to outliers as a median (Agarwal et al., NeurIPS 2021, arXiv 2108.13264).
    """
    return stats.trim_mean(values, 0.25, axis=axis)


_STATISTICS: dict[Statistic, Callable[..., Any]] = {"mean": np.mean, "median": np.median, "iqm": iqm}

_ALMOST_SURE = 1 - 1e-12
"""The highest level asked of percentiles: they are the outermost resamples long before."""

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


def mean(values: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Estimate the mean of one sample with its t interval: the interval of a mean that is reported.

    Of few seeds no bootstrap covers as often as it says (see :func:`sweep.findings.student_t.ci_half_width`).

    Args:
        values: float [n]; nan are left out. Fewer than two, or all alike, have no interval.
        confidence: level of the interval, in (0, 1).
    """
    sample = _finite(values)
    enough = len(sample) >= MIN_SEEDS and np.ptp(sample) > 0
    half = float(ci_half_width(sample.std(ddof=1) if enough else math.nan, len(sample), level=confidence))
    value = float(sample.mean()) if len(sample) else math.nan
    return Estimate(value, value - half, value + half, confidence, (len(sample),))


def bootstrap(
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    statistic: Statistic = "median",
    confidence: float = 0.95,
    resamples: int = 4000,
) -> Estimate:
    """Estimate the mean, median or interquartile mean of one sample by resampling it.

    The interval is the expanded percentile one (Hesterberg, The American Statistician 2015): its tails are those of
    Student's t and make up for resamples that spread by sqrt((n - 1) / n) too little. Of five values it is close to
    their range, which holds a median or interquartile mean 94 times in 100; a mean is better served by :func:`mean`.

    Args:
        values: float [n]; nan are left out.
        rng: source of the resamples.
        statistic: what is estimated.
        confidence: level of the interval, in (0, 1).
        resamples: number of bootstrap samples.
    """
    sample = (_finite(values),)
    return _resampled(sample, _STATISTICS[statistic], rng=rng, confidence=confidence, resamples=resamples)


def stratified(
    samples: Sequence[ArrayLike],
    *,
    rng: np.random.Generator,
    statistic: Statistic = "iqm",
    confidence: float = 0.95,
    resamples: int = 4000,
) -> Estimate:
    """Estimate the mean, median or interquartile mean of all strata taken together, each resampled on its own.

    Args:
        samples: float [n] of each stratum, as the values over seeds on one data set; nan are left out. Values of unlike
            data sets are best differences to a baseline, for levels as unlike as theirs cannot be averaged.
        rng: source of the resamples.
        statistic: what is estimated.
        confidence: level of the interval, in (0, 1), expanded as in :func:`bootstrap`. It holds for these strata, not
            for others that might have been taken.
        resamples: number of bootstrap samples.
    """
    centre, strata = _STATISTICS[statistic], tuple(_finite(sample) for sample in samples)

    def of_all(*parts: Array, axis: int = -1) -> Any:
        return centre(np.concatenate(parts, axis=axis), axis=axis)

    # seeds of several strata together carry an interval that one of them could not
    enough = sum(map(len, strata)) - len(strata) >= MIN_N - 1
    min_n = MIN_SEEDS if enough else MIN_N
    return _resampled(strata, of_all, rng=rng, confidence=confidence, resamples=resamples, min_n=min_n)


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
        first: float [n]; nan are left out.
        second: float [m]; nan are left out.
        rng: source of the resamples; each sample is resampled on its own.
        statistic: what is compared.
        confidence: level of the interval, in (0, 1), expanded as in :func:`bootstrap`.
        resamples: number of bootstrap samples.
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
    return _resampled(
        (first, second), _spearman, rng=rng, confidence=confidence, resamples=resamples, min_n=MIN_PAIRS, paired=True
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
        # the range of a correlation is bounded: its percentiles are wide enough as they are
        confidence_level=confidence if paired else _expanded(confidence, n),
        method="percentile",
        rng=rng,
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), confidence, n)


def _expanded(confidence: float, n: tuple[int, ...]) -> float:
    """Level whose percentiles of resamples are as far out as Student's t has them."""
    total, df = sum(n), sum(n) - len(n)
    quantile = math.sqrt(total / df) * stats.t.ppf((1 + confidence) / 2, df)
    return min(float(1 - 2 * stats.norm.sf(quantile)), _ALMOST_SURE)
