"""The median rule against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.early_stopping.median import Median, MedianStopping


@settings(max_examples=50)
@given(st.lists(st.lists(st.floats(0, 5), min_size=6, max_size=6), min_size=1, max_size=8), st.integers(1, 4))
def test_is_the_published_rule(curves: list[list[float]], min_recorded: int) -> None:
    """Trials come one after the other, each shown to its end: the others are those before."""
    rule, table = Median([2, 4], min_recorded=min_recorded), np.array(curves)
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
            cutoff = np.median(table[:trial, :epoch].mean(axis=1))
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


def test_rungs() -> None:
    rule = MedianStopping(grace_period_epochs=3, interval_epochs=4, min_recorded=1).build(15)
    assert rule.rungs(0) == [3, 7, 11]
