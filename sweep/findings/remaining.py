"""Trials that a sweep has ended and still has to run, from its records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from search_spaces.study import Study
from sweep.findings.confirmed import RankedTrial, ranked
from sweep.records.schema import COMPLETED, LIVING, SEARCH


class TrialCount(NamedTuple):
    """Size of a sweep.

    Attributes:
        n_ended: trials that have ended.
        n_trials: all trials, including confirmations that will follow.

    Examples:
        >>> TrialCount(3, 8).n_left
        5
    """

    n_ended: int
    n_trials: int

    @property
    def n_left(self) -> int:
        """Number of trials that have not ended."""
        return self.n_trials - self.n_ended


def count_trials(study: Study, trials: Sequence[Mapping[Any, Any]], final: Mapping[str, float]) -> TrialCount:
    """Return how many trials a sweep has ended, and how many it has in total.

    Args:
        study: the study as it is recorded now.
        trials: rows of the table ``trials``, of both phases.
        final: value of the study's metric after the last epoch, by completed trial.
    """
    living = sum(row["status"] in LIVING for row in trials)
    unbegun = sum(_n_unbegun(study, [row for row in trials if row["arm"] == arm], final) for arm in study.arms)
    return TrialCount(len(trials) - living, len(trials) + unbegun)


def _n_unbegun(study: Study, trials: Sequence[Mapping[Any, Any]], final: Mapping[str, float]) -> int:
    """Return the number of an arm's trials that have not begun."""
    search = [row for row in trials if row["phase"] == SEARCH]
    unbegun = study.trials_per_arm - len(search)
    if study.confirm is None:
        return unbegun
    if unbegun or any(row["status"] in LIVING for row in search):  # the winners are not known yet
        return unbegun + study.confirming_per_arm
    winners = ranked(
        RankedTrial(
            trial=row["trial"],
            number=row["number"],
            configuration=json.dumps(json.loads(row["params"]), sort_keys=True),
            value=final.get(row["trial"]) if row["status"] == COMPLETED else None,
        )
        for row in search
    )[: study.confirm.configs]
    begun = {(row["confirms"], row["number"]) for row in trials if row["phase"] != SEARCH}
    return sum((winner, seed) not in begun for winner in winners for seed in range(study.confirm.seeds))
