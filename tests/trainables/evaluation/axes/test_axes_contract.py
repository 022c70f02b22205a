"""What every axis must hold to."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import trainables.evaluation.axes
from trainables.evaluation.axes import AXES
from trainables.evaluation.base import Axis
from trainables.evaluation.subject import Subject

each_axis = pytest.mark.parametrize(
    "axis", [kind() for kind in AXES.values() if not kind.on_request], ids=lambda a: a.name
)
every_axis = pytest.mark.parametrize("kind", AXES.values(), ids=AXES)


@every_axis
def test_is_one_file_of_its_name(kind: type[Axis]) -> None:
    assert kind.__module__ == f"trainables.evaluation.axes.{kind.name}"
    assert kind.__doc__


@every_axis
def test_settings_survive_the_records(kind: type[Axis]) -> None:
    axis = kind.model_validate({"seed": 3, "n_images": 7})
    assert kind.model_validate_json(axis.model_dump_json()) == axis
    assert {"seed", "n_images"} <= set(kind.model_fields)


@each_axis
def test_measures_the_same_twice_and_touches_nothing(axis: Axis, subject: Subject) -> None:
    weights = copy.deepcopy(subject.saved.model.state_dict())
    pixels = subject.test.images.copy()
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    first, again = axis.measure(subject), axis.measure(subject)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # type: ignore[index] # noqa: NPY002
    assert not subject.saved.model.training
    assert not any(parameter.requires_grad for parameter in subject.saved.model.parameters())
    for name, tensor in subject.saved.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert (subject.test.images == pixels).all()
    for one, other in zip(first.values, again.values, strict=True):
        assert one == other or one.metric in axis.noisy or (math.isnan(one.value) and math.isnan(other.value)), one
    assert first.pictures == again.pictures


@each_axis
def test_values_have_names_and_numbers(axis: Axis, subject: Subject) -> None:
    values = axis.measure(subject).values
    assert values
    keys = [(value.split, value.setting, value.metric) for value in values]
    assert len(keys) == len(set(keys))
    for value in values:
        assert isinstance(value.value, int | float), value
        assert value.n > 0 or math.isnan(value.value), value
        assert value.metric == value.metric.lower().replace(" ", "_"), value
    assert {metric for _, metric in axis.headline} <= {value.metric for value in values}


@each_axis
def test_suits_data_with_boxes(axis: Axis, subject: Subject) -> None:
    axis.check(subject.about)


def test_every_file_with_an_axis_is_found() -> None:
    files = {path.stem for path in Path(trainables.evaluation.axes.__path__[0]).glob("*.py")} - {"__init__"}
    assert set(AXES) == files
