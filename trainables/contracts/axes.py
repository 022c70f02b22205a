"""Laws of evaluation axes, checked on one trained model."""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass

import numpy as np
import torch

from trainables.contracts.global_state import check_no_global_draws
from trainables.contracts.law import Law, require
from trainables.evaluation.base import Axis, Measured
from trainables.evaluation.subject import Subject


@dataclass(frozen=True)
class AxisCase:
    """An axis with its settings, and a model to measure."""

    axis: Axis
    subject: Subject

    def measure(self) -> Measured:
        """Measure the model."""
        measured = self.axis.measure(self.subject)
        require(isinstance(measured, Measured), f"measure returned {type(measured).__name__}")
        return measured

    @functools.cached_property
    def measured(self) -> Measured:
        """Results of the first measurement, shared by the laws."""
        return self.measure()


def check_settings_are_kept(case: AxisCase) -> None:
    """Check that ``n_images`` and ``seed`` are settings, and settings survive JSON."""
    axis = type(case.axis).model_validate({**case.axis.model_dump(), "seed": 3, "n_images": 7})
    require(type(axis).model_validate_json(axis.model_dump_json()) == axis, "JSON gives other settings")
    require(axis.name == axis.name.lower().replace(" ", "_"), f"the name '{axis.name}' is not small_with_underscores")


def check_applies(case: AxisCase) -> None:
    """Check that the axis applies to a model whose images have boxes."""
    case.axis.check(case.subject.about)


def check_measures_the_same_twice(case: AxisCase) -> None:
    """Check that two calls give the same values and pictures, except for metrics in ``noisy``."""
    first, again = case.measured, case.measure()
    require(len(first.values) == len(again.values), f"{len(first.values)} values, then {len(again.values)}")
    for one, two in zip(first.values, again.values, strict=True):
        equal = one == two or (math.isnan(one.value) and math.isnan(two.value))
        require(equal or one.metric in case.axis.noisy, f"{one.metric} '{one.setting}': {one.value}, then {two.value}")
    require(first.pictures == again.pictures, "pictures differ")


def check_changes_nothing(case: AxisCase) -> None:
    """Check that the model, the images and the global random generators stay as they are."""
    subject = case.subject
    weights = copy.deepcopy(subject.saved.model.state_dict())
    pixels = np.array(subject.test.images[:])
    with check_no_global_draws("measure"):
        case.measure()
    require(not subject.saved.model.training, "the model is in training mode afterwards")
    needs_grad = any(parameter.requires_grad for parameter in subject.saved.model.parameters())
    require(not needs_grad, "parameters of the model need gradients afterwards")
    for name, tensor in subject.saved.model.state_dict().items():
        require(torch.equal(tensor, weights[name]), f"'{name}' of the model was changed")
    require(np.array_equal(subject.test.images[:], pixels), "test images were changed")


def check_values(case: AxisCase) -> None:
    """Check that each value has a metric in small letters, a number and the number of images behind it."""
    values = case.measured.values
    require(values, "nothing was measured")
    keys = [(value.split, value.setting, value.metric) for value in values]
    twice = [key for key in keys if keys.count(key) > 1]
    require(not twice, f"two values have the same split, condition and metric: {twice[:1]}")
    for value in values:
        require(isinstance(value.value, int | float), f"{value.metric} is {type(value.value).__name__}: {value.value}")
        require(value.n > 0 or math.isnan(value.value), f"{value.metric}: n is {value.n}")
        named = value.metric == value.metric.lower().replace(" ", "_")
        require(named, f"the metric '{value.metric}' is not small_with_underscores")


def check_headline(case: AxisCase) -> None:
    """Check that ``headline`` names metrics that are measured."""
    missing = {metric for _, metric in case.axis.headline} - {value.metric for value in case.measured.values}
    require(not missing, f"not measured: {', '.join(sorted(missing))}")


LAWS: tuple[Law[AxisCase], ...] = (
    check_settings_are_kept,
    check_applies,
    check_measures_the_same_twice,
    check_changes_nothing,
    check_values,
    check_headline,
)
