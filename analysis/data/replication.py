"""What one value of an arm stands for, a search, a seed or a trial, and what may therefore be said about the arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from sweep.findings.searches import is_searched, trials_per_search, unit_of
from sweep.findings.wording import LUCK_UNKNOWN

Unit = Literal["search", "seed", "trial"]
"""What is counted as n."""

SEARCH: Unit = "search"
SEED: Unit = "seed"
TRIAL: Unit = "trial"

GRID = "grid"
"""Value of ``search`` in a study that tries all combinations of the listed values."""

COLUMNS = ["unit", "search_trials"]
"""Columns by which a table of values carries its replication."""

PLURALS: Mapping[str, str] = {SEARCH: "searches", SEED: "seeds", TRIAL: "trials"}


@dataclass(frozen=True)
class Replication:
    """The unit of replication of confirmed values.

    Several searches per arm repeat the whole procedure: search, select, train again. Their values allow a statement
    about the arm. The seeds of one winner repeat the training alone. They allow a statement about the configuration
    that one search found, unless nothing varies in the arm.

    Attributes:
        unit: ``search`` for several searches per arm, otherwise ``seed``.
        search_trials: number of trials of one search by arm; 0 for an arm in which nothing varies.

    Examples:
        >>> one_search = Replication("seed", {"off": 0, "cutmix": 20})
        >>> one_search.subjects("cutmix", "off")
        ('the configuration found for cutmix', 'off')
        >>> Replication("search", {"off": 0, "cutmix": 4}).subjects("cutmix", "off")
        ('cutmix, searched with 4 trials,', 'off')
    """

    unit: Unit
    search_trials: Mapping[str, int]

    @property
    def units(self) -> str:
        """The unit in the plural."""
        return PLURALS[self.unit]

    @property
    def is_one_search(self) -> bool:
        """Whether the values show only configurations that one search found."""
        return self.unit == SEED and any(self.search_trials.values())

    def subjects(self, arm: str, baseline: str) -> tuple[str, str]:
        """Return how a sentence names an arm and the baseline that it is compared with; a clause ends with a comma."""
        trials, of_baseline = (self.search_trials.get(name, 0) for name in (arm, baseline))
        if self.unit == SEARCH and trials and of_baseline:
            return arm, f"{baseline}, each {_effort(trials)},"
        return self._subject(arm, trials), self._subject(baseline, of_baseline)

    def _subject(self, arm: str, trials: int) -> str:
        if not trials or self.unit == TRIAL:
            return arm
        return f"{arm}, {_effort(trials)}," if self.unit == SEARCH else f"the configuration found for {arm}"

    def describe(self) -> str:
        """Return sentences: what a confirmed value is, what ``n`` counts, and what it does not show."""
        if self.unit == SEARCH:
            return (
                "A value is that of one independent search: its winner, trained again on fresh seeds, as the mean over "
                "these seeds. `n` counts searches, so the intervals contain the luck of the search."
            )
        if self.is_one_search:
            return (
                "Values are those of the configuration that one search found for each arm, trained again on fresh "
                f"seeds. `n` counts these seeds. {LUCK_UNKNOWN}"
            )
        return "Values are those of each arm, trained again on fresh seeds. `n` counts these seeds."


def _effort(trials: int) -> str:
    return f"searched with {trials} {'trial' if trials == 1 else 'trials'}"


def replication_of(study: Mapping[str, Any]) -> Replication:
    """Return the unit of replication of a study's confirmed values.

    Args:
        study: a study as it is recorded in a manifest.
    """
    searched = [arm for arm in study["arms"] if is_searched(study, arm)]
    trials = trials_per_search(study) if searched else 0
    return Replication(unit_of(study), {arm: trials if arm in searched else 0 for arm in study["arms"]})


def replication_in(values: pd.DataFrame) -> Replication:
    """Return the unit of replication that a table of values carries in its columns ``unit`` and ``search_trials``."""
    unit: Unit = values["unit"].iloc[0] if len(values) else SEED
    arms = values.drop_duplicates("arm")
    return Replication(unit, dict(zip(arms["arm"].astype(str), arms["search_trials"].astype(int), strict=True)))


def unit_of_search(study: Mapping[str, Any]) -> Unit:
    """Return what is repeated among the trials of a search, before any confirmation.

    On a grid, and where nothing varies, only the seed: ``seed``. Otherwise trials also differ in their parameters:
    ``trial``.
    """
    is_drawn = study.get("search") != GRID and any(is_searched(study, arm) for arm in study["arms"])
    return TRIAL if is_drawn else SEED
