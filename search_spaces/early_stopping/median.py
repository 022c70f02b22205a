"""The median stopping rule."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from search_spaces.early_stopping.base import CONTINUE, STOP, Judgement, Rule, RungStopping, worst_if_not_finite


class Median(Rule):
    """Stops a trial if its best value is worse than the median of the other trials' running averages.

    Golovin et al., Google Vizier: A Service for Black-Box Optimization, KDD 2017, section 3.2.2. A running average is
    the mean metric up to the epoch of the rung. Here the other trials are all trials that reached the epoch before,
    whether they were stopped later or not, and there must be ``min_recorded`` of them. Ties continue. The first
    ``min_recorded`` trials always continue, so the order of arrival favours early trials.

    Examples:
        >>> median = Median([1], min_recorded=2)
        >>> [median.observe(trial, 1, value).verdict for trial, value in enumerate([0.5, 0.7, 0.8, 0.6])]
        ['continue', 'continue', 'stop', 'continue']
    """

    def __init__(self, rungs: Sequence[int], *, min_recorded: int) -> None:
        """Compare trials at ``rungs`` (epochs)."""
        self._averages: dict[int, list[float]] = {rung: [] for rung in rungs}
        self._min_recorded = min_recorded
        self._best: dict[int, float] = defaultdict(lambda: math.inf)
        self._sum: dict[int, float] = defaultdict(float)

    def rungs(self, trial: int) -> list[int]:
        """Return the rungs, the same for all trials."""
        return list(self._averages)

    def observe(self, trial: int, epoch: int, value: float) -> Judgement | None:
        """Compare a trial's best value so far with the running averages of the trials before it."""
        self._best[trial] = min(self._best[trial], worst_if_not_finite(value))
        self._sum[trial] += worst_if_not_finite(value)
        if epoch not in self._averages:
            return None
        others = self._averages[epoch]
        cutoff = statistics.median(others) if len(others) >= self._min_recorded else math.inf
        others.append(self._sum[trial] / epoch)
        best = self._best[trial] if math.isfinite(value) else value
        return Judgement(
            rung_epochs=epoch,
            value=best,
            cutoff=cutoff if math.isfinite(cutoff) else None,
            n_recorded=len(others),
            verdict=CONTINUE if math.isfinite(best) and best <= cutoff else STOP,
        )


class MedianStopping(RungStopping):
    """Median stopping (Golovin et al., Google Vizier, KDD 2017).

    Attributes:
        interval_epochs: epochs from one rung to the next.
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

    def build(self, max_epochs: int) -> Median:
        """Return a new rule for trials of ``max_epochs`` planned epochs."""
        rungs = range(self.grace_period_epochs, max_epochs, self.interval_epochs)
        return Median(rungs, min_recorded=self.min_recorded)

    def describe(self) -> str:
        """Return the rule and its parameters in words."""
        step = "epoch" if self.interval_epochs == 1 else f"{self.interval_epochs} epochs"
        return f"median rule, first rung at {self.grace_period_epochs} epochs, then every {step}"
