"""Schedule of a factor over the planned steps of a run: a trapezoid."""

from __future__ import annotations

from pydantic import Field, model_validator

from trainables.strict import Frozen


class Trapezoid(Frozen):
    """A factor from 0 to 1 as a function of ``t``, the fraction of the planned steps that is done.

    The factor is 0 up to ``ramp_up_start``, rises linearly to 1 at ``ramp_up_end``, stays 1 until ``ramp_down_start``
    and falls linearly to 0 at ``ramp_down_end``. The default is 1 throughout. ``ramp_up_end = 1`` is the paper's
    "Scheduled CutMix" (Yun et al., ICCV 2019, section 4.1: from 0 to 1 over the run). With
    ``ramp_down_start = ramp_down_end = 0.9`` the factor is 0 for the last tenth of the run. ``t`` counts planned steps,
    not completed ones, so early stopping and resuming change nothing.

    Examples:
        >>> Trapezoid().factor(0.3)
        1.0
        >>> schedule = Trapezoid(ramp_up_end=0.5, ramp_down_start=0.75)
        >>> [schedule.factor(t) for t in (0.0, 0.25, 0.5, 0.875, 1.0)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
        >>> schedule.mean
        0.625
    """

    ramp_up_start: float = Field(default=0.0, ge=0, le=1)
    ramp_up_end: float = Field(default=0.0, ge=0, le=1)
    ramp_down_start: float = Field(default=1.0, ge=0, le=1)
    ramp_down_end: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> Trapezoid:
        marks = [self.ramp_up_start, self.ramp_up_end, self.ramp_down_start, self.ramp_down_end]
        if marks != sorted(marks):
            raise ValueError(f"ramp_up_start <= ramp_up_end <= ramp_down_start <= ramp_down_end must hold, got {marks}")
        return self

    def factor(self, t: float) -> float:
        """Return the factor at ``t`` in [0, 1]."""
        if t < self.ramp_up_end:
            rise = self.ramp_up_end - self.ramp_up_start
            return 0.0 if t <= self.ramp_up_start else (t - self.ramp_up_start) / rise
        if t > self.ramp_down_start:
            fall = self.ramp_down_end - self.ramp_down_start
            return 0.0 if t >= self.ramp_down_end else (self.ramp_down_end - t) / fall
        return 1.0

    @property
    def mean(self) -> float:
        """Mean factor over the run: the trapezoid's area."""
        return (self.ramp_down_start + self.ramp_down_end - self.ramp_up_start - self.ramp_up_end) / 2
