"""The size of a sweep: exact where all trials are counted, and quick where there are many."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from search_spaces.discover import load_study
from search_spaces.resources import Resources
from search_spaces.study import Study
from sweep.network_sizes import network_sizes
from sweep.plan import Plan, _speeds, make_plan
from sweep.random_trial import ImageFacts
from sweep.terminal.study import print_plan
from sweep.terminal.training_line import describe_training
from trainables.config import Model, TrialConfig
from trainables.data.config import Data
from trainables.data.sources.base import Description
from trainables.data.splits import split_indices
from trainables.errors import UserError
from trainables.evaluation.axes.cost import forward_flops, training_flops
from trainables.models.build import build_model

VALUES: dict[str, Any] = {
    "question": "How long?",
    "arms": {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}},
    "budget": {"trials": 2, "max_epochs": 3},
}


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


def text_of(plan: Plan, study: Study) -> str:
    console = Console(width=10_000, file=io.StringIO())
    print_plan(study, plan, console)
    return console.file.getvalue()


def test_tells_networks_training_and_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.plan.measure_speed", lambda *_, **__: 500.0)
    space = {"model.name": {"kind": "choice", "values": ["cifar_resnet8", "tiny"]}}
    study = load_study(VALUES | {"space": space, "search": "grid", "replicates": 1, "budget": {"max_epochs": 3}})
    plan = make_plan(study)
    by_name = {network.name: network for network in plan.networks}
    assert by_name.keys() == {"tiny", "cifar_resnet8"}
    net = build_model(Model(name="tiny"), n_classes=10, height_px=32, width_px=32, seed=0)
    assert by_name["tiny"].n_parameters == sum(parameter.numel() for parameter in net.parameters())
    assert by_name["tiny"].multiply_adds == forward_flops(net, height_px=32, width_px=32) // 2
    per_image = training_flops(net, TrialConfig(), height_px=32, width_px=32)
    assert plan.train_flops[0] == pytest.approx(per_image * plan.n_train[0] * 3)
    assert plan.train_flops[0] < plan.train_flops[1]
    text = text_of(plan, study)
    assert "Network: cifar_resnet8 with" in text
    assert "weight decay 0.0005 on weights without norms and biases; batches of 128 images" in text


def test_trials_that_decode_jpegs_are_measured_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {None: 100.0, 320: 50.0, 500: 30.0}
    monkeypatch.setattr("sweep.plan.measure_speed", lambda config, *_: speeds[config.data.stored_short_px])
    stores: list[dict[str, Any]] = [{}, {"store": "jpeg"}, {"store": "jpeg", "stored_px": 500}]
    configs = [TrialConfig.model_validate({"data": {"source": "imagenet:x", **store}}) for store in stores]
    assert _speeds(configs, ImageFacts(n_classes=2, height_px=8, width_px=8), Resources()) == [100, 50, 30]


def test_networks_that_differ_in_their_last_stride_have_sizes_of_their_own() -> None:
    models = [Model(name="resnet18", width=0.25, last_stride=stride) for stride in (2, 1)]
    usual, dense = network_sizes(models, Description(n_train=8, n_classes=2, height_px=64, width_px=64))
    assert dense.n_parameters == usual.n_parameters
    assert dense.multiply_adds > 1.2 * usual.multiply_adds
    assert ", stride 1 in the last stage, with" in dense.describe()
    assert "stride" not in usual.describe()


def test_work_is_that_of_the_size_of_images_of_each_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.plan.measure_speed", lambda *_, **__: 500.0)
    arms = {"small": {"mix": "off"}, "large": {"mix": "off", "base": {"data": {"image_size_px": 64}}}}
    small, large = make_plan(load_study(VALUES | {"arms": arms})).train_flops
    assert 3.9 < large / small < 4.1


def test_training_says_what_differs_between_arms() -> None:
    arms = {
        "sgd": {"mix": "off"},
        "all": {"mix": "off", "base": {"optimizer": {"decay_on": "all", "schedule": {"kind": "step"}}}},
    }
    space = {"optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 0.1}}
    line = describe_training(load_study(VALUES | {"arms": arms, "space": space}))
    assert "learning rate 0.01 .. 0.1 (log) (cosine or step: x0.1 at 50 %, 75 %)" in line
    assert "on weights without norms and biases or all parameters" in line


def test_training_says_what_an_arm_varies_and_not_its_first_draw() -> None:
    space = {
        "optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 0.1},
        "optimizer.schedule.warmup_frac": {"kind": "uniform", "lo": 0.01, "hi": 0.2},
    }
    arms = {"off": {"mix": "off"}, "searched": {"mix": "off", "space": space}}
    line = describe_training(load_study(VALUES | {"arms": arms}))
    assert "learning rate 0.1 or 0.01 .. 0.1 (log) (cosine or varied), weight decay 0.0005 on" in line


def test_of_a_study_for_another_machine_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of a GPU sweep can be made on a laptop; measuring several trials cannot."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("sweep.gpu_room.local_gpu_bytes", lambda: None)
    study = load_study(VALUES, settings=["resources.gpus=1"])
    plan = make_plan(study)
    assert (plan.slots, plan.seconds, plan.images_per_s) == (0, None, None)
    assert plan.n_train[0] > 0
    assert plan.rooms
    assert "Time: unknown, because resources.gpus is 1.0 per trial, but this machine has 0 GPUs" in text_of(plan, study)
    with pytest.raises(UserError, match="this machine has"):
        make_plan(study, measure=True)
