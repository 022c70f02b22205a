from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from trainables.config import TrialConfig
from trainables.data.config import Data
from trainables.errors import UserError, did_you_mean
from trainables.mixing.config import Mix
from trainables.mixing.presets import PRESETS
from trainables.strict import parse


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        parse(TrialConfig, values, where="here")
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "path", "meant"),
    [
        ({"seeed": 1}, "seeed", "seed"),
        ({"data": {"sorce": "digits"}}, "data.sorce", "source"),
        ({"model": {"widht": 1.0}}, "model.widht", "width"),
        ({"model": {"dropblock": {"block": 5}}}, "model.dropblock.block", "block_px"),
        (
            {"model": {"dropblock": {"schedule": {"ramp_down_ends": 1.0}}}},
            "model.dropblock.schedule.ramp_down_ends",
            "ramp_down_end",
        ),
        ({"optimizer": {"max_epoch": 3}}, "optimizer.max_epoch", "max_epochs"),
        ({"optimizer": {"schedule": {"kind": "step", "factr": 0.5}}}, "optimizer.schedule.factr", "factor"),
        ({"mix": {"contents": "zero"}}, "mix.contents", "content"),
        ({"mix": {"apply": {"prop": 0.5}}}, "mix.apply.prop", "prob"),
        ({"mix": {"mask": {"family": "box", "aspect": 2.0}}}, "mix.mask.aspect", "aspect_max"),
        ({"mix": {"size": {"kind": "beta", "alfa": 2.0}}}, "mix.size.alfa", "alpha"),
        ({"mix": {"preset": "random_erasing", "size": {"hii": 0.5}}}, "mix.size.hii", "hi"),
        ({"evaluation": {"bins": 15}}, "evaluation.bins", "ece_bins"),
    ],
)
def test_an_unknown_key_is_refused(values: dict[str, Any], path: str, meant: str) -> None:
    message = refusal(values)
    assert message.startswith(f"here: unknown key '{path}'; did you mean '{meant}'? valid: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": {"source": "digts"}}, "'data.source': unknown data source 'digts'; did you mean 'digits'?"),
        ({"model": {"name": "resnet19"}}, "'model.name': unknown network 'resnet19'; did you mean 'resnet18'?"),
        ({"model": {"precision": "fp8"}}, "'model.precision' is unknown: 'fp8'; valid: auto, bf16, fp16, fp32, tf32"),
        ({"optimizer": {"schedule": {"kind": "cosin"}}}, "'optimizer.schedule.kind' is unknown: 'cosin'"),
        ({"mix": {"mask": {"family": "bx"}}}, "'mix.mask.family' is unknown: 'bx'; did you mean 'box'?"),
        ({"mix": {"size": {"kind": "bta"}}}, "'mix.size.kind' is unknown: 'bta'; did you mean 'beta'?"),
        ({"mix": {"size": {"alpha": 1.0}}}, "'mix.size' needs the key 'kind', which names its variant"),
        ({"mix": {"content": "zer"}}, "'mix.content' is unknown: 'zer'; did you mean 'zero'?"),
        ({"mix": {"apply": {"gate": "sampel"}}}, "'mix.apply.gate' is unknown: 'sampel'; did you mean 'sample'?"),
    ],
)
def test_an_unknown_name_is_refused(values: dict[str, Any], message: str) -> None:
    assert refusal(values).startswith(f"here: {message}")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", True),
        ("seed", 1.0),
        ("seed", -1),
        ("data.flip", 1),
        ("data.batch_size", "64"),
        ("data.batch_size", 0),
        ("data.batch_size", 1_000_001),
        ("data.image_size_px", 7),
        ("data.image_size_px", 1_025),
        ("data.val_frac", 1.0),
        ("data.train_frac", 0.0),
        ("data.pad_px", -1),
        ("data.pad_px", 129),
        ("model.width", 0.0),
        ("model.width", 16.5),
        ("model.dropblock", True),
        ("model.dropblock.prob", 1.0),
        ("model.dropblock.prob", -0.1),
        ("model.dropblock.block_px", 0),
        ("model.dropblock.block_px", 3.0),
        ("model.dropblock.after_stages", 2),
        ("model.dropblock.after_stages", []),
        ("model.dropblock.after_stages", [0]),
        ("model.dropblock.after_stages", ["2"]),
        ("model.dropblock.after_stages", [2, 2]),
        ("model.dropblock.schedule", {"ramp_up_start": 0.5, "ramp_up_end": 0.2}),
        ("optimizer.max_epochs", True),
        ("optimizer.max_epochs", 2.0),
        ("optimizer.lr", "0.1"),
        ("optimizer.lr", True),
        ("optimizer.lr", math.nan),
        ("optimizer.lr", math.inf),
        ("optimizer.lr", 0.0),
        ("optimizer.ema_decay", 1.0),
        ("optimizer.schedule", {"kind": "step", "milestones_frac": [0.75, 0.5]}),
        ("optimizer.schedule", {"kind": "step", "milestones_frac": ["0.5"]}),
        ("optimizer", None),
        ("mix", 5),
        ("mix.mask", "box"),
        ("mix.apply.prob", 1.2),
        ("mix.apply.prob", math.nan),
        ("mix.label.smoothing", 1.0),
        ("mix.size", {"kind": "beta", "alpha": 0.0}),
        ("mix.size", {"kind": "beta", "alpha": -0.5}),
        ("mix.size", {"kind": "beta", "alpha": math.inf}),
        ("mix.size", {"kind": "uniform", "lo": 0.5, "hi": 0.1}),
        ("mix.mask", {"family": "box", "aspect_max": 0.5}),
    ],
)
def test_an_impossible_value_is_refused(path: str, value: Any) -> None:
    values: Any = value
    for key in reversed(path.split(".")):
        values = {key: values}
    message = refusal(values)
    assert f"'{path}" in message
    assert "\n" not in message


