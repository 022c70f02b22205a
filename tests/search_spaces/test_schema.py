"""The JSON Schema says what the program accepts: an editor shows a mistake before a run does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from search_spaces.discover import STUDIES_DIR, built_in_studies
from search_spaces.schema import study_schema
from search_spaces.yaml_text import parse_yaml
from trainables.config import TrialConfig
from trainables.merging import merged
from trainables.mixing.presets import PRESETS, expand_preset


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(study_schema())


def study_values(name: str = "alpha_prob") -> dict[str, Any]:
    values: dict[str, Any] = parse_yaml((STUDIES_DIR / f"{name}.yaml").read_text(encoding="utf-8"))
    return values


def with_value(path: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return merged(study_values(), value)


def test_is_a_schema_and_json() -> None:
    Draft202012Validator.check_schema(json.loads(json.dumps(study_schema())))


@pytest.mark.parametrize("name", built_in_studies())
def test_accepts_the_built_in_studies(validator: Draft202012Validator, name: str) -> None:
    assert list(validator.iter_errors(study_values(name))) == []


ACCEPTED = {
    "a mask of one's own": (["arms", "off", "mix"], {"mask": {"family": "mypkg.masks:Diamond", "width": 2}}),
    "a rule of one's own": (["budget", "early_stopping"], {"rule": "mypkg.rules:Patience", "patience_epochs": 2}),
    "a preset": (["base", "mix"], "cutmix"),
    "a preset with changes": (["arms", "off", "mix"], {"preset": "cutmix", "size": {"kind": "beta", "alpha": 0.5}}),
    "a policy in parts": (["arms", "off", "mix"], {"mask": {"family": "box"}, "apply": {"prob": 0.5}}),
    "another preset at random": (["base", "mix"], {"preset": "mixup", "alternate": {"prob": 0.5, "mix": "cutmix"}}),
    "a second policy in parts": (
        ["base", "mix"],
        {"preset": "timm", "alternate": {"mix": {"size": {"kind": "fixed"}}}},
    ),
    "a list of layers": (["base", "mix"], {"preset": "feature_cutmix", "layer": [0, 1, 2, 3]}),
    "points": (["points"], [{"optimizer.lr": 0.1}, {"data.flip": None, "mix.position.kind": "clip"}]),
    "points of an arm": (["arms", "cutmix", "points"], [{"mix.size.alpha": 1, "mix.apply.prob": 0.5}]),
    "a name": (["name"], "alpha_prob"),
    "a schedule": (["base", "optimizer", "schedule"], {"kind": "step", "milestones_frac": [0.3, 0.6]}),
    "nothing for an option that may be off": (["base", "data", "flip"], None),
    "a domain": (["space", "optimizer.lr"], {"kind": "loguniform", "lo": 0.1, "hi": 1.0, "points": 3}),
    "a choice": (["space", "optimizer.lr"], {"kind": "choice", "values": [0.1, None, "x", True]}),
    "another rule": (["budget", "early_stopping"], {"rule": "hyperband", "mode": "promote", "brackets": 2}),
    "a scale": (
        ["scales", "gpu"],
        {"budget": {"max_epochs": 3}, "base": {"model": {"name": "resnet18"}}, "replicates": 2},
    ),
    "adversarial training": (["arms", "off", "base"], {"adversarial": {"kind": "pgd", "steps": 3}}),
    "quasi-random search": (["search"], "quasi_random"),
    "a fraction of a GPU": (["resources", "gpus"], 0.5),
}


@pytest.mark.parametrize(("path", "value"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepts(validator: Draft202012Validator, path: list[str], value: Any) -> None:
    assert list(validator.iter_errors(with_value(path, value))) == []


REFUSED = {
    "an unknown key": (["budgets"], 3),
    "an unknown key of the budget": (["budget", "trails"], 3),
    "an unknown key of an arm": (["arms", "off", "mixing"], "off"),
    "an unknown section of the base": (["base", "optimiser"], {}),
    "an unknown key deep in the base": (["base", "optimizer", "learning_rate"], 0.1),
    "an unknown key deep in an arm's base": (["arms", "off", "base"], {"data": {"batch": 3}}),
    "a wrong type": (["budget", "trials"], "many"),
    "a wrong type deep in the base": (["base", "optimizer", "lr"], "fast"),
    "a value out of range": (["base", "optimizer", "lr"], -0.1),
    "a probability above 1": (["arms", "off", "mix"], {"apply": {"prob": 1.2}}),
    "an unknown preset": (["arms", "off", "mix"], "cutmx"),
    "an unknown preset of the second policy": (["base", "mix"], {"preset": "mixup", "alternate": {"mix": "cutmx"}}),
    "an unknown key of the second policy": (["base", "mix"], {"preset": "timm", "alternate": {"mix": {"maks": {}}}}),
    "a parameter of another rule": (["budget", "early_stopping"], {"rule": "median", "reduction_factor": 2}),
    "a metric where it was before": (["budget", "early_stopping"], {"metric": "val_nll"}),
    "an unknown scale": (["scales", "gpus"], {}),
    "a scale that changes the meaning": (["scales", "gpu"], {"search": "grid"}),
    "an unknown key in a scale": (["scales", "gpu", "budget"], {"trails": 3}),
    "a point that is nested": (["points"], [{"optimizer": {"lr": 0.1}}]),
    "an arm that is dropped, but not taken from another study": (["arms", "off"], None),
    "a name with a capital": (["name"], "Mine"),
    "an unknown attack": (["base", "adversarial"], {"kind": "cw"}),
    "an unknown search": (["search"], "luck"),
    "an unknown kind of domain": (["space", "optimizer.lr"], {"kind": "gauss", "lo": 0.1, "hi": 1.0}),
    "a domain without its end": (["space", "optimizer.lr"], {"kind": "uniform", "lo": 0.1}),
    "a seed beside the study's": (["base", "seed"], 3),
}


@pytest.mark.parametrize(("path", "value"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses(validator: Draft202012Validator, path: list[str], value: Any) -> None:
    assert list(validator.iter_errors(with_value(path, value))) != []


@pytest.mark.parametrize(
    "values",
    [
        {"arms": {"cutout": None, "mine": {"mix": "fmix"}, "cutmix": {"space": {"mix.size.alpha": None}}}},
        {"budget": {"trials": 3}, "space": {"optimizer.lr": {"hi": 0.5}}, "points": [{"optimizer.lr": 0.1}]},
    ],
)
def test_accepts_a_study_that_extends_another(validator: Draft202012Validator, values: dict[str, Any]) -> None:
    assert list(validator.iter_errors({"extends": "quickstart", "question": "?", **values})) == []
    assert not validator.is_valid({"question": "?", **values})


@pytest.mark.parametrize(
    "values", [{"question": None}, {"extends": 3}, {"budgets": {}}, {"arms": {"off": {"mixx": "off"}}}]
)
def test_refuses_in_a_study_that_extends_another(validator: Draft202012Validator, values: dict[str, Any]) -> None:
    assert not validator.is_valid({"extends": "quickstart", "question": "?", **values})


@pytest.mark.parametrize("name", ["question", "arms", "budget"])
def test_refuses_a_study_that_lacks(validator: Draft202012Validator, name: str) -> None:
    values = study_values()
    del values[name]
    assert not validator.is_valid(values)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_accepts_each_preset_and_its_parts(validator: Draft202012Validator, name: str) -> None:
    for mix in (name, {"preset": name, "label": {"smoothing": 0.1}}, json.loads(json.dumps(expand_preset(name)))):
        assert list(validator.iter_errors(with_value(["arms", "off", "mix"], mix))) == []


def test_completes_presets() -> None:
    assert study_schema()["$defs"]["Mix"]["properties"]["preset"]["enum"] == sorted(PRESETS)


def test_paths_are_those_of_the_program() -> None:
    """One spelling: what the schema offers below base is what a trial's configuration has."""
    overrides = study_schema()["$defs"]["Overrides"]["properties"]
    assert set(overrides) == set(TrialConfig.model_fields) - {"seed"}
