"""When in a run something is on: a trapezoid over planned steps."""

from __future__ import annotations

from pydantic import Field, model_validator

from trainables.strict import Frozen


class Trapezoid(Frozen):
    """A factor between 0 and 1 over ``t``, the share of the planned steps that are done.

    It is 0 up to ``ramp_up_start``, rises linearly to 1 at ``ramp_up_end``, stays 1 until ``ramp_down_start`` and falls
    linearly to 0 at ``ramp_down_end``. The default is 1 throughout; ``ramp_up_end = 1`` is the paper's "Scheduled
    CutMix" (Yun et al., ICCV 2019, section 4.1: from 0 to 1 over the run); ``ramp_down_start = ramp_down_end = 0.9``
    turns mixing off for the last tenth. Planned steps count, not completed ones: stopping early or resuming changes
    nothing.
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
            return (
                0.0 if t <= self.ramp_up_start else (t - self.ramp_up_start) / (self.ramp_up_end - self.ramp_up_start)
            )
        if t > self.ramp_down_start:
            return (
                0.0
                if t >= self.ramp_down_end
                else (self.ramp_down_end - t) / (self.ramp_down_end - self.ramp_down_start)
            )
        return 1.0

    @property
    def mean(self) -> float:
        """Mean factor over the run: the trapezoid's area."""
        return (self.ramp_down_start + self.ramp_down_end - self.ramp_up_start - self.ramp_up_end) / 2
