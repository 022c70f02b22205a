"""The median rule against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.early_stopping.median import Median, MedianStopping


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.floats(0, 5), min_size=6, max_size=6), min_size=1, max_size=8),
    st.integers(1, 4),
    st.integers(1, 2),
)
def test_is_the_published_rule(curves: list[list[float]], min_recorded: int, start: int) -> None:
    """Trials come one after the other, each shown to its end: the others are those before.

    Averages from epoch 1 are Vizier's, averages from the first rung are those of Ray's MedianStoppingRule.
    """
    rule, table = Median([2, 4], min_recorded=min_recorded, averages_from_epoch=start), np.array(curves)
    for trial, curve in enumerate(curves):
        for epoch, value in enumerate(curve, start=1):
            judgement = rule.observe(trial, epoch, value)
            if epoch not in (2, 4):
                assert judgement is None
                continue
            assert judgement
            assert judgement.n_recorded == trial + 1
            assert judgement.value == min(curve[:epoch])
            if trial < min_recorded:
                assert (judgement.verdict, judgement.cutoff) == ("continue", None)
                continue
            cutoff = np.median(table[:trial, start - 1 : epoch].mean(axis=1))
            assert judgement.cutoff == pytest.approx(cutoff)
            assert judgement.verdict == ("stop" if judgement.value > judgement.cutoff else "continue")


def test_its_best_epoch_saves_a_trial_that_got_worse() -> None:
    rule = Median([2], min_recorded=1)
    rule.observe(0, 1, 0.5)
    rule.observe(0, 2, 0.5)
    rule.observe(1, 1, 0.4)
    judgement = rule.observe(1, 2, 0.9)
    assert judgement
    assert (judgement.value, judgement.cutoff, judgement.verdict) == (0.4, 0.5, "continue")


def test_a_later_start_is_said_and_stops_more() -> None:
    """Falling curves: the first epochs make the averages large."""
    ends = {}
    for start in (1, 3):
        stopping = MedianStopping(grace_period_epochs=3, min_recorded=2, averages_from_epoch=start)
        rule = stopping.build(6)
        levels = np.random.default_rng(0).uniform(0, 1, 40)
        ends[stopping.describe().rpartition("every ")[2]] = sum(
            all(
                judgement is None or judgement.verdict == "continue"
                for judgement in [rule.observe(trial, epoch, level + 4 / epoch) for epoch in range(1, 7)]
            )
            for trial, level in enumerate(levels.tolist())
        )
    assert list(ends) == ["epoch", "epoch, averages from epoch 3"]
    assert ends["epoch"] == 40
    assert ends["epoch, averages from epoch 3"] < 30


def test_averages_cannot_begin_after_the_first_rung() -> None:
    with pytest.raises(ValueError, match="averages_from_epoch is 4, after the first rung at grace_period_epochs 3"):
        MedianStopping(averages_from_epoch=4)


def test_rungs() -> None:
    rule = MedianStopping(grace_period_epochs=3, interval_epochs=4, min_recorded=1).build(15)
    assert rule.rungs(0) == [3, 7, 11]