@pytest.mark.parametrize("layer", [-1, [], ["1"], [0, -1], 1.0, True])
def test_an_impossible_layer_is_refused(layer: Any) -> None:
    assert "'mix.layer" in refusal({"mix": {"layer": layer}})


def test_all_that_is_wrong_is_said_at_once() -> None:
    lines = refusal({"seed": -1, "data": {"sorce": "x"}, "optimizer": {"lr": -1.0}}).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("here: ") for line in lines)


def test_a_whole_number_is_a_float() -> None:
    assert parse(TrialConfig, {"optimizer": {"lr": 1}}, where="here").optimizer.lr == 1.0


def test_nothing_can_be_changed() -> None:
    config = TrialConfig()
    for part, field in ((config, "seed"), (config.data, "batch_size"), (config.mix.apply, "prob")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, field, 1)


def test_data_can_be_a_key() -> None:
    assert hash(Data()) == hash(Data(source="digits"))
    assert Data() != Data(split_seed=1)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "cosine", "warmup_frac": 0.1},
        {"kind": "triangular"},
        {"kind": "step", "milestones_frac": [0.25, 0.5], "factor": 0.2},
    ],
    ids=lambda schedule: schedule["kind"],
)
def test_json_keeps_everything(preset: str, schedule: dict[str, Any]) -> None:
    smooth: dict[str, Any] = {"label": {"smoothing": 0.1}}
    alternating = Mix.model_validate(preset).alternate is not None
    values = {
        "mix": {"preset": preset, **smooth} | ({"alternate": {"mix": smooth}} if alternating else {}),
        "model": {
            "dropblock": {"prob": 0.2, "after_stages": [1, 3], "schedule": {"ramp_up_start": 0.25, "ramp_up_end": 0.5}}
        },
        "optimizer": {"schedule": schedule, "lr": 0.1 + 0.2, "ema_decay": 0.99},
        "seed": 2**62 + 1,
    }
    config = parse(TrialConfig, values, where="here")
    text = config.model_dump_json()
    assert TrialConfig.model_validate_json(text) == config
    assert TrialConfig.model_validate_json(text).model_dump_json() == text
    assert parse(TrialConfig, json.loads(text), where="here") == config
    assert config.optimizer.schedule.model_dump().items() >= {"kind": schedule["kind"]}.items()


