"""Asynchronous successive halving, stopping type, as a pure rule: no engine, no clock, no randomness."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Judgement:
    """What the rule says of one trial at one rung.

    Attributes:
        rung_epochs: epochs at which the trials are compared.
        value: the trial's metric there, lower is better.
        cutoff: largest value that goes on; None while too few trials are recorded to judge.
        n_recorded: trials recorded at the rung, this one among them.
        stop: whether the trial ends here.
    """

    rung_epochs: int
    value: float
    cutoff: float | None
    n_recorded: int
    stop: bool

    @property
    def verdict(self) -> str:
        """``stop`` or ``continue``, as in the records."""
        return "stop" if self.stop else "continue"


@dataclass
class Asha:
    """Rungs of one arm (Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020).

    A trial that reaches a rung is compared with all that reached it before: it goes on if it is among the best
    ``n // reduction_factor`` of the n recorded (at least one; ties go on). Later trials do not change what was
    decided, so the order of arrival matters: the first ``min_recorded - 1`` always go on.
    """

    max_epochs: int
    grace_period_epochs: int
    reduction_factor: int
    min_recorded: int
    _recorded: dict[int, list[float]] = field(default_factory=dict, init=False)

    @property
    def rungs(self) -> list[int]:
        """Epochs at which trials are compared, all before ``max_epochs``."""
        rungs, rung = [], self.grace_period_epochs
        while rung < self.max_epochs:
            rungs.append(rung)
            rung *= self.reduction_factor
        return rungs

    def judge(self, epoch: int, value: float) -> Judgement | None:
        """Record a trial's value and judge it; None between rungs. A value that is not finite is always stopped."""
        if epoch not in self.rungs:
            return None
        self.record(epoch, value)
        values = sorted(self._recorded[epoch])
        cutoff = values[max(1, len(values) // self.reduction_factor) - 1]
        judged = len(values) >= self.min_recorded
        return Judgement(
            rung_epochs=epoch,
            value=value,
            cutoff=cutoff if judged and math.isfinite(cutoff) else None,
            n_recorded=len(values),
            stop=not math.isfinite(value) or (judged and value > cutoff),
        )

    def record(self, rung_epochs: int, value: float) -> None:
        """Take in a value without judging it: what an earlier session of the sweep has decided already."""
        values = self._recorded.setdefault(rung_epochs, [])
        values.append(value if math.isfinite(value) else math.inf)
