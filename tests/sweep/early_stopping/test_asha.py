"""The halving rule against its definition, value by value."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.early_stopping.asha import Asha, Judgement

ROOT = Path(__file__).parents[3]

values = st.one_of(st.floats(0, 5), st.sampled_from([0.5, 1.0, math.nan, math.inf, -math.inf]))
curves = st.lists(values, max_size=40)
etas = st.integers(2, 5)


def rule(*, max_epochs: int = 100, grace: int = 1, eta: int = 3, min_recorded: int = 1) -> Asha:
    return Asha(max_epochs=max_epochs, grace_period_epochs=grace, reduction_factor=eta, min_recorded=min_recorded)


def judge_all(asha: Asha, given_values: list[float], epoch: int = 1) -> list[Judgement]:
    judgements = [asha.judge(epoch, value) for value in given_values]
    assert None not in judgements
    return [judgement for judgement in judgements if judgement]


def goes_on(before: list[float], value: float, *, eta: int, min_recorded: int) -> bool:
    """The rule in words: few are recorded, or fewer values are better than there are places among the best 1/eta."""
    if not math.isfinite(value):
        return False
    recorded = [other if math.isfinite(other) else math.inf for other in [*before, value]]
    places = max(1, len(recorded) // eta)
    better = sum(other < value for other in recorded)
    return len(recorded) < min_recorded or better < places


@pytest.mark.parametrize(
    ("max_epochs", "grace", "eta", "rungs"),
    [
        (100, 1, 3, [1, 3, 9, 27, 81]),
        (81, 1, 3, [1, 3, 9, 27]),  # all planned epochs are no rung: there is nothing left to save
        (82, 1, 3, [1, 3, 9, 27, 81]),
        (10, 3, 2, [3, 6]),
        (30, 5, 2, [5, 10, 20]),
        (3, 3, 2, []),
        (2, 3, 2, []),
        (1, 1, 2, []),
    ],
)
def test_rungs(max_epochs: int, grace: int, eta: int, rungs: list[int]) -> None:
    assert rule(max_epochs=max_epochs, grace=grace, eta=eta).rungs == rungs


def test_says_nothing_between_rungs() -> None:
    asha = rule(max_epochs=10, grace=3, eta=2)
    judged = [epoch for epoch in range(1, 12) if asha.judge(epoch, 1.0) is not None]
    assert judged == [3, 6]


@given(curves, etas, st.integers(1, 6))
def test_the_best_share_goes_on(given_values: list[float], eta: int, min_recorded: int) -> None:
    judgements = judge_all(rule(eta=eta, min_recorded=min_recorded), given_values)
    for place, (value, judgement) in enumerate(zip(given_values, judgements, strict=True)):
        expected = goes_on(given_values[:place], value, eta=eta, min_recorded=min_recorded)
        assert judgement.stop is not expected
        assert judgement.n_recorded == place + 1
        assert judgement.verdict == ("continue" if expected else "stop")


@given(curves, etas, st.integers(1, 6))
def test_the_cutoff_explains_the_verdict(given_values: list[float], eta: int, min_recorded: int) -> None:
    """Whoever reads the records can see from value and cutoff alone why a trial went on or ended."""
    for judgement in judge_all(rule(eta=eta, min_recorded=min_recorded), given_values):
        assert judgement.cutoff is None or math.isfinite(judgement.cutoff)
        if judgement.cutoff is None:
            assert judgement.stop is not math.isfinite(judgement.value)
        else:
            assert judgement.stop is not (math.isfinite(judgement.value) and judgement.value <= judgement.cutoff)


def test_by_hand() -> None:
    judgements = judge_all(rule(eta=2), [0.5, 0.6, 0.4, 0.45, 0.41, 0.39])
    assert [judgement.stop for judgement in judgements] == [False, True, False, False, False, False]
    assert [judgement.cutoff for judgement in judgements] == [0.5, 0.5, 0.4, 0.45, 0.41, 0.41]


def test_too_few_are_never_stopped() -> None:
    judgements = judge_all(rule(eta=2, min_recorded=4), [0.1, 0.9, 5.0, 1.0])
    assert [judgement.stop for judgement in judgements] == [False, False, False, True]
    assert [judgement.cutoff for judgement in judgements] == [None, None, None, 0.9]


def test_ties_go_on() -> None:
    assert not any(judgement.stop for judgement in judge_all(rule(eta=4), [0.3] * 20))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_ends_its_trial_however_few_are_recorded(value: float) -> None:
    judgement = rule(min_recorded=10).judge(1, value)
    assert judgement is not None
    assert judgement.stop
    assert judgement.cutoff is None


def test_a_value_that_is_not_finite_counts_as_the_worst() -> None:
    """Minus infinity is the fault of a loss, not the best of all: nobody is measured against it."""
    asha = rule(eta=2)
    judge_all(asha, [-math.inf, math.nan, math.inf])
    judgement = asha.judge(1, 3.0)
    assert judgement is not None
    assert not judgement.stop
    assert judgement.n_recorded == 4


def test_rungs_are_separate() -> None:
    asha = rule(max_epochs=10, grace=3, eta=2)
    judge_all(asha, [0.1, 0.1], epoch=3)
    judgement = asha.judge(6, 0.9)
    assert judgement is not None
    assert (judgement.stop, judgement.n_recorded) == (False, 1)


def test_two_rules_share_nothing() -> None:
    judge_all(rule(eta=2), [0.1, 0.1])
    judgement = rule(eta=2).judge(1, 0.9)
    assert judgement is not None
    assert judgement.n_recorded == 1


@given(curves, curves, etas, st.integers(1, 6))
def test_values_taken_in_count_as_judged_ones(
    earlier: list[float], later: list[float], eta: int, min_recorded: int
) -> None:
    """A sweep taken up again decides as if it had not been cut short."""
    uninterrupted = rule(eta=eta, min_recorded=min_recorded)
    judge_all(uninterrupted, earlier)
    resumed = rule(eta=eta, min_recorded=min_recorded)
    for value in earlier:
        resumed.record(1, value)
    # by text: a value that is no number equals nothing, not even itself
    assert repr(judge_all(resumed, later)) == repr(judge_all(uninterrupted, later))


def test_knows_no_engine() -> None:
    code = (
        "import sys, sweep.early_stopping.asha; "
        "print(sorted({'ray', 'torch', 'optuna', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
