"""Estimates and their intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import (
    MIN_N,
    MIN_PAIRS,
    Estimate,
    bootstrap,
    difference,
    mean,
    rank_correlation,
)


def test_the_interval_holds_the_estimate(rng: np.random.Generator) -> None:
    values = np.random.default_rng(1).normal(3.0, 1.0, 40)
    estimate = bootstrap(values, statistic="mean", rng=rng)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low < estimate.value < estimate.high
    assert estimate.n == (40,)
    # for a large normal sample the bootstrap agrees with the textbook's interval
    low, high = stats.norm.interval(0.95, loc=values.mean(), scale=stats.sem(values))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.06)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_the_interval_covers_about_as_often_as_it_says(statistic: Any) -> None:
    rng = np.random.default_rng(2)
    estimates = [bootstrap(rng.normal(size=25), statistic=statistic, rng=rng, resamples=400) for _ in range(200)]
    covered = np.mean([estimate.low <= 0 <= estimate.high for estimate in estimates])
    assert 0.88 <= covered <= 0.99


@pytest.mark.parametrize("n", [5, 10, 30])
def test_the_interval_of_a_mean_covers_as_often_as_it_says(n: int) -> None:
    samples = np.random.default_rng(n).normal(size=(2000, n))
    covered = [found.low <= 0 <= found.high for found in map(mean, samples)]
    assert 0.93 - ERROR <= np.mean(covered) <= 0.97 + ERROR


ERROR = 2 * np.sqrt(0.05 * 0.95 / 2000)
"""Two standard errors of a coverage in 2,000 samples."""


@pytest.mark.parametrize("n", [5, 10, 30])
def test_resampled_intervals_cover_nearly_so(n: int) -> None:
    """At least 90 times in 100, at a nominal level of 95 %."""
    rng = np.random.default_rng(n)
    found = [bootstrap(rng.normal(size=n), rng=rng, resamples=300) for _ in range(150)]
    covered = np.mean([estimate.low <= 0 <= estimate.high for estimate in found])
    assert covered >= 0.9 - 2 * np.sqrt(0.9 * 0.1 / 150)


def test_the_interval_of_a_mean_is_students() -> None:
    values = np.random.default_rng(9).normal(size=6)
    found = mean([*values, np.nan], confidence=0.9)
    assert found.n == (6,)
    assert (found.low, found.high) == pytest.approx(
        stats.t.interval(0.9, 5, loc=values.mean(), scale=stats.sem(values))
    )


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0]])
def test_a_mean_of_too_few_or_equal_values_has_no_interval(values: list[float]) -> None:
    assert not mean(values).has_interval


def test_a_difference_is_found_where_there_is_one(rng: np.random.Generator) -> None:
    draw = np.random.default_rng(4)
    first, second = draw.normal(1, 0.2, 12), draw.normal(0, 0.2, 9)
    estimate = difference(first, second, rng=rng)
    assert estimate.value == pytest.approx(np.median(first) - np.median(second))
    assert estimate.excludes_zero
    assert estimate.n == (12, 9)
    assert difference(second, first, rng=rng).high < 0


def test_no_difference_is_rarely_taken_for_one() -> None:
    rng = np.random.default_rng(6)
    found = [difference(*rng.normal(size=(2, 10)), rng=rng, resamples=400).excludes_zero for _ in range(200)]
    assert np.mean(found) <= 0.1


def test_rank_correlation_is_spearmans(rng: np.random.Generator) -> None:
    draw = np.random.default_rng(7)
    x = draw.integers(0, 6, 30).astype(float)
    y = x + draw.normal(0, 1, 30)
    estimate = rank_correlation(x, y, rng=rng)
    assert estimate.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert estimate.low < estimate.value < estimate.high
    assert estimate.excludes_zero
    assert estimate.n == (30,)


def test_rank_correlation_leaves_out_pairs_with_a_gap(rng: np.random.Generator) -> None:
    x = np.array([1, 2, 3, 4, np.nan, 6, 7, 8, 9, 10])
    y = np.array([1, 2, 4, 3, 5, np.nan, 7, 9, 8, 10])
    estimate = rank_correlation(x, y, rng=rng)
    both = np.isfinite(x) & np.isfinite(y)
    assert estimate.n == (8,)
    assert estimate.value == pytest.approx(stats.spearmanr(x[both], y[both]).statistic)


def test_nan_are_left_out(rng: np.random.Generator) -> None:
    estimate = bootstrap([1.0, np.nan, 3.0], rng=rng)
    assert (estimate.value, estimate.n) == (2.0, (2,))


@pytest.mark.parametrize("n", range(MIN_N))
def test_a_small_sample_has_no_interval(n: int, rng: np.random.Generator) -> None:
    values, enough = np.arange(n, dtype=float), np.arange(20.0)
    for estimate in (
        bootstrap(values, rng=rng),
        bootstrap(values, statistic="mean", rng=rng),
        difference(values, enough, rng=rng),
        difference(enough, values, rng=rng),
    ):
        assert not estimate.has_interval
        assert not estimate.excludes_zero
        assert np.isnan(estimate.value) == (n == 0)


def test_few_pairs_have_no_interval(rng: np.random.Generator) -> None:
    few = np.arange(MIN_PAIRS - 1)
    assert rank_correlation(few, few, rng=rng).value == pytest.approx(1)
    assert not rank_correlation(few, few, rng=rng).has_interval
    assert rank_correlation([], [], rng=rng).n == (0,)


@pytest.mark.parametrize(
    "estimate",
    [
        lambda rng: bootstrap([2.0] * 9, rng=rng),
        lambda rng: difference([2.0] * 9, [3.0] * 9, rng=rng),
        lambda rng: rank_correlation([2.0] * 9, np.arange(9), rng=rng),
    ],
)
def test_values_without_spread_have_no_interval(
    estimate: Callable[[np.random.Generator], Estimate], rng: np.random.Generator
) -> None:
    assert not estimate(rng).has_interval


def test_the_same_generator_gives_the_same_interval() -> None:
    values = np.arange(10.0)
    first, second = (bootstrap(values, rng=np.random.default_rng(8)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_outside_0_and_1_is_refused(confidence: float, rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap([1.0], confidence=confidence, rng=rng)
