"""Mean and interval over the downstream trainings of one model."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from trainables.evaluation.over_seeds import over_seeds, training_seeds


def test_interval_is_that_of_scipy() -> None:
    results = [0.61, 0.55, 0.58, 0.70]
    mean, low, high = over_seeds("map_50", results, n=12, setting="ssd, scenes", library="torch 2")
    expected = stats.ttest_1samp(results, 0.0).confidence_interval(0.95)
    assert (mean.value, low.value, high.value) == pytest.approx((0.61, expected.low, expected.high))
    assert [value.metric for value in (mean, low, high)] == ["map_50", "map_50_low", "map_50_high"]
    assert {(value.n, value.setting, value.split, value.library) for value in (mean, low, high)} == {
        (12, "ssd, scenes", "test", "torch 2")
    }


def test_one_training_has_no_interval() -> None:
    mean, low, high = over_seeds("bleu_4", [0.25], n=3)
    assert mean.value == 0.25
    assert math.isnan(low.value)
    assert math.isnan(high.value)


def test_seeds_differ_and_follow_the_seed_of_the_axis() -> None:
    assert len({*training_seeds(0, 4), *training_seeds(1, 4)}) == 8
    assert training_seeds(0, 4)[:3] == training_seeds(0, 3)
