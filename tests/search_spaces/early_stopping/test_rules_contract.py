"""What holds of every early-stopping rule. A new rule is covered by being there."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import search_spaces.early_stopping
from search_spaces.budget import Budget
from search_spaces.early_stopping import RULES
from search_spaces.early_stopping.base import CONTINUE, PAUSE, STOP, Judgement, Rule, Stopping
from search_spaces.early_stopping.parse import format_rule, parse_rule
from search_spaces.schema import study_schema
from tests.search_spaces.early_stopping.variants import stopping_variants, variants
from trainables.strict import parse

ROOT = Path(__file__).parents[3]
MAX_EPOCHS = 10

Observation = tuple[int, int, float]

values = st.one_of(st.floats(0, 5), st.sampled_from([0.5, 1.0, math.nan, math.inf, -math.inf]))
ordinary = st.one_of(st.floats(0, 5), st.sampled_from([0.5, 1.0]))
every_rule = pytest.mark.parametrize("name", stopping_variants())


def stopping_of(name: str, *, needed: int) -> Stopping:
    return stopping_variants(needed=needed, grace_period_epochs=1, reduction_factor=2)[name]


def rule_of(name: str, *, needed: int = 2) -> Rule:
    rule = stopping_of(name, needed=needed).build(MAX_EPOCHS)
    assert rule
    return rule


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


class TestDeclared:
    def test_only_the_rule_none_stops_nothing(self) -> None:
        assert [name for name, stopping in variants().items() if stopping.build(MAX_EPOCHS) is None] == ["none"]

    def test_every_rule_of_the_folder_is_built_by_a_configuration(self) -> None:
        def below(rule: type[Rule]) -> set[type[Rule]]:
            return {rule}.union(*(below(child) for child in rule.__subclasses__()))

        declared = {rule for rule in below(Rule) if rule.__module__.startswith("search_spaces.") and rule is not Rule}
        assert declared == {type(stopping.build(MAX_EPOCHS)) for stopping in stopping_variants().values()}

    def test_every_file_of_the_folder_holds_the_rule_of_its_name(self) -> None:
        files = {path.stem for path in Path(search_spaces.early_stopping.__path__[0]).glob("*.py")}
        assert set(RULES) == files - {"__init__", "base", "parse"}

    @pytest.mark.parametrize("name", RULES)
    def test_every_rule_is_explained(self, name: str) -> None:
        text = RULES[name].__doc__ or ""
        assert ">>>" in text
        parameters = set(RULES[name].model_fields) - {"rule"}
        inherited = "".join(base.__doc__ or "" for base in RULES[name].__mro__)
        assert all(f"{parameter}:" in inherited for parameter in parameters)

    def test_every_variant_has_its_own_description(self) -> None:
        descriptions = [stopping.describe() for stopping in variants().values()]
        assert all(descriptions)
        assert len(set(descriptions)) == len(descriptions)

    @pytest.mark.parametrize("name", variants())
    def test_is_read_as_it_is_typed(self, name: str) -> None:
        stopping = variants()[name]
        budget = {"trials": 9, "max_epochs": 9, "early_stopping": parse_rule(format_rule(stopping))}
        assert parse(Budget, budget, where="rule").early_stopping == stopping

    @pytest.mark.parametrize("name", RULES)
    def test_is_in_the_schema(self, name: str) -> None:
        assert f'"const": "{name}"' in json.dumps(study_schema())

    def test_knows_no_engine(self) -> None:
        heavy = "{'ray', 'torch', 'optuna', 'pandas'}"
        code = f"import sys, search_spaces.early_stopping; print(sorted({heavy} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


@every_rule
@given(seen=observations())
def test_judges_at_rungs_and_nowhere_else(name: str, seen: list[Observation]) -> None:
    rule = rule_of(name)
    for (trial, epoch, _), judgement in zip(seen, judge(rule, seen), strict=True):
        assert (judgement is not None) == (epoch in rule.rungs(trial))
        assert judgement is None or judgement.rung_epochs == epoch


@every_rule
def test_never_judges_a_trial_that_is_at_its_end(name: str) -> None:
    for trial in range(40):
        rungs = rule_of(name).rungs(trial)
        assert rungs == sorted(set(rungs))
        assert rungs[-1] < MAX_EPOCHS


@every_rule
@given(seen=observations(), needed=st.integers(2, 5))
def test_what_is_not_finite_is_stopped_and_nothing_else_about_the_value_is(
    name: str, seen: list[Observation], needed: int
) -> None:
    for (_, _, value), judgement in zip(seen, judge(rule_of(name, needed=needed), seen), strict=True):
        if judgement and not math.isfinite(value):
            assert judgement.verdict == STOP
        if judgement and math.isfinite(value) and getattr(stopping_of(name, needed=needed), "mode", STOP) == "promote":
            assert judgement.verdict in (CONTINUE, PAUSE)


@every_rule
@given(seen=observations(ordinary), needed=st.integers(2, 6))
def test_too_few_are_not_stopped(name: str, seen: list[Observation], needed: int) -> None:
    for judgement in judge(rule_of(name, needed=needed), seen):
        if judgement and judgement.n_recorded < needed:
            assert (judgement.verdict, judgement.cutoff) == (CONTINUE, None)


@every_rule
@given(curve=st.lists(ordinary, min_size=MAX_EPOCHS, max_size=MAX_EPOCHS), trial=st.integers(0, 20))
def test_a_lone_trial_runs_to_the_end(name: str, curve: list[float], trial: int) -> None:
    seen = [(trial, epoch, value) for epoch, value in enumerate(curve, start=1)]
    assert all(judgement.verdict == CONTINUE for judgement in judge(rule_of(name), seen) if judgement)


@every_rule
@given(seen=observations(), needed=st.integers(2, 5))
def test_the_cutoff_explains_the_verdict(name: str, seen: list[Observation], needed: int) -> None:
    """Whoever reads the records sees from value and cutoff alone why a trial went on or ended; ties go on."""
    for judgement in judge(rule_of(name, needed=needed), seen):
        if judgement is None:
            continue
        assert judgement.cutoff is None or math.isfinite(judgement.cutoff)
        fine = math.isfinite(judgement.value) and (judgement.cutoff is None or judgement.value <= judgement.cutoff)
        assert (judgement.verdict == CONTINUE) == fine


@every_rule
@given(seen=observations(), split=st.integers(0, 60))
def test_is_a_function_of_the_observations(name: str, seen: list[Observation], split: int) -> None:
    """Shown the same again, a fresh rule says the same, and so does one that was shown the beginning before."""
    first = judge(rule_of(name), seen)
    resumed = rule_of(name)
    # by text: a value that is no number equals nothing, not even itself
    assert repr(judge(resumed, seen[:split]) + judge(resumed, seen[split:])) == repr(first)


@every_rule
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


@every_rule
def test_two_rules_share_nothing(name: str) -> None:
    judge(rule_of(name), [(trial, epoch, 0.1) for trial in range(12) for epoch in range(1, 10)])
    fresh = [judgement for trial in range(12) if (judgement := rule_of(name).observe(trial, 1, 0.9))]
    assert fresh
    assert all(judgement.n_recorded == 1 for judgement in fresh)


@every_rule
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
