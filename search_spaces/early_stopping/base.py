"""Base classes of early stopping: a rule judges trials, its configuration builds and describes it.

Rules are pure: without engine, clock or randomness.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from trainables.parts import name_by_import_path
from trainables.strict import Frozen

CONTINUE, STOP, PAUSE = "continue", "stop", "pause"
"""Verdicts of a rule: the trial continues, ends, or waits until it is promoted."""


@dataclass(frozen=True)
class Judgement:
    """Verdict of a rule on one trial at one rung.

    Attributes:
        rung_epochs: epochs at which the trials are compared.
        value: what is compared, lower is better: the trial's metric at the rung; for the median rule its best so far.
        cutoff: largest value that continues; None while too few trials are recorded to judge.
        n_recorded: trials recorded at the rung, including this one.
        verdict: ``continue``, ``stop`` or ``pause``.
    """

    rung_epochs: int
    value: float
    cutoff: float | None
    n_recorded: int
    verdict: str


class Rule(ABC):
    """Early stopping of one arm's trials.

    The state of a rule depends only on the observations and their order: the same observations give the same
    judgements. Later trials do not change an earlier verdict, so the order of arrival matters.
    """

    @abstractmethod
    def observe(self, trial: int, epoch: int, value: float) -> Judgement | None:
        """Record a trial's metric after an epoch, lower is better, and judge the trial; None between rungs.

        The epochs of a trial arrive in order, each once. A value that is not finite ends its trial at a rung, and
        counts as the worst value for all other trials.
        """

    @abstractmethod
    def rungs(self, trial: int) -> list[int]:
        """Return the epochs at which a trial is judged, in order, all before its planned epochs."""

    def pausing_rungs(self, trial: int) -> list[int]:
        """Return the rungs that may pause a trial: its state is written before it is judged there.

        By default these are all rungs if the rule promotes trials, otherwise none.
        """
        return [] if type(self).promotable is Rule.promotable else self.rungs(trial)

    def promotable(self, paused: Collection[int]) -> int | None:
        """Return the trial among the ``paused`` to continue next; None if none of them is among the best."""
        return None


class Stopping(Frozen, ABC):
    """Configuration of an early-stopping rule.

    A subclass with ``rule: Literal[...]`` is found in its file by itself: its name is then valid in study files, on the
    command line and in the JSON Schema. :meth:`build` is abstract, so an unfinished rule fails instead of stopping
    nothing. A rule outside this package declares no ``rule``: a study names it ``package.module:Class``.

    Attributes:
        judged_value: text for the value that is compared at a rung; ``{metric}`` stands for the study's metric.
    """

    judged_value: ClassVar[str] = "{metric}"

    if TYPE_CHECKING:
        # each rule declares its own name; a field here would come before the parameters in the records
        rule: str

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Name a rule from outside this package by its import path."""
        super().__pydantic_init_subclass__(**kwargs)
        name_by_import_path(cls, "rule")

    @abstractmethod
    def build(self, max_epochs: int) -> Rule | None:
        """Return a new rule for trials of ``max_epochs`` planned epochs; None only if no trial is ever stopped."""

    @abstractmethod
    def describe(self) -> str:
        """Return the rule and its parameters in words, for one line of a table or a plan."""

    def check(self, *, max_epochs: int, trials: int | None) -> None:
        """Check that the rule can stop a trial within a budget.

        Args:
            max_epochs: planned epochs per trial.
            trials: trials per arm; None if a grid decides on the number.

        Raises:
            ValueError: no rung could ever stop a trial.
        """


class RungStopping(Stopping):
    """Parameters that all rules with rungs share.

    Attributes:
        grace_period_epochs: first rung; no trial is stopped before it.
        min_recorded: trials that must be recorded at a rung before any trial is stopped there.
        counts_others: whether ``min_recorded`` counts only the other trials, without the one that is judged.
    """

    counts_others: ClassVar[bool] = False

    grace_period_epochs: int = Field(default=3, ge=1)
    min_recorded: int = Field(default=3, ge=1)

    def check(self, *, max_epochs: int, trials: int | None) -> None:
        """Check that the first rung comes before the end and that enough trials can reach it."""
        fix = "no rung would ever stop a trial; lower it or set early_stopping.rule to none"
        if self.grace_period_epochs >= max_epochs:
            raise ValueError(
                f"early_stopping.grace_period_epochs is {self.grace_period_epochs}, but trials end at {max_epochs} "
                f"epochs: {fix}"
            )
        if trials is not None and self.min_recorded > trials - self.counts_others:
            others = " others" if self.counts_others else ""
            raise ValueError(
                f"early_stopping.min_recorded is {self.min_recorded}{others}, but a search has {trials} trials: {fix}"
            )


def worst_if_not_finite(value: float) -> float:
    """Return the value as other trials are compared with it: infinity unless it is finite; -inf is a fault too."""
    return value if math.isfinite(value) else math.inf
