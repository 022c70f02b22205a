"""The median stopping rule."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence

from search_spaces.early_stopping.base import CONTINUE, STOP, Judgement, Rule, worst_if_not_finite


class Median(Rule):
    """Stops a trial whose best value is worse than the median of what others were on average up to the same epoch.

    Golovin et al., Google Vizier: A Service for Black-Box Optimization, KDD 2017, section 3.2.2. Here the others are
    all that came to the epoch before, stopped later or not, and there must be ``min_recorded`` of them. Ties go on.
    The first ``min_recorded`` always go on, so the order of arrival favours the early.
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
        """Compare a trial's best value so far with the running averages of those that came before it."""
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
