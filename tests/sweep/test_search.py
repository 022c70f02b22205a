"""Searchers propose values of the study's space, and use the trials of one arm only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest

from search_spaces.study import Study
from sweep import tpe
from sweep.search import PastTrial, distribution, propose
from trainables.seeds import derive_seed
from trainables.strict import parse

LR = "optimizer.lr"
SPACE = {LR: {"kind": "loguniform", "lo": 1e-3, "hi": 1.0, "points": 4}}
MIXED = {
    "optimizer.momentum": {"kind": "uniform", "lo": 0.0, "hi": 0.9},
    "data.pad_px": {"kind": "integers", "lo": 0, "hi": 5},
    "data.flip": {"kind": "choice", "values": [True, False, None]},
    "optimizer.weight_decay": {"kind": "fixed", "value": 0.0},
    LR: SPACE[LR],
}


def study_of(**changes: Any) -> Study:
    values = {
        "name": "small",
        "question": "?",
        "arms": {"off": {}, "cutmix": {"mix": "cutmix"}},
        "space": SPACE,
        "search": "tpe",
        "budget": {"trials": 30, "max_epochs": 3, "early_stopping": {"rule": "asha", "grace_period_epochs": 1}},
    }
    return parse(Study, values | changes, where="study")


def finished(params: dict[str, Any], value: float) -> PastTrial:
    return PastTrial(params, {1: value + 1, 2: value + 0.5, 3: value}, completed=True, ended=True)


def run(study: Study, arm: str, count: int, value_of: Callable[[dict[str, Any]], float]) -> list[PastTrial]:
    """Propose and finish ``count`` trials, one after the other."""
    past: list[PastTrial] = []
    for number in range(count):
        params = propose(study, arm, number, past)
        past.append(finished(params, value_of(params)))
    return past


def distance(params: dict[str, Any]) -> float:
    """Return the squared distance, in powers of ten, from a learning rate of 0.05."""
    return abs(math.log10(params[LR] / 0.05))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[optuna.trial.FrozenTrial]:
    """Return the past trials as Optuna gets them."""
    trials: list[optuna.trial.FrozenTrial] = []
    ask = tpe.ask

    def noted(past: list[optuna.trial.FrozenTrial], *arguments: Any, **options: Any) -> dict[str, Any]:
        trials.extend(past)
        return ask(past, *arguments, **options)

    monkeypatch.setattr(tpe, "ask", noted)
    return trials


@pytest.mark.parametrize("search", ["random", "quasi_random", "grid"])
def test_searches_that_do_not_look_back_are_the_study_s_own(search: str) -> None:
    study = study_of(search=search)
    past = [finished({LR: 0.1}, 0.5)]
    for arm in study.arms:
        for number in range(6):
            assert propose(study, arm, number, past) == study.draw(arm, number)


def test_an_arm_without_a_space_draws_nothing() -> None:
    study = study_of(space={}, arms={"off": {}, "cutmix": {"mix": "cutmix", "space": SPACE}})
    assert propose(study, "off", 0, []) == {}
    assert set(propose(study, "cutmix", 0, [])) == {LR}


class TestTpe:
    def test_is_a_pure_function_of_the_past(self) -> None:
        past = run(study_of(), "off", 14, distance)
        again = run(study_of(), "off", 14, distance)
        assert [trial.params for trial in again] == [trial.params for trial in past]
        assert propose(study_of(), "off", 14, past) == propose(study_of(), "off", 14, past)

    def test_learns_from_the_past(self) -> None:
        """After the random first trials, other past trials lead to another proposal."""
        past = run(study_of(), "off", 14, distance)
        other = [finished(dict(trial.params), -distance(dict(trial.params))) for trial in past]
        assert propose(study_of(), "off", 14, past) != propose(study_of(), "off", 14, other)

    def test_arms_are_searched_apart(self) -> None:
        """Another arm with the same past trials gets other values; the other arms have no influence."""
        past = run(study_of(), "off", 3, distance)
        assert propose(study_of(), "cutmix", 3, past) != propose(study_of(), "off", 3, past)
        alone = study_of(arms={"off": {}})
        assert propose(alone, "off", 3, past) == propose(study_of(), "off", 3, past)

    def test_follows_the_study_s_seed(self) -> None:
        assert propose(study_of(seed=1), "off", 0, []) != propose(study_of(), "off", 0, [])

    def test_first_trials_differ(self) -> None:
        """Proposed in parallel, before any trial has reported."""
        past: list[PastTrial] = []
        for number in range(6):
            past.append(PastTrial(propose(study_of(), "off", number, past), {}, completed=False, ended=False))
        assert len({trial.params[LR] for trial in past}) == 6

    def test_keeps_to_every_kind_of_domain(self) -> None:
        study = study_of(space=MIXED)
        past = run(study, "off", 25, lambda params: distance(params) + params["data.pad_px"])
        for trial in past:
            assert list(trial.params) == list(MIXED)
            assert 0.0 <= trial.params["optimizer.momentum"] <= 0.9
            assert trial.params["data.pad_px"] in range(6)
            assert type(trial.params["data.pad_px"]) is int
            assert trial.params["data.flip"] in (True, False, None)
            assert trial.params["optimizer.weight_decay"] == 0.0
            assert 1e-3 <= trial.params[LR] <= 1.0
            study.trial_config("off", trial.params, replicate=0)
        assert {trial.params["data.flip"] for trial in past} == {True, False, None}

    def test_replicates_share_a_configuration(self) -> None:
        study = study_of(replicates=3)
        params = [trial.params for trial in run(study, "off", 12, distance)]
        assert all(params[number] == params[number - number % 3] for number in range(12))
        assert len({drawn[LR] for drawn in params}) == 4

    def test_concentrates_where_it_is_good(self) -> None:
        """Over 12 sweeps, later trials lie nearer to the planted optimum than random ones."""
        tpe, random = [], []
        for seed in range(12):
            past = run(study_of(seed=seed), "off", 30, distance)
            tpe += [distance(dict(trial.params)) for trial in past[15:]]
            drawn = study_of(search="random", seed=seed)
            random += [distance(drawn.draw("off", number)) for number in range(15, 30)]
        assert np.median(tpe) < 0.65 * np.median(random)

    def test_proposes_what_a_study_with_these_trials_proposes(self, told: list[optuna.trial.FrozenTrial]) -> None:
        """No storage checks or copies the past trials; Optuna's own one does."""
        study, rng = study_of(space=MIXED), np.random.default_rng(0)
        distributions = {path: distribution(domain) for path, domain in study.space_of("off").items()}
        past: list[PastTrial] = []
        for number in range(40):
            told.clear()
            proposed = propose(study, "off", number, past)
            sampler = optuna.samplers.TPESampler(
                seed=derive_seed(study.seed, "tpe", "off", number) % 2**32, n_startup_trials=5, constant_liar=True
            )
            plain = optuna.create_study(sampler=sampler)
            fields = ("state", "value", "params", "distributions", "intermediate_values")
            given = [{name: getattr(trial, name) for name in fields} for trial in told]
            plain.add_trials([optuna.trial.create_trial(**trial) for trial in given])
            assert proposed == plain.ask(distributions).params
            values = {epoch: rng.random() for epoch in range(1, rng.integers(2, 5))}
            past.append(PastTrial(proposed, values, completed=len(values) == 3, ended=rng.random() < 0.8))

    def test_warns_of_nothing(self, recwarn: pytest.WarningsRecorder) -> None:
        run(study_of(), "off", 3, distance)
        assert not recwarn.list


