"""The size of a sweep: exact where all trials are counted, and quick where there are many."""

from __future__ import annotations

from typing import Any

import pytest

from search_spaces.discover import load_study
from sweep.plan import Plan, make_plan


def planned(monkeypatch: pytest.MonkeyPatch, *settings: str, sampled: int | None = None, **values: Any) -> Plan:
    monkeypatch.setattr("sweep.plan.probe", lambda *_, **__: 500.0)
    if sampled is not None:
        monkeypatch.setattr("sweep.plan.PLANNED_TRIALS", sampled)
    study = {
        "question": "How long?",
        "arms": {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}},
        "space": {"data.train_frac": {"kind": "uniform", "lo": 0.5, "hi": 1.0}},
        "budget": {"trials": 100, "max_epochs": 3},
        "confirm": {"searches": 1, "seeds": 4},
    }
    return make_plan(load_study(study | values, settings=settings))


@pytest.mark.parametrize("search", ["random", "quasi_random", "tpe"])
def test_a_sample_stands_for_many_trials(monkeypatch: pytest.MonkeyPatch, search: str) -> None:
    whole = planned(monkeypatch, f"search={search}")
    sample = planned(monkeypatch, f"search={search}", sampled=40)
    assert (sample.n_trials, sample.n_confirming, sample.max_epochs) == (200, 8, 624)
    assert (whole.n_trials, whole.n_confirming, whole.max_epochs) == (200, 8, 624)
    assert sample.seconds == pytest.approx(whole.seconds, rel=0.1)
    assert sample.seconds != whole.seconds


def test_a_sample_of_a_grid_has_values_of_all_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first points of a grid differ in its last parameter only."""
    frac = {"kind": "uniform", "lo": 0.5, "hi": 1.0, "points": 10}
    space = {"data.train_frac": frac, "optimizer.lr": {"kind": "choice", "values": [0.1 * n for n in range(1, 11)]}}
    values: dict[str, Any] = {"space": space, "search": "grid", "budget": {"max_epochs": 3}}
    sample = planned(monkeypatch, sampled=40, **values)
    assert sample.n_trials == 200
    assert sample.n_train[0] < 0.7 * sample.n_train[1]


def test_the_largest_study_is_planned_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr("search_spaces.study.Study.draw", lambda *_: built.append(1) or {"data.train_frac": 0.5})
    assert planned(monkeypatch, "budget.trials=10000", "confirm.seeds=1000").n_trials == 20_000
    assert len(built) < 5_000
