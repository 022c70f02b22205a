"""Asynchronous Hyperband: successive halving from several first rungs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from pydantic import Field

from search_spaces.early_stopping.asha import Asha, HalvingStopping
from search_spaces.early_stopping.base import Judgement, Rule


class Hyperband(Rule):
    """Hedges against a first rung that comes too early: each bracket is an ASHA with a later first rung.

    The bracket of a trial follows from its number alone. Brackets get trials in the proportions of Li et al.
    (Hyperband, JMLR 2018, algorithm 1): n_s = ceil((s_max + 1) / (s + 1) * eta^s) for a bracket of s halvings, spread
    evenly over the numbers. The bracket of that paper without halving is left out, because a control cohort has the
    same role. Trials are compared within their bracket. The order of arrival matters as in :class:`Asha`.
    """

    def __init__(self, brackets: Sequence[Asha], *, reduction_factor: int) -> None:
        """Compare trials in ``brackets``, the bracket with most rungs first."""
        self._brackets = brackets
        halvings = [len(bracket.rungs(0)) for bracket in brackets]
        self._proportions = [-(-(halvings[0] + 1) * reduction_factor**s // (s + 1)) for s in halvings]
        self._assigned: list[int] = []
        self._n_assigned = [0] * len(brackets)

    def bracket(self, trial: int) -> int:
        """Return the index of a trial's bracket: the bracket that is furthest behind its proportion."""
        while len(self._assigned) <= trial:
            n = len(self._assigned) + 1
            behind = [
                n * proportion - sum(self._proportions) * n_assigned
                for proportion, n_assigned in zip(self._proportions, self._n_assigned, strict=True)
            ]
            self._assigned.append(behind.index(max(behind)))
            self._n_assigned[self._assigned[-1]] += 1
        return self._assigned[trial]

    def rungs(self, trial: int) -> list[int]:
        """Return the rungs of the trial's bracket."""
        return self._brackets[self.bracket(trial)].rungs(trial)

    def pausing_rungs(self, trial: int) -> list[int]:
        """Return the rungs of the trial's bracket if its rule pauses trials."""
        return self._brackets[self.bracket(trial)].pausing_rungs(trial)

    def observe(self, trial: int, epoch: int, value: float) -> Judgement | None:
        """Compare a trial with the trials of its bracket that reached the rung before it."""
        return self._brackets[self.bracket(trial)].observe(trial, epoch, value)

    def promotable(self, paused: Collection[int]) -> int | None:
        """Return a promotable trial of the bracket with the latest first rung that has one."""
        for bracket in reversed(self._brackets):
            trial = bracket.promotable(paused)  # a bracket knows its own trials only
            if trial is not None:
                return trial
        return None


class HyperbandStopping(HalvingStopping):
    """Asynchronous Hyperband (Li et al., JMLR 2018 and MLSys 2020): ASHA from several first rungs.

    Attributes:
        brackets: number of first rungs; None: as many as fit before the planned epochs.

    Examples:
        >>> hyperband = HyperbandStopping(grace_period_epochs=1).build(max_epochs=27)
        >>> [hyperband.rungs(trial) for trial in range(3)]
        [[1, 3, 9], [3, 9], [1, 3, 9]]
    """

    rule: Literal["hyperband"] = "hyperband"
    brackets: int | None = Field(default=None, ge=1)

    def build(self, max_epochs: int) -> Hyperband:
        """Return a new rule for trials of ``max_epochs`` planned epochs."""
        rungs = self.rungs(max_epochs)
        brackets = [self.build_asha(rungs[first:]) for first in range(self.brackets or len(rungs))]
        return Hyperband(brackets, reduction_factor=self.reduction_factor)

    def describe(self) -> str:
        """Return the rule and its parameters in words."""
        return f"Hyperband, {self.describe_halving()}"

    def check(self, *, max_epochs: int, trials: int | None) -> None:
        """Check what every rule with rungs asks for, and that all brackets begin before the end."""
        super().check(max_epochs=max_epochs, trials=trials)
        n_rungs = len(self.rungs(max_epochs))
        if (self.brackets or 0) > n_rungs:
            raise ValueError(
                f"early_stopping.brackets is {self.brackets}, but only {n_rungs} of its first rungs come before "
                f"{max_epochs} epochs: lower it or leave it out"
            )
