"""Renamed keys: messages, translation of recorded values, first names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.merging import flattened
from trainables.mixing.config import Mix
from trainables.renames import (
    RENAMED,
    describe_rename,
    json_with_present_keys,
    original_path,
    present_path,
    with_present_keys,
)
from trainables.strict import parse

OLD: dict[str, Any] = {
    "mix": {
        "share": "batch",
        "apply": {"prob": 0.5, "schedule": {"on0": 0.0, "on1": 0.1, "off0": 0.8, "off1": 1.0}},
        "other": {"prob": 0.25, "mix": {"share": "sample", "other": None}},
    },
    "model": {"dropblock": {"schedule": {"on1": 1.0}}},
}
NEW: dict[str, Any] = {
    "mix": {
        "granularity": "batch",
        "apply": {
            "prob": 0.5,
            "schedule": {"ramp_up_start": 0.0, "ramp_up_end": 0.1, "ramp_down_start": 0.8, "ramp_down_end": 1.0},
        },
        "alternate": {"prob": 0.25, "mix": {"granularity": "sample", "alternate": None}},
    },
    "model": {"dropblock": {"schedule": {"ramp_up_end": 1.0}}},
}


def test_nested_values() -> None:
    assert with_present_keys(OLD) == NEW
    assert with_present_keys(NEW) == NEW
    assert json.loads(json_with_present_keys(json.dumps(OLD))) == NEW


def test_text_without_old_keys_stays_as_it_is() -> None:
    text = TrialConfig(mix=Mix()).model_dump_json()
    assert json_with_present_keys(text) is text


def test_dotted_keys() -> None:
    params = {"mix.share": "pair", "mix.other.mix.share": "batch", "optimizer.lr": 0.1}
    assert with_present_keys(params) == {
        "mix.granularity": "pair",
        "mix.alternate.mix.granularity": "batch",
        "optimizer.lr": 0.1,
    }
    space = {"space": {"mix.apply.schedule.off1": {"kind": "fixed", "value": 0.9}}}
    assert list(with_present_keys(space)["space"]) == ["mix.apply.schedule.ramp_down_end"]


def test_the_same_words_elsewhere_are_not_translated() -> None:
    values = {"arms": {"other": {"mix": "cutmix"}, "share": {}}, "optimizer": {"share": 1}, "layers": [{"on0": 1}]}
    assert with_present_keys(values) == values


def test_first_names_are_those_before_the_present_ones() -> None:
    paths = flattened(TrialConfig(mix=Mix.model_validate("torchvision")).model_dump(mode="json"))
    assert all(present_path(original_path(path)) == path for path in paths)
    assert sum(original_path(path) != path for path in paths) > 8
    assert all(present_path(path) == path for path in paths)


def test_every_present_name_is_a_key_of_the_configuration() -> None:
    schema = json.dumps(TrialConfig.model_json_schema())
    for old, new in RENAMED.items():
        assert f'"{new.rpartition(".")[2]}": {{' in schema
        assert f'"{old.rpartition(".")[2]}": {{' not in schema


@pytest.mark.parametrize("path", ["mix.share", "mix.other", "mix.apply.schedule.on0", "mix.alternate.mix.share"])
def test_an_old_key_is_refused_in_one_line(path: str) -> None:
    value: Any = "batch"
    for key in reversed(path.split(".")):
        value = {key: value}
    with pytest.raises(UserError) as caught:
        parse(TrialConfig, value, where="study 'mine', arm 'a'")
    assert f"study 'mine', arm 'a': '{path}' was renamed to '{present_path(path)}'" in str(caught.value).splitlines()


def test_any_other_key_was_not_renamed() -> None:
    assert describe_rename("mix.size.alpha") is None
