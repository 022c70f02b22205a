"""What holds of every early-stopping rule. A new rule is covered by being there."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import search_spaces.early_stopping
from search_spaces.early_stopping import RULES
from search_spaces.early_stopping.base import Judgement, Rule, Stopping
from search_spaces.early_stopping.median import Median, MedianStopping
from search_spaces.rule_contract import LAWS, MAX_EPOCHS, check_judges_at_rungs_only
from search_spaces.schema import study_schema
from tests.search_spaces.early_stopping.variants import stopping_variants, variants
from trainables.contracts.law import Law, judge

ROOT = Path(__file__).parents[3]

CASES = {
    f"{name}-{needed}": stopping
    for needed in (2, 4)
    for name, stopping in stopping_variants(needed=needed, grace_period_epochs=1, reduction_factor=2).items()
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("check_"))
def test_law(law: Law[Stopping], name: str) -> None:
    law(CASES[name])


class Hasty(Median):
    """A rule that remembers the best value of all its kind, and judges trials that have ended."""

    best: list[float] = []

    def rungs(self, trial: int) -> list[int]:
        return list(range(1, MAX_EPOCHS + 1))

    def observe(self, trial: int, epoch: int, value: float) -> Judgement | None:
        self.best.append(value)
        return Judgement(epoch, value, min(self.best), len(self.best), "continue" if trial else "halt")


class HastyStopping(MedianStopping):
    """Configuration of a rule that breaks laws."""

    def build(self, max_epochs: int) -> Median:
        return Hasty([1], min_recorded=1)


def test_a_rule_that_breaks_laws_is_told_which() -> None:
    broken = {verdict.law: verdict.reason for verdict in judge(LAWS, HastyStopping()) if verdict.reason}
    assert any("before its planned epochs" in law for law in broken)
    assert any("share no state" in law for law in broken)
    assert any("resumed sweep" in law for law in broken)
    assert "'halt'; valid: continue, stop, pause" in str(broken)


def test_a_rule_that_pauses_must_say_where() -> None:
    class Pausing(Median):
        def observe(self, trial: int, epoch: int, value: float) -> Judgement | None:
            judged = super().observe(trial, epoch, value)
            return judged and replace(judged, verdict="pause")

    class PausingStopping(MedianStopping):
        def build(self, max_epochs: int) -> Median:
            return Pausing([2], min_recorded=1)

    reasons = [verdict.reason for verdict in judge([check_judges_at_rungs_only], PausingStopping())]
    assert "epoch 2, which pausing_rungs leaves out" in str(reasons)


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
        assert len(set(descriptions)) == len(descriptions)

    @pytest.mark.parametrize("name", RULES)
    def test_is_in_the_schema(self, name: str) -> None:
        assert f'"const": "{name}"' in json.dumps(study_schema())

    def test_knows_no_engine(self) -> None:
        heavy = "{'ray', 'torch', 'optuna', 'pandas'}"
        code = f"import sys, search_spaces.early_stopping; print(sorted({heavy} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"
