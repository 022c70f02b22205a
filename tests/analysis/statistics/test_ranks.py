"""Ranks against Demšar's tables (JMLR 2006) and figures by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.statistics import critical_differences


def table_of(values: np.ndarray) -> pd.DataFrame:
    """Values [data sets, arms, seeds] as one row a trial."""
    data, arm, replicate = np.indices(values.shape).reshape(3, -1)
    columns = {"data": data, "arm": np.array(list("abcdefghij"))[arm], "replicate": replicate, "error": values.ravel()}
    return pd.DataFrame(columns)


@pytest.mark.parametrize(("n_arms", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_demsars(n_arms: int, q: float) -> None:
    values = np.random.default_rng(0).normal(size=(14, n_arms, 1))
    found = critical_differences(table_of(values), value="error", block=["data"])
    assert found.critical_difference == pytest.approx(q * np.sqrt(n_arms * (n_arms + 1) / (6 * 14)), rel=1e-3)


def test_ranks_are_of_means_over_seeds() -> None:
    values = np.array([[[1.0, 3.0], [2.5, 2.5], [9.0, 9.0]], [[1.0, 1.0], [5.0, 5.0], [5.0, 5.0]]])
    found = critical_differences(table_of(values), value="error", block=["data"])
    assert found.mean_rank.to_dict() == {"a": 1.0, "b": 2.25, "c": 2.75}
    assert found.n_blocks == 2


def test_arms_apart_by_more_than_the_critical_difference_differ_and_no_others() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(12, 4, 3)) + np.array([0.0, 0.1, 1.0, 3.0])[:, None]
    found = critical_differences(table_of(values), value="error", block=["data"])
    apart = np.abs(found.mean_rank.to_numpy()[:, None] - found.mean_rank.to_numpy())
    assert ((found.p < 0.05).to_numpy() == (apart > found.critical_difference)).all()
    assert found.p.loc["a", "d"] < 0.05 < found.p.loc["a", "b"]
    assert found.friedman_p == pytest.approx(stats.friedmanchisquare(*values.mean(axis=2).T).pvalue)


def test_a_data_set_without_every_arm_is_left_out() -> None:
    table = table_of(np.random.default_rng(2).normal(size=(5, 3, 2)))
    found = critical_differences(table.query("data > 0 or arm != 'c'"), value="error", block=["data"])
    assert found.n_blocks == 4


def test_one_data_set_has_ranks_alone() -> None:
    found = critical_differences(table_of(np.array([[[3.0], [2.0], [1.0]]])), value="error", block=["data"])
    assert found.mean_rank.to_dict() == {"c": 1.0, "b": 2.0, "a": 3.0}
    assert np.isnan([found.friedman_p, found.critical_difference]).all()
    assert found.p.isna().all(axis=None)


def test_two_arms_are_refused() -> None:
    with pytest.raises(ValueError, match="ranks need at least 3 arms, got 2"):
        critical_differences(table_of(np.zeros((4, 2, 1))), value="error", block=["data"])
