"""Spread between and within groups: against the analysis of variance, and where it cannot be separated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import variance_components


def test_equals_the_analysis_of_variance() -> None:
    groups = np.random.default_rng(0).normal(size=(5, 3)) + 3 * np.arange(5)[:, None]
    components = variance_components(list(groups))
    f = stats.f_oneway(*groups).statistic
    noise = groups.var(axis=1, ddof=1).mean()
    assert components.within.sd**2 == pytest.approx(noise)
    assert components.between.sd**2 == pytest.approx(noise * (f - 1) / 3)
    assert components.means.sd == pytest.approx(groups.mean(axis=1).std(ddof=1))
    assert (components.means.df, components.between.df, components.within.df) == (4, 4, 10)


def test_intervals_cover_and_no_spread_is_cut_at_zero() -> None:
    rng, covers, lowest = np.random.default_rng(1), [], []
    for _ in range(500):
        spread = variance_components(list(rng.normal(size=(5, 1)) * 2 + rng.normal(size=(5, 3))))
        covers.append([spread.between.low <= 2 <= spread.between.high, spread.within.low <= 1 <= spread.within.high])
        lowest.append(variance_components(list(rng.normal(size=(5, 3)))).between.low)
    assert ((np.mean(covers, axis=0) > 0.92) & (np.mean(covers, axis=0) < 0.985)).all()
    assert np.mean(np.array(lowest) == 0) > 0.92


def test_one_value_per_group_shows_only_the_spread_of_the_means() -> None:
    components = variance_components([[1.0], [2.0, np.nan], [np.nan], [4.0]])
    assert components.means.sd == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert np.isnan([components.between.sd, components.within.sd]).all()


def test_one_group_shows_only_the_spread_within_it() -> None:
    components = variance_components([[1.0, 3.0]])
    assert components.within.sd == pytest.approx(2**0.5)
    assert np.isnan([components.between.sd, components.means.sd]).all()
