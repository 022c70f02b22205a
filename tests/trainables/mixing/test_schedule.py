from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainables.mixing.config import Apply
from trainables.mixing.schedule import Trapezoid

UNIT = st.floats(0, 1)
MARKS = st.lists(UNIT | st.sampled_from([0.0, 0.5, 1.0]), min_size=4, max_size=4).map(sorted)
TRAPEZOIDS = MARKS.map(
    lambda marks: Trapezoid(
        ramp_up_start=marks[0], ramp_up_end=marks[1], ramp_down_start=marks[2], ramp_down_end=marks[3]
    )
)


@given(schedule=TRAPEZOIDS, t=UNIT)
def test_a_factor_is_a_share(schedule: Trapezoid, t: float) -> None:
    assert 0 <= schedule.factor(t) <= 1
    if schedule.ramp_up_end <= t <= schedule.ramp_down_start:
        assert schedule.factor(t) == 1
    if t < schedule.ramp_up_start or t > schedule.ramp_down_end:
        assert schedule.factor(t) == 0


@given(schedule=TRAPEZOIDS, early=UNIT, late=UNIT)
def test_it_rises_then_falls(schedule: Trapezoid, early: float, late: float) -> None:
    early, late = sorted((early, late))
    if late <= schedule.ramp_down_start:
        assert schedule.factor(early) <= schedule.factor(late)
    if early >= schedule.ramp_up_end:
        assert schedule.factor(early) >= schedule.factor(late)


@given(schedule=TRAPEZOIDS)
def test_the_mean_is_the_area(schedule: Trapezoid) -> None:
    t = (np.arange(20_000) + 0.5) / 20_000
    assert np.mean([schedule.factor(at) for at in t]) == pytest.approx(schedule.mean, abs=1e-4)


@given(schedule=TRAPEZOIDS, t=UNIT)
def test_backwards_in_time_it_is_its_mirror_image(schedule: Trapezoid, t: float) -> None:
    mirrored = Trapezoid(
        ramp_up_start=1 - schedule.ramp_down_end,
        ramp_up_end=1 - schedule.ramp_down_start,
        ramp_down_start=1 - schedule.ramp_up_end,
        ramp_down_end=1 - schedule.ramp_up_start,
    )
    ramps = [
        high - low
        for low, high in (
            (schedule.ramp_up_start, schedule.ramp_up_end),
            (schedule.ramp_down_start, schedule.ramp_down_end),
        )
    ]
    if all(ramp > 1e-3 for ramp in ramps):  # else a last bit of t decides between 0 and 1
        assert mirrored.factor(1 - t) == pytest.approx(schedule.factor(t), abs=1e-9)


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ((0.0, 0.0, 1.0, 1.0), [1, 1, 1, 1, 1]),  # throughout
        ((0.0, 1.0, 1.0, 1.0), [0, 0.25, 0.5, 0.75, 1]),  # the paper's "Scheduled CutMix"
        ((0.0, 0.0, 0.0, 1.0), [1, 0.75, 0.5, 0.25, 0]),  # ramped down
        ((0.0, 0.0, 0.75, 0.75), [1, 1, 1, 1, 0]),  # off for the last quarter
        ((0.5, 0.5, 1.0, 1.0), [0, 0, 1, 1, 1]),  # from half of the run on
        ((0.25, 0.5, 0.5, 0.75), [0, 0, 1, 0, 0]),
        ((0.0, 0.0, 0.0, 0.0), [1, 0, 0, 0, 0]),
    ],
)
def test_known_shapes(marks: tuple[float, ...], expected: list[float]) -> None:
    schedule = Trapezoid(
        **dict(zip(("ramp_up_start", "ramp_up_end", "ramp_down_start", "ramp_down_end"), marks, strict=True))
    )
    assert [schedule.factor(t) for t in (0, 0.25, 0.5, 0.75, 1)] == expected


@given(schedule=TRAPEZOIDS, prob=UNIT, t=UNIT)
def test_the_probability_follows_it(schedule: Trapezoid, prob: float, t: float) -> None:
    apply = Apply(prob=prob, schedule=schedule)
    assert apply.prob_at(t) == prob * schedule.factor(t)
    assert apply.mean_prob == pytest.approx(prob * schedule.mean)


@pytest.mark.parametrize(
    "values",
    [{"ramp_up_start": 0.5, "ramp_up_end": 0.2}, {"ramp_down_start": 0.2, "ramp_up_end": 0.4}, {"ramp_down_end": 0.3}],
)
def test_marks_in_disorder_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(
        ValidationError, match="ramp_up_start <= ramp_up_end <= ramp_down_start <= ramp_down_end must hold, got"
    ):
        Trapezoid(**values)


def test_marks_beyond_the_run_are_refused() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Trapezoid(ramp_down_end=1.5)
