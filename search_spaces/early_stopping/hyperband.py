"""Asynchronous Hyperband: successive halving from several first rungs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from search_spaces.early_stopping.asha import Asha
from search_spaces.early_stopping.base import Judgement, Rule


class Hyperband(Rule):
    """Hedges against a first rung that comes too early: each bracket is an ASHA with a later one.

    The bracket of a trial follows from its number alone. Brackets get trials in the proportions of Li et al.
    (Hyperband, JMLR 2018, algorithm 1): n_s = ceil((s_max + 1) / (s + 1) * eta^s), s the halvings of the bracket,
    spread evenly over the numbers. Their bracket without halving is left out: a control cohort serves for it.
    Trials are compared within their bracket; the order of arrival matters there as in :class:`Asha`.
    """

    def __init__(self, brackets: Sequence[Asha], *, reduction_factor: int) -> None:
        """Compare trials in ``brackets``, the one with most rungs first."""
        self._brackets = brackets
        halvings = [len(bracket.rungs(0)) for bracket in brackets]
        self._shares = [-(-(halvings[0] + 1) * reduction_factor**s // (s + 1)) for s in halvings]
        self._assigned: list[int] = []

    def bracket(self, trial: int) -> int:
        """Return the place of the bracket that a trial belongs to: always the one furthest behind its share."""
        while len(self._assigned) <= trial:
            n = len(self._assigned) + 1
            behind = [
                n * share - sum(self._shares) * self._assigned.count(place) for place, share in enumerate(self._shares)
            ]
            self._assigned.append(behind.index(max(behind)))
        return self._assigned[trial]

    def rungs(self, trial: int) -> list[int]:
        """Return the rungs of the trial's bracket."""
        return self._brackets[self.bracket(trial)].rungs(trial)

    def observe(self, trial: int, epoch: int, value: float) -> Judgement | None:
        """Compare a trial with those of its bracket that came to the rung before it."""
        return self._brackets[self.bracket(trial)].observe(trial, epoch, value)

    def promotable(self, paused: Collection[int]) -> int | None:
        """Return a promotable trial of the bracket with the latest first rung that has one."""
        for place, bracket in reversed(list(enumerate(self._brackets))):
            trial = bracket.promotable([trial for trial in paused if self.bracket(trial) == place])
            if trial is not None:
                return trial
        return None
