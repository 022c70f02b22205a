"""What every early-stopping rule is: pure, without engine, clock or randomness."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass

CONTINUE, STOP, PAUSE = "continue", "stop", "pause"
"""Verdicts of a rule: the trial goes on, ends, or waits until it is promoted."""


@dataclass(frozen=True)
class Judgement:
    """What a rule says of one trial at one rung.

    Attributes:
        rung_epochs: epochs at which the trials are compared.
        value: what is compared, lower is better: the trial's metric there, its best so far for the median rule.
        cutoff: largest value that goes on; None while too few trials are recorded to judge.
        n_recorded: trials recorded at the rung, this one among them.
        verdict: ``continue``, ``stop`` or ``pause``.
    """

    rung_epochs: int
    value: float
    cutoff: float | None
    n_recorded: int
    verdict: str


class Rule(ABC):
    """Early stopping of one arm's trials.

    Its state is a function of the observations in their order and of nothing else: the same observations give the
    same judgements. What was decided is not changed by later trials, so the order of arrival matters.
    """

    @abstractmethod
    def observe(self, trial: int, epoch: int, value: float) -> Judgement | None:
        """Take in a trial's metric after an epoch, lower is better, and judge it; None between rungs.

        The epochs of a trial come one after the other, each once. A value that is not finite ends its trial at a
        rung, and counts as the worst for all others.
        """

    @abstractmethod
    def rungs(self, trial: int) -> list[int]:
        """Return the epochs at which a trial is judged, in order, all before its planned epochs."""

    def promotable(self, paused: Collection[int]) -> int | None:
        """Return the trial among the ``paused`` to go on with next; None: none of them is among the best."""
        return None


def worst_if_not_finite(value: float) -> float:
    """Return the value as others see it: infinite if it is no number; minus infinity is a fault as well."""
    return value if math.isfinite(value) else math.inf
