"""Expected value of the best of n trials, from more trials than n."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Array = NDArray[np.float64]

MIN_GROUPS = 3
"""Disjoint groups of n trials that the interval of the best of n needs: fewer show hardly anything of its spread."""


def best_of_n(
    values: ArrayLike, ranked_by: ArrayLike, sizes: Sequence[int], *, confidence: float = 0.95
) -> tuple[Array, Array, Array]:
    """Estimate the expected value of the best of n trials, for several n, with intervals.

    The estimate is the mean over all subsets of n of the N trials (Dodge et al., EMNLP 2019, equation 6, but without
    replacement). With replacement, a subset holds fewer than n different trials, so the estimate would be too high.
    Without, it is unbiased if the trials are independent draws.

    The interval is that of the delete-one jackknife with the quantile of Student's t for the number of disjoint groups
    of n trials. Simulated for 8 to 32 values, normal or exponential in either direction, it covers in 90 to 98 % of
    the cases up to n = N / 4, where a bootstrap covers in 64 to 94 %, and in 42 to 64 % at n = N.

    Args:
        values: value of each trial, float [N].
        ranked_by: value by which the best trial is selected, lower is better, float [N]. The earlier trial wins a tie.
            A trial with NaN has ended without a value and is never selected; subsets of such trials alone do not count.
        sizes: numbers n of trials, from 1 to N.
        confidence: level of each interval alone.

    Returns:
        The expected value and the ends of its interval, float [sizes] each. The ends are NaN where there are fewer than
        ``MIN_GROUPS`` disjoint groups of n trials.

    Examples:
        >>> errors = [0.5, 0.25, 0.75]
        >>> expected, low, high = best_of_n(errors, errors, [1, 2, 3])
        >>> expected.round(4).tolist()
        [0.5, 0.3333, 0.25]
    """
    ranks, errors = np.asarray(ranked_by, dtype=np.float64), np.asarray(values, dtype=np.float64)
    order = np.argsort(np.where(np.isfinite(ranks), ranks, np.inf), kind="stable")
    is_ranked = np.isfinite(ranks)[order]
    if not is_ranked.any():
        nothing = np.full(len(sizes), np.nan)
        return nothing, nothing, nothing
    terms = np.stack([np.where(is_ranked, errors[order], 0.0), is_ranked])  # of numerator and denominator
    n, number = np.asarray(sizes, dtype=np.int64), len(errors)
    total, weight = terms @ _chances(number, n).T
    expected = total / weight
    groups = number // n
    left_out = _without_each(terms, n)
    spread = ((left_out - left_out.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    quantile = stats.t.ppf((1 + confidence) / 2, np.maximum(groups - 1, 1))
    half = np.where(groups >= MIN_GROUPS, quantile * np.sqrt((number - 1) / number * spread), np.nan)
    return expected, expected - half, expected + half


def _chances(number: int, n: NDArray[np.int64]) -> Array:
    """Return the probability that the trial of each rank is the best of n of ``number`` trials, float [n, number]."""
    behind, size = number - 1 - np.arange(number), n[:, None]
    fits = behind >= size - 1
    chances = np.exp(_log_combinations(np.where(fits, behind, size - 1), size - 1) - _log_combinations(number, size))
    return np.asarray(np.where(fits, chances, 0.0), dtype=np.float64)


def _log_combinations(of: ArrayLike, chosen: ArrayLike) -> Array:
    total, part = np.asarray(of, dtype=np.float64), np.asarray(chosen, dtype=np.float64)
    logarithm = special.gammaln(total + 1) - special.gammaln(part + 1) - special.gammaln(total - part + 1)
    return np.asarray(logarithm, dtype=np.float64)


def _without_each(terms: Array, n: NDArray[np.int64]) -> Array:
    """Return the estimate without each trial in turn, float [n, N]; 0 where n is too large for an interval."""
    number = terms.shape[1]
    estimates = np.zeros((len(n), number))
    for place, size in enumerate(n):
        if number // size < MIN_GROUPS:
            continue
        [chances] = _chances(number - 1, np.array([size]))
        # a trial moves up by one rank if a better one is left out
        before = np.cumsum(np.append(0.0, chances) * np.column_stack([np.zeros(2), terms[:, :-1]]), axis=1)
        behind = np.append(chances, 0.0) * np.column_stack([terms[:, 1:], np.zeros(2)])
        after = behind[:, ::-1].cumsum(axis=1)[:, ::-1]
        total, weight = before + after
        estimates[place] = total / np.where(weight > 0, weight, np.nan)
    return estimates
