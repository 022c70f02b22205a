"""When in a run something is on: a trapezoid over planned steps."""

from __future__ import annotations

from pydantic import Field, model_validator

from trainables.strict import Frozen


class Trapezoid(Frozen):
    """A factor between 0 and 1 over ``t``, the share of the planned steps that are done.

    It is 0 up to ``on0``, rises linearly to 1 at ``on1``, stays there up to ``off0`` and falls linearly to 0 at
    ``off1``. The default is 1 throughout; ``on1 = 1`` is the paper's "Scheduled CutMix" (Yun et al., ICCV 2019,
    section 4.1: from 0 to 1 over the run); ``off0 = off1 = 0.9`` leaves the last tenth alone. Planned steps, not
    those that were run: stopping early or resuming changes nothing.
    """

    on0: float = Field(default=0.0, ge=0, le=1)
    on1: float = Field(default=0.0, ge=0, le=1)
    off0: float = Field(default=1.0, ge=0, le=1)
    off1: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> Trapezoid:
        marks = [self.on0, self.on1, self.off0, self.off1]
        if marks != sorted(marks):
            raise ValueError(f"on0 <= on1 <= off0 <= off1 must hold, got {marks}")
        return self

    def factor(self, t: float) -> float:
        """Return the factor at ``t`` in [0, 1]."""
        if t < self.on1:
            return 0.0 if t <= self.on0 else (t - self.on0) / (self.on1 - self.on0)
        if t > self.off0:
            return 0.0 if t >= self.off1 else (self.off1 - t) / (self.off1 - self.off0)
        return 1.0

    @property
    def mean(self) -> float:
        """Mean factor over the run: the trapezoid's area."""
        return (self.off0 + self.off1 - self.on0 - self.on1) / 2
