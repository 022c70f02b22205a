"""What holds of every early-stopping rule."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from search_spaces.budget import EarlyStopping, NoStopping
from search_spaces.early_stopping.base import CONTINUE, PAUSE, STOP, Judgement, Rule
from search_spaces.early_stopping.build import new_rule
from trainables.strict import Frozen, parse

ROOT = Path(__file__).parents[3]
MAX_EPOCHS = 10
RULES = ["asha", "asha-promote", "hyperband", "hyperband-promote", "median"]

Observation = tuple[int, int, float]

values = st.one_of(st.floats(0, 5), st.sampled_from([0.5, 1.0, math.nan, math.inf, -math.inf]))
ordinary = st.one_of(st.floats(0, 5), st.sampled_from([0.5, 1.0]))


class _Holder(Frozen):
    stopping: EarlyStopping


def rule_of(name: str, *, min_recorded: int = 1) -> Rule:
    rule, _, mode = name.partition("-")
    given_values: dict[str, Any] = {"rule": rule, "grace_period_epochs": 1, "min_recorded": min_recorded}
    if rule != "median":
        given_values |= {"reduction_factor": 2, "mode": mode or "stop"}
    new = new_rule(parse(_Holder, {"stopping": given_values}, where="rule").stopping, MAX_EPOCHS)
    assert new
    return new


@st.composite
def observations(draw: st.DrawFn, value: st.SearchStrategy[float] = values, n_trials: int = 12) -> list[Observation]:
    """Epochs of some trials, mingled: those of a trial one after the other."""
    order = draw(st.lists(st.integers(0, n_trials - 1), max_size=60))
    came_to = dict.fromkeys(range(n_trials), 0)
    seen = []
    for trial in order:
        came_to[trial] += 1
        if came_to[trial] <= MAX_EPOCHS:
            seen.append((trial, came_to[trial], draw(value)))
    return seen


def judge(rule: Rule, seen: list[Observation]) -> list[Judgement | None]:
    return [rule.observe(*observation) for observation in seen]


pytestmark = pytest.mark.parametrize("name", RULES)


@given(seen=observations())
def test_judges_at_rungs_and_nowhere_else(name: str, seen: list[Observation]) -> None:
    rule = rule_of(name)
    for (trial, epoch, _), judgement in zip(seen, judge(rule, seen), strict=True):
        assert (judgement is not None) == (epoch in rule.rungs(trial))
        assert judgement is None or judgement.rung_epochs == epoch


def test_never_judges_a_trial_that_is_at_its_end(name: str) -> None:
    for trial in range(40):
        rungs = rule_of(name).rungs(trial)
        assert rungs == sorted(set(rungs))
        assert rungs[-1] < MAX_EPOCHS


@given(seen=observations(), min_recorded=st.integers(1, 4))
def test_what_is_not_finite_is_stopped_and_nothing_else_about_the_value_is(
    name: str, seen: list[Observation], min_recorded: int
) -> None:
    for (_, _, value), judgement in zip(seen, judge(rule_of(name, min_recorded=min_recorded), seen), strict=True):
        if judgement and not math.isfinite(value):
            assert judgement.verdict == STOP
        if judgement and math.isfinite(value) and "promote" in name:
            assert judgement.verdict in (CONTINUE, PAUSE)


@given(seen=observations(ordinary), min_recorded=st.integers(1, 5))
def test_too_few_are_not_stopped(name: str, seen: list[Observation], min_recorded: int) -> None:
    needed = min_recorded + (name == "median")  # so many others
    for judgement in judge(rule_of(name, min_recorded=min_recorded), seen):
        if judgement and judgement.n_recorded < needed:
            assert (judgement.verdict, judgement.cutoff) == (CONTINUE, None)


@given(curve=st.lists(ordinary, min_size=MAX_EPOCHS, max_size=MAX_EPOCHS), trial=st.integers(0, 20))
def test_a_lone_trial_runs_to_the_end(name: str, curve: list[float], trial: int) -> None:
    seen = [(trial, epoch, value) for epoch, value in enumerate(curve, start=1)]
    assert all(judgement.verdict == CONTINUE for judgement in judge(rule_of(name), seen) if judgement)


@given(seen=observations(), min_recorded=st.integers(1, 4))
def test_the_cutoff_explains_the_verdict(name: str, seen: list[Observation], min_recorded: int) -> None:
    """Whoever reads the records sees from value and cutoff alone why a trial went on or ended; ties go on."""
    for judgement in judge(rule_of(name, min_recorded=min_recorded), seen):
        if judgement is None:
            continue
        assert judgement.cutoff is None or math.isfinite(judgement.cutoff)
        fine = math.isfinite(judgement.value) and (judgement.cutoff is None or judgement.value <= judgement.cutoff)
        assert (judgement.verdict == CONTINUE) == fine


@given(seen=observations(), split=st.integers(0, 60))
def test_is_a_function_of_the_observations(name: str, seen: list[Observation], split: int) -> None:
    """Shown the same again, a fresh rule says the same, and so does one that was shown the beginning before."""
    first = judge(rule_of(name), seen)
    resumed = rule_of(name)
    # by text: a value that is no number equals nothing, not even itself
    assert repr(judge(resumed, seen[:split]) + judge(resumed, seen[split:])) == repr(first)


@given(seen=observations(ordinary), better=st.floats(0, 1))
def test_a_better_value_goes_on_where_a_worse_does(name: str, seen: list[Observation], better: float) -> None:
    assume(seen)
    *before, (trial, epoch, value) = seen
    judged = []
    for last in (value, value * better):
        rule = rule_of(name)
        judge(rule, before)
        judged.append(rule.observe(trial, epoch, last))
    worse, best = judged
    assert worse is None or worse.verdict != CONTINUE or (best is not None and best.verdict == CONTINUE)


def test_two_rules_share_nothing(name: str) -> None:
    judge(rule_of(name), [(trial, epoch, 0.1) for trial in range(12) for epoch in range(1, 10)])
    fresh = [judgement for trial in range(12) if (judgement := rule_of(name).observe(trial, 1, 0.9))]
    assert fresh
    assert all(judgement.n_recorded == 1 for judgement in fresh)


@given(seen=observations())
def test_promotes_none_but_the_paused(name: str, seen: list[Observation]) -> None:
    rule = rule_of(name)
    paused = {
        trial
        for (trial, _, _), judged in zip(seen, judge(rule, seen), strict=True)
        if judged and judged.verdict == PAUSE
    }
    assert rule.promotable([]) is None
    assert rule.promotable(paused) in (None, *paused)


def test_knows_no_engine(name: str) -> None:
    heavy = "{'ray', 'torch', 'optuna', 'pandas'}"
    code = f"import sys, search_spaces.early_stopping.build; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert new_rule(NoStopping(), MAX_EPOCHS) is None
