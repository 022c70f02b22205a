"""What every axis must hold to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import trainables.evaluation.axes
from tests.trainables.evaluation.conftest import measurable
from trainables.contracts.axes import LAWS, AxisCase
from trainables.contracts.law import Law, judge
from trainables.evaluation.axes import AXES
from trainables.evaluation.base import Axis, Measured, Value
from trainables.evaluation.subject import Subject

every_axis = pytest.mark.parametrize("kind", AXES.values(), ids=AXES)


@pytest.fixture(scope="module", params=[name for name, kind in AXES.items() if not kind.on_request])
def case(request: pytest.FixtureRequest, trained: Path) -> AxisCase:
    return AxisCase(AXES[request.param](), measurable(trained))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("check_"))
def test_law(law: Law[AxisCase], case: AxisCase) -> None:
    law(case)


@every_axis
def test_is_one_file_of_its_name(kind: type[Axis]) -> None:
    assert kind.__module__ == f"trainables.evaluation.axes.{kind.name}"
    assert kind.__doc__


@every_axis
def test_settings_survive_the_records(kind: type[Axis]) -> None:
    """Also for the axes on request, which no other test here measures."""
    axis = kind.model_validate({"seed": 3, "n_images": 7})
    assert kind.model_validate_json(axis.model_dump_json()) == axis


def test_every_file_with_an_axis_is_found() -> None:
    files = {path.stem for path in Path(trainables.evaluation.axes.__path__[0]).glob("*.py")} - {"__init__"}
    assert set(AXES) == files


class Careless(Axis):
    """An axis that draws with a global generator, changes the model and repeats a value."""

    name = "careless"
    headline = (("", "no_such_metric"),)

    def measure(self, subject: Subject) -> Measured:
        subject.saved.model.train()
        drawn = Value("Drawn number", float(torch.rand(1)), n=0)
        return Measured((drawn, drawn, Value("mean", np.float64(0.5), n=1)))


def test_an_axis_that_breaks_laws_is_told_which(subject: Subject) -> None:
    reasons = " | ".join(verdict.reason for verdict in judge(LAWS, AxisCase(Careless(), subject)))
    for reason in ("then 0.", "global generator of torch", "same split, condition and metric", "no_such_metric"):
        assert reason in reasons
