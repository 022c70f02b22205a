"""Halving against its definition, value by value."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.early_stopping.asha import Asha
from search_spaces.early_stopping.base import Judgement

values = st.one_of(st.floats(0, 5), st.sampled_from([0.5, 1.0, math.nan, math.inf, -math.inf]))


def rule(*, eta: int, min_recorded: int = 1) -> Asha:
    return Asha([1, 3, 9], reduction_factor=eta, min_recorded=min_recorded)


def judge_all(asha: Asha, given_values: list[float], epoch: int = 1) -> list[Judgement]:
    judgements = [asha.observe(trial, epoch, value) for trial, value in enumerate(given_values)]
    return [judgement for judgement in judgements if judgement]


def goes_on(before: list[float], value: float, *, eta: int, min_recorded: int) -> bool:
    """The rule in words: few are recorded, or fewer values are better than there are places among the best 1/eta."""
    if not math.isfinite(value):
        return False
    recorded = [other if math.isfinite(other) else math.inf for other in [*before, value]]
    places = max(1, len(recorded) // eta)
    better = sum(other < value for other in recorded)
    return len(recorded) < min_recorded or better < places


@given(st.lists(values, max_size=40), st.integers(2, 5), st.integers(1, 6))
def test_the_best_share_goes_on(given_values: list[float], eta: int, min_recorded: int) -> None:
    judgements = judge_all(rule(eta=eta, min_recorded=min_recorded), given_values)
    for place, (value, judgement) in enumerate(zip(given_values, judgements, strict=True)):
        expected = goes_on(given_values[:place], value, eta=eta, min_recorded=min_recorded)
        assert judgement.verdict == ("continue" if expected else "stop")
        assert judgement.n_recorded == place + 1


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_decides_as_optunas_pruner(eta: int) -> None:
    """One trial after the other; a trial ends at the first rung that stops it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=eta, min_early_stopping_rate=0)
    study, rungs = optuna.create_study(pruner=pruner), [1, eta, eta**2]
    asha = Asha(rungs, reduction_factor=eta, min_recorded=1)
    stops = []
    for number, values in enumerate(np.random.default_rng(eta).uniform(size=(60, len(rungs))).tolist()):
        trial = study.ask()
        for rung, value in zip(rungs, values, strict=True):
            trial.report(value, rung)
            judgement = asha.observe(number, rung, value)
            assert judgement
            assert trial.should_prune() == (judgement.verdict == "stop")
            if judgement.verdict == "stop":
                stops.append(rung)
                break
        study.tell(trial, values[-1], state=optuna.trial.TrialState.COMPLETE)
    assert set(stops) >= {1, eta}


def test_by_hand() -> None:
    judgements = judge_all(rule(eta=2), [0.5, 0.6, 0.4, 0.45, 0.41, 0.39])
    assert [judgement.verdict for judgement in judgements] == ["continue", "stop", *["continue"] * 4]
    assert [judgement.cutoff for judgement in judgements] == [0.5, 0.5, 0.4, 0.45, 0.41, 0.41]


def test_too_few_are_never_stopped() -> None:
    judgements = judge_all(rule(eta=2, min_recorded=4), [0.1, 0.9, 5.0, 1.0])
    assert [judgement.verdict for judgement in judgements] == ["continue"] * 3 + ["stop"]
    assert [judgement.cutoff for judgement in judgements] == [None, None, None, 0.9]


def test_ties_go_on() -> None:
    assert {judgement.verdict for judgement in judge_all(rule(eta=4), [0.3] * 20)} == {"continue"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_counts_as_the_worst(value: float) -> None:
    """Minus infinity is the fault of a loss, not the best of all: nobody is measured against it."""
    asha = rule(eta=2)
    judge_all(asha, [value] * 3)
    (judgement,) = judge_all(asha, [3.0])
    assert (judgement.verdict, judgement.n_recorded) == ("continue", 4)


def test_rungs_are_separate() -> None:
    asha = rule(eta=2)
    judge_all(asha, [0.1, 0.1], epoch=3)
    (judgement,) = judge_all(asha, [0.9], epoch=9)
    assert (judgement.verdict, judgement.n_recorded) == ("continue", 1)
