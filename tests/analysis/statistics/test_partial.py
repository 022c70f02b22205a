"""Partial rank correlations, against SciPy and regressions by hand, and how often chance alone decides."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import TOO_FEW, partial_rank_correlation


def test_without_groups_it_is_spearmans(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 40))
    found = partial_rank_correlation(x, x + y)
    assert found.value == pytest.approx(stats.spearmanr(x, x + y).statistic)
    assert found.n == (40,)


def test_groups_that_differ_in_both_make_no_relation(rng: np.random.Generator) -> None:
    groups = np.repeat(np.arange(6), 20)
    x, y = 10 * groups + rng.normal(size=(2, 120))
    assert partial_rank_correlation(x, y).low > 0.9
    assert partial_rank_correlation(x, y, groups=groups).verdict == "undecided"


def test_given_is_what_first_order_partial_correlation_says(rng: np.random.Generator) -> None:
    shared, *own = rng.normal(size=(3, 200))
    x, y = (shared + noise for noise in own)
    found = partial_rank_correlation(x, y, given=shared)
    rank = [stats.rankdata(values) for values in (x, y, shared)]
    xy, xs, ys = (np.corrcoef(rank[a], rank[b])[0, 1] for a, b in ((0, 1), (0, 2), (1, 2)))
    assert found.value == pytest.approx((xy - xs * ys) / np.sqrt((1 - xs**2) * (1 - ys**2)))
    assert partial_rank_correlation(x, y).low > 0.3
    assert not found.excludes_zero


def test_the_interval_is_bonett_and_wrights_with_a_pair_less_for_each_of_the_rest(rng: np.random.Generator) -> None:
    groups = np.repeat([0, 1, 2], 10)
    x, y, given = rng.normal(size=(3, 30))
    found = partial_rank_correlation(x, y, groups=groups, given=given, confidence=0.9)
    half = 1.6449 * np.sqrt((1 + found.value**2 / 2) / (30 - 2 - 1 - 3))
    assert np.arctanh([found.low, found.high]) == pytest.approx(
        [np.arctanh(found.value) + s * half for s in (-1, 1)], rel=1e-4
    )


def test_chance_alone_decides_about_as_rarely_as_promised() -> None:
    rng, groups = np.random.default_rng(1), np.repeat(np.arange(4), 8)
    tries = rng.normal(size=(400, 3, 32))
    wrong = sum(partial_rank_correlation(x, y, groups=groups, given=z).excludes_zero for x, y, z in tries)
    assert wrong <= 32  # 20 are expected; more than 32 once in 200 times


@pytest.mark.parametrize("n", [0, 1, 7])
def test_few_have_no_interval(n: int, rng: np.random.Generator) -> None:
    assert partial_rank_correlation(*rng.normal(size=(2, n))).verdict == TOO_FEW


def test_what_does_not_vary_has_no_correlation_and_nan_are_left_out(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 20))
    assert np.isnan(partial_rank_correlation(x, np.ones(20)).value)
    assert np.isnan(partial_rank_correlation(x, y, given=x).value)  # all that it has is given
    x[3] = np.nan
    assert partial_rank_correlation(x, y).n == (19,)


def test_perfect_order_has_an_interval_below_one() -> None:
    found = partial_rank_correlation(np.arange(20), np.arange(20))
    assert found.value == pytest.approx(1)
    assert 0.9 < found.low <= found.high <= 1


def test_a_confidence_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        partial_rank_correlation([1], [1], confidence=1.0)
