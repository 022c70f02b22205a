"""Partial rank correlations, against SciPy and regressions by hand, and how often chance alone decides."""

from __future__ import annotations

from collections.abc import Callable

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
    """Seven pairs: the polynomial is a straight line."""
    shared, *own = rng.normal(size=(3, 7))
    x, y = (shared + noise for noise in own)
    rank = [stats.rankdata(values) for values in (x, y, shared)]
    xy, xs, ys = (np.corrcoef(rank[a], rank[b])[0, 1] for a, b in ((0, 1), (0, 2), (1, 2)))
    expected = (xy - xs * ys) / np.sqrt((1 - xs**2) * (1 - ys**2))
    assert partial_rank_correlation(x, y, given=shared).value == pytest.approx(expected)


def test_what_both_owe_to_given_is_no_relation(rng: np.random.Generator) -> None:
    shared, *own = rng.normal(size=(3, 200))
    x, y = (shared + noise for noise in own)
    assert partial_rank_correlation(x, y).low > 0.3
    assert not partial_rank_correlation(x, y, given=shared).excludes_zero


def test_is_the_mean_of_the_groups_by_their_degrees_of_freedom(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 30))
    first, second = (stats.spearmanr(x[part], y[part]).statistic for part in (slice(10), slice(10, 30)))
    found = partial_rank_correlation(x, y, groups=np.repeat([0, 1], [10, 20]))
    assert found.value == pytest.approx((9 * first + 19 * second) / 28)
    wide = np.repeat([1000.0, 1.0], [10, 20])
    assert partial_rank_correlation(x * wide, y * wide, groups=wide).value == pytest.approx(found.value)


def test_the_interval_is_bonett_and_wrights_with_the_degrees_of_freedom_that_are_left(rng: np.random.Generator) -> None:
    groups = np.repeat([0, 1, 2], 10)
    x, y, given = rng.normal(size=(3, 30))
    found = partial_rank_correlation(x, y, groups=groups, given=given, confidence=0.9)
    df = 3 * (10 - 1 - 2)  # a mean and a polynomial of degree 2 per group
    half = 1.6449 * np.sqrt((1 + found.value**2 / 2) / (df - 2))
    assert np.arctanh([found.low, found.high]) == pytest.approx(
        [np.arctanh(found.value) + s * half for s in (-1, 1)], rel=1e-4
    )


def wide_group(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Independent quantities; one of four groups spreads six times as wide in all."""
    groups = np.repeat(np.arange(4), 4)
    x, y, given = rng.normal(size=(3, 16)) * np.where(groups == 0, 6.0, 1.0)
    return {"x": x, "y": y, "groups": groups, "given": given}


def u_shape(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Quantities with nothing in common but a U-shaped ``given``."""
    given = rng.normal(size=n)
    x, y = given**2 + rng.normal(size=(2, n))
    return {"x": x, "y": y, "given": given}


@pytest.mark.parametrize(
    "study",
    [
        lambda rng: {name: values for name, values in wide_group(rng).items() if name != "given"},
        wide_group,
        lambda rng: u_shape(rng, 16),
        lambda rng: u_shape(rng, 64),
    ],
    ids=["wide group", "wide group with given", "U of 16", "U of 64"],
)
def test_chance_alone_decides_about_as_rarely_as_promised(study: Callable[..., dict[str, np.ndarray]]) -> None:
    """Ranks over all groups, and a straight line of ``given``, decided in 11 to 95 % of these studies."""
    rng = np.random.default_rng(1)
    wrong = sum(partial_rank_correlation(**study(rng)).excludes_zero for _ in range(300))
    assert wrong <= 25  # 15 are expected; more than 25 once in 200 times


def test_a_relation_beyond_given_is_found() -> None:
    rng, groups, found = np.random.default_rng(1), np.arange(64) % 4, 0
    for _ in range(100):
        given, common, *own = rng.normal(size=(4, 64))
        x, y = (given**2 + common + noise for noise in own)
        found += partial_rank_correlation(x, y, groups=groups, given=given).low > 0
    assert found >= 75


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
