"""Asynchronous successive halving, stopping type."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence

from search_spaces.early_stopping.base import CONTINUE, STOP, Judgement, Rule, worst_if_not_finite


class Asha(Rule):
    """Stops at a rung all but the best (Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020).

    A trial that comes to a rung is compared with all that came before it: it goes on if it is among the best
    ``n // reduction_factor`` of the n recorded (at least one; ties go on). The first ``min_recorded - 1`` always go
    on, so the order of arrival favours the early.
    """

    def __init__(self, rungs: Sequence[int], *, reduction_factor: int, min_recorded: int) -> None:
        """Compare trials at ``rungs`` (epochs)."""
        self._recorded: dict[int, list[float]] = {rung: [] for rung in rungs}
        self._reduction_factor = reduction_factor
        self._min_recorded = min_recorded

    def rungs(self, trial: int) -> list[int]:
        """Return the rungs, the same for all trials."""
        return list(self._recorded)

    def observe(self, trial: int, epoch: int, value: float) -> Judgement | None:
        """Compare a trial with those that came to the rung before it."""
        if epoch not in self._recorded:
            return None
        insort(self._recorded[epoch], worst_if_not_finite(value))
        cutoff = self._cutoff(epoch)
        return Judgement(
            rung_epochs=epoch,
            value=value,
            cutoff=cutoff,
            n_recorded=len(self._recorded[epoch]),
            verdict=self._verdict(value, cutoff),
        )

    def _verdict(self, value: float, cutoff: float | None) -> str:
        goes_on = math.isfinite(value) and (cutoff is None or value <= cutoff)
        return CONTINUE if goes_on else STOP

    def _cutoff(self, rung: int) -> float | None:
        values = self._recorded[rung]
        if len(values) < self._min_recorded:
            return None
        cutoff = values[max(1, len(values) // self._reduction_factor) - 1]
        return cutoff if math.isfinite(cutoff) else None
