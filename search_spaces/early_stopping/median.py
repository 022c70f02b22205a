"""The median stopping rule."""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from search_spaces.early_stopping.base import CONTINUE, STOP, Judgement, Rule, RungStopping, worst_if_not_finite


class Median(Rule):
    """Stops a trial if its best value is worse than the median of the other trials' running averages.

    Golovin et al., Google Vizier: A Service for Black-Box Optimization, KDD 2017, section 3.2.2. A running average is
    the mean metric up to the epoch of the rung, from epoch 1 on as in that text, or from a later epoch. Averages from
    epoch 1 contain the high values of the first epochs, so they stop few trials. Here the other trials are all trials
    that reached the epoch before, whether they were stopped later or not, and there must be ``min_recorded`` of them.
    Ties continue. The first ``min_recorded`` trials always continue, so the order of arrival favours early trials.

    Examples:
        >>> median = Median([1], min_recorded=2)
        >>> [median.observe(trial, 1, value).verdict for trial, value in enumerate([0.5, 0.7, 0.8, 0.6])]
        ['continue', 'continue', 'stop', 'continue']
    """

    def __init__(self, rungs: Sequence[int], *, min_recorded: int, averages_from_epoch: int = 1) -> None:
        """Compare trials at ``rungs`` (epochs), none of them before ``averages_from_epoch``."""
        self._averages: dict[int, list[float]] = {rung: [] for rung in rungs}
        self._min_recorded = min_recorded
        self._averages_from_epoch = averages_from_epoch
        self._best: dict[int, float] = defaultdict(lambda: math.inf)
        self._sum: dict[int, float] = defaultdict(float)

    def rungs(self, trial: int) -> list[int]:
        """Return the rungs, the same for all trials."""
        return list(self._averages)

    def observe(self, trial: int, epoch: int, value: float) -> Judgement | None:
        """Compare a trial's best value so far with the running averages of the trials before it."""
        self._best[trial] = min(self._best[trial], worst_if_not_finite(value))
        if epoch >= self._averages_from_epoch:
            self._sum[trial] += worst_if_not_finite(value)
        if epoch not in self._averages:
            return None
        others = self._averages[epoch]
        cutoff = _median(others) if len(others) >= self._min_recorded else math.inf
        insort(others, self._sum[trial] / (epoch - self._averages_from_epoch + 1))
        best = self._best[trial] if math.isfinite(value) else value
        return Judgement(
            rung_epochs=epoch,
            value=best,
            cutoff=cutoff if math.isfinite(cutoff) else None,
            n_recorded=len(others),
            verdict=CONTINUE if math.isfinite(best) and best <= cutoff else STOP,
        )


def _median(values: Sequence[float]) -> float:
    """Return the median of sorted values, at least one, without sorting them again."""
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


class MedianStopping(RungStopping):
    """Median stopping (Golovin et al., Google Vizier, KDD 2017).

    With ``averages_from_epoch`` equal to ``grace_period_epochs``, finite values are judged as by Ray Tune's
    ``MedianStoppingRule``.

    Attributes:
        interval_epochs: epochs from one rung to the next.
        averages_from_epoch: first epoch of the running averages, at most ``grace_period_epochs``. A later start
            leaves out the high values of the first epochs, so that more trials are stopped.
        min_recorded: other trials that must be recorded at a rung before any trial is stopped there.

    Examples:
        >>> stopping = MedianStopping(grace_period_epochs=3, interval_epochs=4)
        >>> stopping.describe()
        'median rule, first rung at 3 epochs, then every 4 epochs'
        >>> stopping.build(max_epochs=15).rungs(trial=0)
        [3, 7, 11]
    """

    counts_others: ClassVar[bool] = True
    judged_value: ClassVar[str] = "best {metric}"

    rule: Literal["median"] = "median"
    interval_epochs: int = Field(default=1, ge=1)
    averages_from_epoch: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.averages_from_epoch > self.grace_period_epochs:
            raise ValueError(
                f"averages_from_epoch is {self.averages_from_epoch}, after the first rung at grace_period_epochs "
                f"{self.grace_period_epochs}, where no average would exist: lower averages_from_epoch"
            )
        return self

    def build(self, max_epochs: int) -> Median:
        """Return a new rule for trials of ``max_epochs`` planned epochs."""
        rungs = range(self.grace_period_epochs, max_epochs, self.interval_epochs)
        return Median(rungs, min_recorded=self.min_recorded, averages_from_epoch=self.averages_from_epoch)

    def describe(self) -> str:
        """Return the rule and its parameters in words."""
        step = "epoch" if self.interval_epochs == 1 else f"{self.interval_epochs} epochs"
        start = "" if self.averages_from_epoch == 1 else f", averages from epoch {self.averages_from_epoch}"
        return f"median rule, first rung at {self.grace_period_epochs} epochs, then every {step}{start}"
