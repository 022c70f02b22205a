"""Words for confirmed arms: an arm itself, or only the configuration that one search found for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from sweep.findings.searches import is_searched, n_searches, trials_per_search
from sweep.findings.student_t import LEVEL
from sweep.findings.summary import baseline_arm, list_names

LUCK_UNKNOWN = (
    "How much of this is the luck of one search is not known. For a result about the arms, run several searches per "
    "arm: confirm.searches in the study."
)
"""What the confirmation of one search does not show, and what does."""


def describe_trials(study: Mapping[str, Any], *, unfinished: bool = False) -> str:
    """Return the number of trials of a search in words.

    Args:
        study: the study as it is recorded in the manifest.
        unfinished: whether trials are left to run, for example those that an extension added.

    Examples:
        >>> describe_trials({"budget": {"trials": 20}, "confirm": {"searches": 5}}, unfinished=True)
        'up to 4 trials'
    """
    n_trials = trials_per_search(study)
    return f"{'up to ' if unfinished else ''}{n_trials} {'trial' if n_trials == 1 else 'trials'}"


class Wording:
    """Describe comparisons of arms with the baseline, and claim no more than was tested.

    Several searches per arm allow a sentence about the arm, with the trials of a search. One search allows a sentence
    about the configuration that it found. An arm in which nothing varies has one configuration: it may always be named.
    """

    def __init__(self, study: Mapping[str, Any], compared: pd.DataFrame, *, unfinished: bool = False) -> None:
        """Choose the words.

        Args:
            study: the study as it is recorded in the manifest.
            compared: rows of ``summarise_confirmed`` that are compared with the baseline.
            unfinished: whether trials are left to run, so that a search may have fewer trials than the study says.
        """
        self._compared = compared
        self._n_searches, self._n_seeds = n_searches(study), int(study["confirm"]["seeds"])
        baseline = baseline_arm(study)
        self._searched = {arm: is_searched(study, arm) for arm in (baseline, *compared["arm"])}
        self._all_searched = all(self._searched.values())
        n_trials = describe_trials(study, unfinished=unfinished) if any(self._searched.values()) else ""
        self._effort = f"searched with {n_trials}"
        [(subject, _)] = self._subjects([baseline])
        self._baseline = subject.removesuffix(",")

    def describe_sample(self) -> str:
        """Return the unit of replication and its number: ``k = 5 searches per arm``."""
        n_pairs = self._compared["n_pairs"]
        n = f"{n_pairs.min()}" if n_pairs.min() == n_pairs.max() else f"{n_pairs.min()} to {n_pairs.max()}"
        if self._n_searches == 1:
            return f"n = {n} seeds per {'configuration' if any(self._searched.values()) else 'arm'}"
        of_all = "" if n == f"{self._n_searches}" else f" of {self._n_searches}"
        seeds = f", up to {self._n_seeds} seeds per search" if self._n_seeds > 1 else ""
        return f"k = {n}{of_all} searches per arm{seeds}"

    def describe_result(self) -> str:
        """Return which arms have a lower or higher error than the baseline, and which comparisons are undecided."""
        rows = self._compared
        is_decided = rows["p_holm"] <= 1 - LEVEL
        lower = rows["arm"][is_decided & (rows["difference"] < 0)]
        higher = rows["arm"][is_decided & (rows["difference"] > 0)]
        undecided = [arm for arm in rows["arm"] if arm not in {*lower, *higher}]
        clauses = [*self._clauses(list(lower), "lower"), *self._clauses(list(higher), "higher")]
        if not clauses:
            return f"undecided: {self._no_difference()}"
        if undecided:
            names = " and ".join(subject.removesuffix(",") for subject, _ in self._subjects(undecided))
            return f"{self._joined(clauses)}; undecided: {names}"
        return self._joined(clauses)

    def describe_limits(self) -> str:
        """Return what one search does not show, and what does; "" where the sentence is about the arms themselves."""
        if self._n_searches > 1 or not any(self._searched.values()):
            return ""
        return f" {LUCK_UNKNOWN}"

    def _clauses(self, arms: Sequence[str], direction: str) -> list[str]:
        verbs = {True: "have", False: "has"}
        return [
            f"{subject} {verbs[is_plural]} a {direction} test error than {self._baseline}"
            for subject, is_plural in self._subjects(arms)
        ]

    def _no_difference(self) -> str:
        if self._n_searches == 1 and any(self._searched.values()):
            return f"no compared configuration differs significantly from {self._baseline}"
        if self._all_searched or not any(self._searched.values()):
            return self._joined([f"no arm differs significantly from {self._baseline}"])
        verbs = {True: "do", False: "does"}
        return self._joined(
            [
                f"{subject} {verbs[is_plural]} not differ significantly from {self._baseline}"
                for subject, is_plural in self._subjects(list(self._compared["arm"]))
            ]
        )

    def _joined(self, clauses: Sequence[str]) -> str:
        if self._n_searches == 1:
            return " and ".join(clauses)
        if self._all_searched:
            return f"{' and '.join(clauses)}, each arm {self._effort}"
        return "; ".join(clauses)

    def _subjects(self, arms: Sequence[str]) -> list[tuple[str, bool]]:
        """Return a phrase for the arms in which nothing varies and one for the searched arms, and whether plural."""
        plain, searched = ([arm for arm in arms if self._searched[arm] is is_] for is_ in (False, True))
        subjects = [(list_names(plain), len(plain) > 1)] if plain else []
        if not searched:
            return subjects
        names, is_plural = list_names(searched), len(searched) > 1
        if self._n_searches == 1:
            names = f"the configuration{'s' if is_plural else ''} found for {names}"
        elif not self._all_searched:
            names = f"{names}, {'each ' if is_plural else ''}{self._effort},"
        return [*subjects, (names, is_plural)]
