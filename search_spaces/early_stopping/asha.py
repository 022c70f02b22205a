"""Asynchronous successive halving (ASHA): the stopping and the promoting variant."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Collection, Sequence
from typing import Literal

from pydantic import Field

from search_spaces.early_stopping.base import (
    CONTINUE,
    PAUSE,
    STOP,
    Judgement,
    Rule,
    RungStopping,
    worst_if_not_finite,
)


class Asha(Rule):
    """Stops at each rung all trials but the best.

    Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020. A trial that reaches a rung is
    compared with all trials that reached it before. It continues if it is among the best ``n // reduction_factor`` of
    the n recorded trials (at least one; ties continue). The first ``min_recorded - 1`` trials always continue, so the
    order of arrival favours early trials.

    With ``min_recorded`` 1, the decisions are those of Optuna's ``SuccessiveHalvingPruner``. Ray Tune's
    ``AsyncHyperBandScheduler`` decides otherwise for 1 to 7 % of 200 simulated trials (eta 2 to 4): its cutoff is an
    interpolated percentile of the trials before, without the trial that is judged.

    Examples:
        >>> asha = Asha([1, 2], reduction_factor=2, min_recorded=1)
        >>> [asha.observe(trial, 1, value).verdict for trial, value in enumerate([0.5, 0.6, 0.4])]
        ['continue', 'stop', 'continue']
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
        """Compare a trial with the trials that reached the rung before it."""
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
        is_among_best = math.isfinite(value) and (cutoff is None or value <= cutoff)
        return CONTINUE if is_among_best else STOP

    def _cutoff(self, rung: int) -> float | None:
        values = self._recorded[rung]
        if len(values) < self._min_recorded:
            return None
        cutoff = values[max(1, len(values) // self._reduction_factor) - 1]
        return cutoff if math.isfinite(cutoff) else None


class PromotingAsha(Asha):
    """Pauses at each rung all trials but the best, and promotes a paused trial once it is among the best.

    Li et al., algorithm 2. A trial that is among the best when it arrives continues at once, because algorithm 2 would
    promote it next. Unlike in algorithm 2, at least one trial per rung counts as best, ties continue, and the first
    ``min_recorded - 1`` trials are not paused. Good trials that arrive late do not end earlier ones. The order of
    arrival still matters, because a promotion is never withdrawn.

    Examples:
        >>> asha = PromotingAsha([1, 2], reduction_factor=2, min_recorded=1)
        >>> [asha.observe(trial, 1, value).verdict for trial, value in enumerate([0.5, 0.6, 0.7])]
        ['continue', 'pause', 'pause']
        >>> asha.observe(3, 1, 0.8).verdict, asha.promotable([1, 2, 3])
        ('pause', 1)
    """

    def __init__(self, rungs: Sequence[int], *, reduction_factor: int, min_recorded: int) -> None:
        """Compare trials at ``rungs`` (epochs)."""
        super().__init__(rungs, reduction_factor=reduction_factor, min_recorded=min_recorded)
        self._at_rung: dict[int, list[tuple[float, int]]] = {rung: [] for rung in rungs}
        self._last: dict[int, tuple[int, float]] = {}

    def observe(self, trial: int, epoch: int, value: float) -> Judgement | None:
        """Compare a trial with the trials that reached the rung before it."""
        if last := self._last.pop(trial, None):  # it has continued after this rung
            rung, value_there = last
            del self._at_rung[rung][bisect_left(self._at_rung[rung], (value_there, trial))]
        judgement = super().observe(trial, epoch, value)
        if judgement and math.isfinite(value):
            self._last[trial] = (epoch, value)
            insort(self._at_rung[epoch], (value, trial))
        return judgement

    def promotable(self, paused: Collection[int]) -> int | None:
        """Return the best paused trial among the best of its rung, from the highest rung with such a trial.

        The trials whose last epoch is a rung are sorted by value. Only trials at or below the cutoff are looked at, and
        most of these are paused: the time does not grow with the number of paused trials.
        """
        for rung in reversed(self._at_rung):
            cutoff = self._cutoff(rung)
            if cutoff is None:
                continue
            for value, trial in self._at_rung[rung]:
                if value > cutoff:
                    break
                if trial in paused:
                    return trial
        return None

    def _verdict(self, value: float, cutoff: float | None) -> str:
        verdict = super()._verdict(value, cutoff)
        return PAUSE if verdict == STOP and math.isfinite(value) else verdict


class HalvingStopping(RungStopping):
    """Successive halving.

    Attributes:
        reduction_factor: eta: the best ``1/eta`` of the trials at a rung continue, and each rung is ``eta`` times the
            rung before it.
        mode: ``stop`` decides for good when a trial reaches a rung; ``promote`` pauses the trial there, and continues
            it as soon as it is among the best.
    """

    reduction_factor: int = Field(default=3, ge=2)
    mode: Literal["stop", "promote"] = "stop"

    def rungs(self, max_epochs: int) -> list[int]:
        """Return the epochs at which trials are compared, all before ``max_epochs``."""
        rungs, rung = [], self.grace_period_epochs
        while rung < max_epochs:
            rungs.append(rung)
            rung *= self.reduction_factor
        return rungs

    def build_asha(self, rungs: Sequence[int]) -> Asha:
        """Return a new ASHA of the configured mode that compares trials at ``rungs`` (epochs)."""
        variant = PromotingAsha if self.mode == "promote" else Asha
        return variant(rungs, reduction_factor=self.reduction_factor, min_recorded=self.min_recorded)

    def describe_halving(self) -> str:
        """Return first rung, reduction factor and mode in words."""
        promoting = ", promoting" if self.mode == "promote" else ""
        return f"first rung at {self.grace_period_epochs} epochs, eta {self.reduction_factor}{promoting}"


class AshaStopping(HalvingStopping):
    """Asynchronous successive halving (Li et al., MLSys 2020).

    Examples:
        >>> stopping = AshaStopping(grace_period_epochs=2)
        >>> stopping.describe()
        'ASHA, first rung at 2 epochs, eta 3'
        >>> stopping.build(max_epochs=30).rungs(trial=0)
        [2, 6, 18]
    """

    rule: Literal["asha"] = "asha"

    def build(self, max_epochs: int) -> Asha:
        """Return a new rule for trials of ``max_epochs`` planned epochs."""
        return self.build_asha(self.rungs(max_epochs))

    def describe(self) -> str:
        """Return the rule and its parameters in words."""
        return f"ASHA, {self.describe_halving()}"
