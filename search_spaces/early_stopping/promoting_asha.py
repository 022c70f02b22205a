"""Asynchronous successive halving, promotion type."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from search_spaces.early_stopping.asha import Asha
from search_spaces.early_stopping.base import PAUSE, STOP, Judgement


class PromotingAsha(Asha):
    """Pauses at a rung all but the best, and promotes them when they turn out to be (Li et al., algorithm 2).

    A trial that is among the best when it comes goes on at once: algorithm 2 would promote it next. Unlike there at
    least one of a rung counts as best, ties go on, and the first ``min_recorded - 1`` are not paused. Late good trials
    do not end early ones, but the order still matters: who was promoted is not called back.
    """

    def __init__(self, *args: Any, **given: Any) -> None:
        """Compare trials as :class:`Asha` does."""
        super().__init__(*args, **given)
        self._last: dict[int, tuple[int, float]] = {}

    def observe(self, trial: int, epoch: int, value: float) -> Judgement | None:
        """Compare a trial with those that came to the rung before it."""
        judgement = super().observe(trial, epoch, value)
        if judgement:
            self._last[trial] = (epoch, value)
        return judgement

    def promotable(self, paused: Collection[int]) -> int | None:
        """Return the best of the paused that are among the best of their rung, from the highest rung that has any."""
        best = [
            (-rung, value, trial)
            for trial in paused
            for rung, value in (self._last[trial],)
            for cutoff in (self._cutoff(rung),)
            if cutoff is not None and value <= cutoff
        ]
        return min(best)[-1] if best else None

    def _verdict(self, value: float, cutoff: float | None) -> str:
        verdict = super()._verdict(value, cutoff)
        return PAUSE if verdict == STOP and math.isfinite(value) else verdict
