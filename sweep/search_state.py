"""The independent searches of a sweep: their trials, and the trials that confirm their winners."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from search_spaces.study import Study
from sweep.confirm import confirming, winners
from sweep.entry import Entry
from sweep.records.schema import PAUSED, RUNNING, SEARCH

Search = tuple[str, int]
"""Arm and index, from 0, of one search."""


class SearchState:
    """State of one search.

    Attributes:
        arm: name of its arm.
        index: its index within the arm.
        trials: its trials that have begun, by name, in the order of their start.
        paused: those that are paused, by their index within the search.
        n_running: number of those with the status running, with or without a worker.
        n_reopened: number of those that run again to regain what is lost.
        confirming: names of the confirmation trials that have begun, of present and former winners.
        planned: confirmation trials of its winners; None before its end.
        unbegun: those of them that have not begun, by name.
        n_to_confirm: number of confirmation trials that have not begun, as last computed; the winners may not be known.
    """

    def __init__(self, arm: str, index: int) -> None:
        """Begin without trials."""
        self.arm, self.index = arm, index
        self.trials: dict[str, Entry] = {}
        self.paused: dict[int, Entry] = {}
        self.n_running = self.n_reopened = self.n_to_confirm = 0
        self.confirming: set[str] = set()
        self.planned: list[Entry] | None = None
        self.unbegun: dict[str, Entry] = {}

    @property
    def n_planned_begun(self) -> int:
        """Number of confirmation trials of the present winners that have begun."""
        return len(self.planned or ()) - len(self.unbegun)


class Searches:
    """All searches of a study.

    A trial is counted by :meth:`add`. Before one of its attributes changes, it is taken out by :meth:`remove`.

    Attributes:
        stuck: searches whose trials have all begun, and of which some are paused and none runs.
        to_promote: searches in which a paused trial may have become promotable.
        ended: searches whose winners have become known since this list was cleared.
    """

    def __init__(self, study: Study) -> None:
        """Begin without trials."""
        self._study = study
        # computed once: on a grid, each of them counts the points of every arm
        self._trials_per_search = study.trials_per_search
        self._per_search = study.confirming_per_arm // study.n_searches
        self._states = {
            (arm, search): SearchState(arm, search) for search in range(study.n_searches) for arm in study.arms
        }
        self._place = {search: place for place, search in enumerate(self._states)}
        self._changed = set(self._states)
        self._n_to_confirm = 0
        self._n_planned_begun = dict.fromkeys(study.arms, 0)
        self._with_unbegun: dict[str, list[int]] = {arm: [] for arm in study.arms}
        self.stuck: set[Search] = set()
        self.to_promote: set[Search] = set()
        self.ended: list[Search] = []

    def __getitem__(self, search: Search) -> SearchState:
        """Return the state of a search."""
        return self._states[search]

    def sorted(self, searches: Iterable[Search]) -> list[Search]:
        """Return searches in the order of the study: the first search of each arm, then the second ones."""
        return sorted(searches, key=self._place.__getitem__)

    def add(self, entry: Entry) -> None:
        """Count a trial."""
        key = entry.arm, entry.search
        search = self._states[key]
        self._changed.add(key)
        if entry.phase != SEARCH:
            search.confirming.add(entry.trial)
            if search.unbegun.pop(entry.trial, None) is not None:
                self._n_planned_begun[entry.arm] += 1
            return
        search.trials[entry.trial] = entry
        search.n_running += entry.status == RUNNING
        search.n_reopened += entry.end is not None
        if entry.status == PAUSED:
            search.paused[self._study.index_in_search(entry.arm, entry.number)] = entry
            self.to_promote.add(key)
        self._on_change(key, search)

    def remove(self, entry: Entry) -> None:
        """Count a trial no more, until it is added again; it keeps its place among the trials of its search."""
        if entry.phase != SEARCH:
            return
        key = entry.arm, entry.search
        search = self._states[key]
        search.n_running -= entry.status == RUNNING
        search.n_reopened -= entry.end is not None
        if entry.status == PAUSED:
            del search.paused[self._study.index_in_search(entry.arm, entry.number)]

    @property
    def n_to_confirm(self) -> int:
        """Number of confirmation trials that have not begun, in all searches; the winners may not be known yet."""
        self._update()
        return self._n_to_confirm

    @property
    def to_confirm(self) -> dict[str, int]:
        """Number of confirmation trials that have not begun, by arm."""
        self._update()
        numbers = dict.fromkeys(self._study.arms, 0)
        for search in self._states.values():
            numbers[search.arm] += search.n_to_confirm
        return numbers

    @property
    def dropped(self) -> dict[str, int]:
        """Number of confirmation trials, by arm, that cannot run: their search ended with too few completed trials."""
        self._update()
        dropped = dict.fromkeys(self._study.arms, 0)
        for search in self._states.values():
            if search.planned is not None:
                dropped[search.arm] += self._per_search - len(search.planned)
        return {arm: number for arm, number in dropped.items() if number}

    def unbegun(self, arm: str) -> list[Entry]:
        """Return the confirmation trials of an arm that have not begun; only those of ended searches are known."""
        self._update()
        return [row for search in self._states.values() if search.arm == arm for row in search.unbegun.values()]

    def next_confirming(self) -> Entry | None:
        """Return the next confirmation trial, from the arm with the fewest begun ones; None if there is none now."""
        self._update()
        choices = []
        for place, (arm, queue) in enumerate(self._with_unbegun.items()):
            while queue and not self._states[arm, queue[0]].unbegun:
                heapq.heappop(queue)
            if queue:
                choices.append((self._n_planned_begun[arm], queue[0], place, arm))
        if not choices:
            return None
        _, index, _, arm = min(choices)
        return next(iter(self._states[arm, index].unbegun.values()))

    def _update(self) -> None:
        """Find the winners of searches that have ended, and count again where something has changed."""
        if self._study.confirm is None:
            self._changed.clear()
        for key in self.sorted(self._changed):
            search = self._states[key]
            n_living = search.n_running + len(search.paused)
            if search.planned is None and len(search.trials) >= self._trials_per_search and not n_living:
                self._plan(key, search)
            n_before, search.n_to_confirm = search.n_to_confirm, self._n_to_confirm_of(search)
            self._n_to_confirm += search.n_to_confirm - n_before
        self._changed.clear()

    def _plan(self, key: Search, search: SearchState) -> None:
        confirm = self._study.confirm
        assert confirm is not None
        best = winners(search.trials.values(), metric=self._study.metric, count=confirm.configs)
        search.planned = list(confirming(best, confirm))
        search.unbegun = {row.trial: row for row in search.planned if row.trial not in search.confirming}
        self._n_planned_begun[search.arm] += search.n_planned_begun
        heapq.heappush(self._with_unbegun[search.arm], search.index)
        self.ended.append(key)

    def _n_to_confirm_of(self, search: SearchState) -> int:
        if search.planned is not None:
            return len(search.unbegun)
        if not search.n_reopened:
            return self._per_search
        # what the search has lost is regained, and its winner with it: its confirmation trials stay
        return max(0, self._per_search - len(search.confirming))

    def _on_change(self, key: Search, search: SearchState) -> None:
        """Forget the winners of a search: a trial of it is new or has changed."""
        self._n_planned_begun[search.arm] -= search.n_planned_begun
        search.planned, search.unbegun = None, {}
        if search.paused and not search.n_running and len(search.trials) == self._trials_per_search:
            self.stuck.add(key)
        else:
            self.stuck.discard(key)