class TestKnownPoints:
    POINTS = [{LR: 0.05}, {LR: 0.2}]

    def test_come_first_in_every_search(self) -> None:
        for search in ("tpe", "random", "quasi_random"):
            past = run(study_of(search=search, points=self.POINTS), "off", 3, lambda _: 1.0)
            assert [trial.params for trial in past[:2]] == self.POINTS
            assert past[2].params not in self.POINTS

    def test_leave_open_what_they_do_not_name(self) -> None:
        study = study_of(space=MIXED, points=self.POINTS)
        assert propose(study, "off", 0, []) == propose(study_of(space=MIXED), "off", 0, []) | self.POINTS[0]

    def test_are_observed_like_other_trials(self) -> None:
        """After the startup trials the search stays near a known good point."""
        study = study_of(points=[{LR: 0.05}], budget={"trials": 30, "max_epochs": 3})
        past = run(study, "off", 15, lambda params: abs(math.log(params[LR] / 0.05)))
        distances = [abs(math.log(trial.params[LR] / 0.05)) for trial in past]
        assert np.median(distances[5:]) < np.median(distances[1:5])


class TestWhatOptunaIsTold:
    def tell(self, told: list[optuna.trial.FrozenTrial], trial: PastTrial) -> optuna.trial.FrozenTrial:
        propose(study_of(), "off", 1, [trial])
        (frozen,) = told
        return frozen

    def test_completed(self, told: list[optuna.trial.FrozenTrial]) -> None:
        frozen = self.tell(told, finished({LR: 0.1}, 0.25))
        assert frozen.state == optuna.trial.TrialState.COMPLETE
        assert frozen.value == 0.25
        assert frozen.params == {LR: 0.1}

    def test_stopped_is_pruned_with_its_values_by_epoch(self, told: list[optuna.trial.FrozenTrial]) -> None:
        """If it were complete, its value after few epochs would count as a value after all epochs."""
        frozen = self.tell(told, PastTrial({LR: 0.1}, {1: 0.9, 2: 0.8}, completed=False, ended=True))
        assert frozen.state == optuna.trial.TrialState.PRUNED
        assert frozen.intermediate_values == {1: 0.9, 2: 0.8}
        assert frozen.value is None

    def test_diverged_counts_as_the_worst(self, told: list[optuna.trial.FrozenTrial]) -> None:
        frozen = self.tell(told, PastTrial({LR: 0.9}, {1: 3.0, 2: math.nan}, completed=False, ended=True))
        assert frozen.state == optuna.trial.TrialState.PRUNED
        assert frozen.intermediate_values == {1: 3.0, 2: math.inf}

    def test_minus_infinity_counts_as_the_worst(self, told: list[optuna.trial.FrozenTrial]) -> None:
        frozen = self.tell(told, PastTrial({LR: 0.9}, {1: -math.inf}, completed=False, ended=True))
        assert frozen.intermediate_values == {1: math.inf}

    def test_failed_before_its_first_epoch(self, told: list[optuna.trial.FrozenTrial]) -> None:
        frozen = self.tell(told, PastTrial({LR: 0.9}, {}, completed=False, ended=True))
        assert frozen.state == optuna.trial.TrialState.PRUNED
        assert frozen.intermediate_values == {}

    def test_running(self, told: list[optuna.trial.FrozenTrial]) -> None:
        frozen = self.tell(told, PastTrial({LR: 0.9}, {1: 0.5}, completed=False, ended=False))
        assert frozen.state == optuna.trial.TrialState.RUNNING

    def test_a_region_that_diverges_is_left(self) -> None:
        """Trials in one half of the space diverge: over 5 sweeps this half is proposed less often."""
        later = []
        for seed in range(5):
            study, past = study_of(seed=seed), list[PastTrial]()
            for number in range(30):
                params = propose(study, "off", number, past)
                bad = params[LR] > 10**-1.5
                values = {1: math.nan} if bad else {1: 1.0, 2: 1.0, 3: 1.0}
                past.append(PastTrial(params, values, completed=not bad, ended=True))
            later += [trial.params[LR] > 10**-1.5 for trial in past[15:]]
        assert np.mean(later) < 0.3


