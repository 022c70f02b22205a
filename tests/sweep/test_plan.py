"""The size of a sweep: exact where all trials are counted, and quick where there are many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search_spaces.discover import load_study
from sweep.plan import Plan, make_plan
from trainables.data.config import Data
from trainables.data.splits import split_indices
from trainables.errors import UserError


def planned(monkeypatch: pytest.MonkeyPatch, *settings: str, sampled: int | None = None, **values: Any) -> Plan:
    monkeypatch.setattr("sweep.plan.measure_speed", lambda *_, **__: 500.0)
    if sampled is not None:
        monkeypatch.setattr("sweep.planned.PLANNED_TRIALS", sampled)
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


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes with one training image and one test image each."""
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / name / "0.png")
    return tmp_path


def test_a_split_that_run_refuses_is_refused(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    setting = f"base.data.source=imagefolder:{photos}"
    values: dict[str, Any] = {"space": {"optimizer.lr": {"kind": "uniform", "lo": 0.1, "hi": 0.2}}}
    with pytest.raises(UserError, match="no image is left for validation"):
        planned(monkeypatch, setting, **values)
    for number in range(1, 9):
        Image.new("RGB", (16, 16)).save(photos / f"train/a/{number}.png")
    plan = planned(monkeypatch, setting, **values)
    train, val = split_indices(np.repeat([0, 1], [9, 1]), train_frac=1.0, val_frac=Data().val_frac, seed=0)
    assert (plan.n_train[0], plan.n_val[0]) == (len(train), len(val))
    (photos / "train/a/notes.txt").touch()
    (note,) = planned(monkeypatch, setting, **values).notes
    assert note.endswith("1 file passed over: 1 .txt")


def test_a_link_that_leads_nowhere_is_refused_without_its_header(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    """The headers of some images only are read."""
    monkeypatch.setattr("trainables.data.decoding.SAMPLED_FILES", 1)
    (photos / "train/b/1.png").symlink_to("gone.png")
    with pytest.raises(UserError, match=r"b/1\.png: there is no gone\.png"):
        planned(monkeypatch, f"base.data.source=imagefolder:{photos}")