def test_the_default_is_no_mixing() -> None:
    assert TrialConfig().mix == Mix.model_validate("off")
    assert TrialConfig().mix.apply.prob == 0


# ---------------------------------------------------------------- parts that must fit each other


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mix": {"layer": 4}}, "mix.layer is 4, but model.name 'tiny' has 3 stages"),
        ({"mix": {"layer": [0, 4, 1]}}, "mix.layer is [0, 4, 1], but model.name 'tiny' has 3 stages"),
        (
            {"mix": {"layer": 5}, "model": {"name": "resnet18"}},
            "mix.layer is 5, but model.name 'resnet18' has 4 stages",
        ),
        (
            {"model": {"dropblock": {"after_stages": [3, 4]}}},
            "'model': dropblock.after_stages is [3, 4], but name 'tiny' has 3 stages",
        ),
        (
            {"mix": {"position": {"kind": "object"}}, "data": {"source": "cifar10"}},
            "mix needs the boxes of objects, but data.source 'cifar10' has none; sources with boxes: "
            "digits, cub, imagenet, tiny-imagenet",
        ),
        (
            {"mix": {"alternate": {"mix": {"position": {"kind": "object"}}}}, "data": {"source": "cifar10"}},
            "mix needs the boxes of objects, but data.source 'cifar10' has none; sources with boxes: "
            "digits, cub, imagenet, tiny-imagenet",
        ),
    ],
)
def test_what_is_not_there_is_refused(values: dict[str, Any], message: str) -> None:
    assert refusal(values) == f"here: {message}"


@pytest.mark.parametrize(
    "values",
    [
        {"mix": {"layer": [0, 1, 2, 3]}},
        {"mix": {"layer": 4}, "model": {"name": "resnet18"}},
        {"mix": {"position": {"kind": "object"}}},
        {"model": {"dropblock": {}}},
        {"model": {"dropblock": {"after_stages": [1, 3], "schedule": {}}}},
        {"model": {"name": "resnet18", "dropblock": {"after_stages": [4]}}},
    ],
)
def test_what_is_there_is_accepted(values: dict[str, Any]) -> None:
    assert parse(TrialConfig, values, where="here")


def test_no_blocks_are_dropped_by_default() -> None:
    assert TrialConfig().model.dropblock is None


class TestLongMessages:
    """What is quoted may be much longer than a screen, and must not be built in full."""

    def test_a_long_value_is_cut(self) -> None:
        for value in ("x" * 100_000, list(range(100_000)), {"k" * 100_000: "v" * 100_000}, 10**6000):
            for values in ({"data": value}, {"optimizer": {"lr": value}}, {"model": {"name": value}}):
                message = refusal(values)
                assert len(message) < 1100
                assert "\n" not in message

    def test_an_alias_of_aliases_is_not_expanded(self) -> None:
        value: Any = ["lol"] * 9
        for _ in range(12):
            value = [value] * 9
        assert refusal({"seed": value}).endswith("...")

    def test_many_errors_are_counted(self) -> None:
        lines = refusal({f"key_{number}": 1 for number in range(4000)}).splitlines()
        assert len(lines) == 10
        assert lines[0].startswith("here: unknown key 'key_0'")
        assert lines[-1] == "here: and 3,991 more errors"

    def test_ten_errors_are_shown(self) -> None:
        assert len(refusal({f"key_{number}": 1 for number in range(10)}).splitlines()) == 10

    def test_a_long_key_and_many_valid_names_are_cut(self) -> None:
        assert len(refusal({"x" * 100_000: 1})) < 400
        message = did_you_mean("arm_7", [f"arm_{number}" for number in range(3000)])
        assert message.startswith("; did you mean 'arm_7'? valid: arm_0, arm_1, arm_10, ")
        assert message.endswith(", arm_1028 and 2,965 more")
        assert len(message) < 400