def test_renamed_keys_are_proposed_as_before() -> None:
    """TPE samples parameters in the order of their names: the numbers are those of the program before the rename."""
    study = study_of(
        seed=3,
        search="tpe",
        arms={
            "cutmix": {
                "mix": "cutmix",
                "space": {
                    "mix.apply.schedule.ramp_down_start": {"kind": "uniform", "lo": 0.0, "hi": 1.0},
                    "mix.size.alpha": {"kind": "loguniform", "lo": 0.1, "hi": 4.0},
                },
            },
        },
        space={
            "optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 1.0},
            "mix.granularity": {"kind": "choice", "values": ["sample", "batch"]},
            "mix.label.smoothing": {"kind": "uniform", "lo": 0.0, "hi": 0.3},
        },
    )
    past: list[PastTrial] = []
    for number in range(12):
        params = propose(study, "cutmix", number, past)
        assert list(params) == list(study.space_of("cutmix"))
        value = sum(value if isinstance(value, float) else len(value) / 10 for value in params.values())
        past.append(PastTrial(params=params, values=dict.fromkeys((1, 2, 3), value), completed=True, ended=True))
    assert list(past[11].params.values()) == pytest.approx(
        [0.04629550878071238, "batch", 0.016859915112467254, 0.24146931140081038, 0.11952738621010278]
    )
