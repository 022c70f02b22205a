from __future__ import annotations

from typing import Any

import pytest

from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.merging import merged
from trainables.mixing.config import Mix
from trainables.mixing.presets import PRESETS, expand_preset
from trainables.strict import parse

PUBLISHED: dict[str, dict[str, Any]] = {
    "off": {"apply": {"prob": 0.0}},
    # Yun et al., ICCV 2019, section 3.1; prob 0.5 is their CIFAR setting
    "cutmix": {
        "mask": {"family": "box", "aspect_max": 1.0},
        "size": {"kind": "beta", "alpha": 1.0},
        "position": {"kind": "clip"},
        "content": "partner",
        "apply": {"prob": 0.5, "gate": "sample"},
    },
    # Zhang et al., ICLR 2018, equation 1
    "mixup": {
        "mask": {"family": "flat"},
        "size": {"kind": "beta", "alpha": 1.0},
        "content": "partner",
        "apply": {"prob": 1.0, "gate": "sample"},
    },
    # DeVries and Taylor, 2017: 16 x 16 of 32 x 32, whose centre may lie at the border
    "cutout": {
        "mask": {"family": "box", "aspect_max": 1.0},
        "size": {"kind": "fixed", "frac": 16 * 16 / (32 * 32)},
        "position": {"kind": "clip"},
        "content": "zero",
        "apply": {"prob": 1.0, "gate": "sample"},
    },
    # Zhong et al., AAAI 2020, section 4: p = 0.5, s_l = 0.02, s_h = 0.4, r_1 = 1/r_2 = 0.3
    "random_erasing": {
        "mask": {"family": "box", "aspect_max": 1 / 0.3},
        "size": {"kind": "uniform", "lo": 0.02, "hi": 0.4},
        "position": {"kind": "inside"},
        "content": "noise",
        "apply": {"prob": 0.5, "gate": "sample"},
    },
}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_has_the_published_values(name: str) -> None:
    values = Mix.model_validate(name).model_dump()
    assert merged(values, PUBLISHED[name]) == values
    assert values["label"] == {"exponent": 1.0, "lam": "realised", "smoothing": 0.0}
    assert Mix.model_validate({"preset": name}) == Mix.model_validate(name)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_names_its_source(name: str) -> None:
    doc = PRESETS[name].__doc__ or ""
    assert doc
    assert name == "off" or any(year in doc for year in ("2017", "2018", "2019", "2020"))


def test_further_keys_change_parts() -> None:
    mix = Mix.model_validate({"preset": "cutmix", "apply": {"prob": 0.9}, "size": {"alpha": 0.3, "kind": "beta"}})
    assert mix.apply.prob == 0.9
    assert (mix.size.kind, mix.size.alpha) == ("beta", 0.3)
    assert mix.position.kind == "clip"


def test_another_variant_drops_the_old_ones_parameters() -> None:
    mix = Mix.model_validate(
        {
            "preset": "random_erasing",
            "mask": {"family": "flat"},
            "size": {"kind": "fixed"},
            "position": {"kind": "whole"},
        }
    )
    assert mix.mask.model_dump() == {"family": "flat"}
    assert mix.size.model_dump() == {"kind": "fixed", "frac": 0.25}


def test_expanding_leaves_its_argument_alone() -> None:
    given = {"preset": "cutmix", "apply": {"prob": 0.1}}
    assert expand_preset(given)["apply"] == {"prob": 0.1}
    assert given == {"preset": "cutmix", "apply": {"prob": 0.1}}
    assert expand_preset("cutmix")["apply"] == {"prob": 0.5}
    assert expand_preset({"content": "zero"}) == {"content": "zero"}


@pytest.mark.parametrize("mix", ["cutmx", {"preset": "cutmx"}])
def test_an_unknown_preset_is_refused(mix: Any) -> None:
    with pytest.raises(UserError, match=r"unknown preset 'cutmx'; did you mean 'cutmix'.*valid: .*mixup, off"):
        parse(TrialConfig, {"mix": mix}, where="here")


@pytest.mark.parametrize("preset", [["cutmix"], {"a": 1}, 3, False, None])
def test_a_preset_that_is_no_name_is_refused(preset: Any) -> None:
    with pytest.raises(UserError, match="unknown preset"):
        parse(TrialConfig, {"mix": {"preset": preset}}, where="here")


def test_a_mapping_over_a_string_changes_parts_of_it() -> None:
    values = merged({"mix": "mixup"}, {"mix": {"apply": {"prob": 0.25}}})
    mix = TrialConfig.model_validate(values).mix
    assert mix.mask.model_dump() == {"family": "flat"}
    assert mix.apply.prob == 0.25


def test_a_string_over_a_mapping_replaces_it() -> None:
    values = merged({"mix": {"preset": "mixup", "apply": {"prob": 0.25}}}, {"mix": "cutmix"})
    assert TrialConfig.model_validate(values).mix == Mix.model_validate("cutmix")
