"""Student's t: intervals of means, p-values with Holm's correction, power, and the sample that a difference needs.

Tests are two-sided. The sample of an arm is its searches or its seeds, one value each. A ``paired`` test uses the SD of
the differences between two arms over their common searches or seeds, an unpaired test uses the SD of one arm.
"""

from __future__ import annotations

import bisect
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

ALPHA, POWER = 0.05, 0.8
"""Two-sided level of a test, and the probability that the test finds the difference."""

LEVEL = 0.95
"""Probability that an interval covers the mean; for several comparisons, that all intervals cover their means."""

MIN_SEEDS = 2
"""Least number of values with an SD."""


def ci_half_width(sd: ArrayLike, n: ArrayLike, *, level: float) -> NDArray[np.float64]:
    """Return half the width of the t interval of a mean, float64 [...].

    Exact for any number of normal values. A bootstrap is not: its percentile interval of five normal values covers the
    mean with probability 0.83 instead of 0.95. Means of strongly skewed values are covered less often as well.

    Args:
        sd: SD of the values (n - 1 in its denominator), float [...].
        n: number of values, [...]; NaN is returned for fewer than two.
        level: probability that the interval covers the true mean, in (0, 1).

    Examples:
        >>> round(float(ci_half_width(sd=1.0, n=5, level=0.95)), 3)
        1.242
    """
    from scipy import stats

    if not 0 < level < 1:
        raise ValueError(f"the level of an interval must lie between 0 and 1, got {level}")
    count = np.asarray(n, dtype=np.float64)
    count = np.where(count >= MIN_SEEDS, count, np.nan)
    quantile = stats.t.ppf((1 + level) / 2, count - 1)
    return np.asarray(quantile * np.asarray(sd) / np.sqrt(count), dtype=np.float64)


def mean_interval(values: NDArray[np.float64], *, level: float = LEVEL) -> tuple[float, float, float]:
    """Return the mean of values, float64 [n], and the ends of its t interval.

    The mean of no value is NaN, and so are the ends for fewer than two values.

    Examples:
        >>> [round(number, 3) for number in mean_interval(np.array([0.30, 0.32, 0.31]))]
        [0.31, 0.285, 0.335]
    """
    if len(values) < MIN_SEEDS:
        return (float(values.mean()) if len(values) else math.nan), math.nan, math.nan
    mean, half = float(values.mean()), float(ci_half_width(values.std(ddof=1), len(values), level=level))
    return mean, mean - half, mean + half


def holm(p: NDArray[np.float64], n_compared: int) -> NDArray[np.float64]:
    """Return p-values with Holm's correction for several tests (Scandinavian Journal of Statistics 6, 1979).

    Args:
        p: p-values of one or more families of ``n_compared`` tests each, in a row, float64 [families * n_compared]. A
            NaN counts as a test and stays NaN.
        n_compared: tests per family.

    Returns:
        Adjusted p-values, in the order of ``p``.

    Examples:
        >>> holm(np.array([0.01, 0.04, 0.03]), 3).tolist()
        [0.03, 0.06, 0.06]
    """
    # all families at once: statsmodels adjusts one family per call and collects garbage each time, 0.15 s per call
    families = p.reshape(-1, max(n_compared, 1))
    order = np.argsort(families, axis=1)  # nan last
    steps = np.take_along_axis(families, order, axis=1) * np.arange(n_compared, 0, -1)
    adjusted: NDArray[np.float64] = np.minimum(np.maximum.accumulate(steps, axis=1), 1.0)
    return np.take_along_axis(adjusted, np.argsort(order, axis=1), axis=1).ravel()


def p_value(mean: ArrayLike, sd: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
    """Return the two-sided p-value of a true mean of 0 for ``n`` values, float64 [...]; NaN for fewer than two values.

    Args:
        mean: mean of the values, float [...].
        sd: their SD (n - 1 in its denominator), float [...].
        n: number of values, [...].
    """
    from scipy import stats

    count = np.asarray(n, dtype=np.float64)
    count = np.where(count >= MIN_SEEDS, count, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(np.asarray(mean)) / (np.asarray(sd) / np.sqrt(count))
    return np.asarray(2 * stats.t.sf(ratio, count - 1), dtype=np.float64)


def power(effect: float, *, n_seeds: int, sd: float, paired: bool = False, alpha: float = ALPHA) -> float:
    """Return the probability that a test with ``n_seeds`` per arm finds a difference of ``effect``; NaN for one seed.

    Args:
        effect: difference of two means, in the unit of ``sd``.
        n_seeds: values per arm: seeds, or searches.
        sd: SD of one arm, or, if ``paired``, of the differences.
        paired: whether the arms share their seeds or searches.
        alpha: two-sided level of the test.

    Examples:
        >>> round(power(1.0, n_seeds=5, sd=0.5, paired=True), 2)
        0.91
    """
    from scipy import stats

    if n_seeds < MIN_SEEDS:
        return math.nan
    df, per_variance = (n_seeds - 1, n_seeds) if paired else (2 * n_seeds - 2, n_seeds / 2)
    # F, which is t squared: the noncentral t, which statsmodels uses, is NaN if the difference is large
    return float(stats.ncf.sf(stats.f.isf(alpha, 1, df), 1, df, per_variance * (effect / sd) ** 2))


def seeds_needed(effect_points: float, *, sd_points: float, paired: bool = False, alpha: float = ALPHA) -> int:
    """Return the least number of seeds, or searches, per arm for which a test has the power ``POWER``.

    Args:
        effect_points: difference of two means that the test is to find.
        sd_points: SD of one arm, or, if ``paired``, of the differences.
        paired: whether the arms share their seeds or searches.
        alpha: two-sided level of the test.

    Examples:
        >>> seeds_needed(1.0, sd_points=0.5, paired=True)
        5
    """

    def suffices(n_seeds: int) -> bool:
        return power(effect_points, n_seeds=n_seeds, sd=sd_points, paired=paired, alpha=alpha) >= POWER

    enough = MIN_SEEDS
    while not suffices(enough):
        enough *= 2
    return bisect.bisect_left(range(enough), True, lo=enough // 2 if enough > MIN_SEEDS else MIN_SEEDS, key=suffices)


def detectable_points(n_seeds: int, *, sd_points: float, paired: bool = False, alpha: float = ALPHA) -> float:
    """Return the difference that a test with ``n_seeds`` per arm finds with probability ``POWER``; NaN for one seed.

    Args:
        n_seeds: values per arm: seeds, or searches.
        sd_points: SD of one arm, or, if ``paired``, of the differences.
        paired: whether the arms share their seeds or searches.
        alpha: two-sided level of the test.
    """
    from scipy import optimize

    if n_seeds < MIN_SEEDS:
        return math.nan

    def missing_power(effect: float) -> float:
        return POWER - power(effect, n_seeds=n_seeds, sd=1.0, paired=paired, alpha=alpha)

    largest = 1.0
    while missing_power(largest) > 0:
        largest *= 2
    return sd_points * float(optimize.brentq(missing_power, 0.0, largest))
