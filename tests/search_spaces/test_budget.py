"""What a budget promises: rules that can stop, cohorts that are fair, and refusals of what can do neither."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.budget import Budget
from search_spaces.early_stopping import RULES
from search_spaces.early_stopping.asha import AshaStopping
from search_spaces.early_stopping.base import RungStopping
from search_spaces.early_stopping.median import MedianStopping
from search_spaces.early_stopping.none import NoStopping
from search_spaces.study import Study
from trainables.errors import UserError
from trainables.merging import merged
from trainables.strict import parse

WITH_RUNGS = [name for name, rule in RULES.items() if issubclass(rule, RungStopping)]


def budget_of(**changes: Any) -> Budget:
    return parse(Budget, {"trials": 8, "max_epochs": 9, **changes}, where="budget")


def refusal(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        budget_of(**changes)
    return str(caught.value)


def study_of(**budget: Any) -> Study:
    values = {"name": "small", "question": "?", "arms": {"off": {}, "cutmix": {}}, "seed": budget.pop("seed", 0)}
    return parse(Study, {**values, "budget": {"trials": 8, "max_epochs": 9, **budget}}, where="study")


def cohort(study: Study, n_trials: int) -> list[int]:
    return [number for number in range(n_trials) if study.is_control("off", number)]


class TestRules:
    def test_without_a_word_nothing_is_stopped(self) -> None:
        assert budget_of().early_stopping == NoStopping()

    @pytest.mark.parametrize("rule", RULES)
    def test_defaults_do(self, rule: str) -> None:
        assert budget_of(early_stopping={"rule": rule}).early_stopping.rule == rule

    @pytest.mark.parametrize("rule", WITH_RUNGS)
    def test_a_first_rung_after_the_end(self, rule: str) -> None:
        message = refusal(early_stopping={"rule": rule, "grace_period_epochs": 9})
        assert "early_stopping.grace_period_epochs is 9, but trials end at 9 epochs" in message

    @pytest.mark.parametrize("rule", WITH_RUNGS)
    def test_more_trials_needed_than_there_are(self, rule: str) -> None:
        assert "early_stopping.min_recorded is 9" in refusal(early_stopping={"rule": rule, "min_recorded": 9})

    def test_a_median_is_of_others(self) -> None:
        assert "is 8 others" in refusal(early_stopping={"rule": "median", "min_recorded": 8})
        budget_of(early_stopping={"rule": "median", "min_recorded": 7})
        budget_of(early_stopping={"rule": "asha", "min_recorded": 8})

    def test_more_brackets_than_fit(self) -> None:
        given_rule = {"rule": "hyperband", "grace_period_epochs": 2, "reduction_factor": 2}
        budget_of(early_stopping={**given_rule, "brackets": 3})  # from 2, 4 and 8
        assert "brackets is 4, but only 3" in refusal(early_stopping={**given_rule, "brackets": 4})

    @pytest.mark.parametrize(
        ("rule", "parameter"),
        [
            ("none", "min_recorded"),
            ("median", "reduction_factor"),
            ("asha", "brackets"),
            ("hyperband", "interval_epochs"),
        ],
    )
    def test_a_parameter_of_another_rule(self, rule: str, parameter: str) -> None:
        assert f"unknown key 'early_stopping.{parameter}'" in refusal(early_stopping={"rule": rule, parameter: 1})

    def test_a_mistyped_parameter(self) -> None:
        message = refusal(early_stopping={"rule": "asha", "grace_period": 1})
        assert "did you mean 'grace_period_epochs'?" in message
        assert "brackets" not in message

    def test_an_unknown_rule(self) -> None:
        message = refusal(early_stopping={"rule": "medain"})
        assert "'early_stopping.rule' is unknown: 'medain'; did you mean 'median'?" in message

    def test_no_rule(self) -> None:
        assert "needs the key 'rule'" in refusal(early_stopping={"min_recorded": 1})

    def test_another_rule_drops_the_parameters_of_the_old_one(self) -> None:
        old = {"early_stopping": {"rule": "asha", "reduction_factor": 2, "min_recorded": 5}}
        changed = budget_of(**merged(old, {"early_stopping": {"rule": "median"}}))
        assert changed.early_stopping == MedianStopping()

    @pytest.mark.parametrize(
        ("max_epochs", "grace", "eta", "rungs"),
        [
            (100, 1, 3, [1, 3, 9, 27, 81]),
            (81, 1, 3, [1, 3, 9, 27]),  # all planned epochs are no rung: there is nothing left to save
            (82, 1, 3, [1, 3, 9, 27, 81]),
            (10, 3, 2, [3, 6]),
            (30, 5, 2, [5, 10, 20]),
            (3, 3, 2, []),
            (1, 1, 2, []),
        ],
    )
    def test_halving_rungs(self, max_epochs: int, grace: int, eta: int, rungs: list[int]) -> None:
        assert AshaStopping(grace_period_epochs=grace, reduction_factor=eta).rungs(max_epochs) == rungs


class TestControlCohort:
    def test_is_empty_unless_asked_for(self) -> None:
        assert cohort(study_of(), 100) == []

    @given(frac=st.floats(0, 0.99), n_trials=st.integers(1, 200), seed=st.integers(0, 50))
    def test_has_its_share(self, frac: float, n_trials: int, seed: int) -> None:
        share = frac * n_trials
        count = len(cohort(study_of(control_frac=frac, seed=seed), n_trials))
        assert math.floor(share - 1e-9) <= count <= math.ceil(share + 1e-9)

    def test_more_trials_change_none_of_it(self) -> None:
        short, long = (study_of(control_frac=0.25, trials=trials) for trials in (8, 80))
        assert cohort(short, 80) == cohort(long, 80)

    def test_every_trial_has_the_same_chance(self) -> None:
        seeds = range(400)
        counts = [
            sum(study_of(control_frac=0.25, seed=seed).is_control("off", number) for seed in seeds)
            for number in range(4)
        ]
        assert sum(counts) == len(seeds)  # each cohort of four has one
        assert all(abs(count / len(seeds) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(seeds)) for count in counts)

    @pytest.mark.parametrize("frac", [-0.1, 1.0])
    def test_all_or_less_than_none_is_refused(self, frac: float) -> None:
        assert "'control_frac'" in refusal(control_frac=frac)
