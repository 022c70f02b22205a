"""The choice of the next trial of a sweep: interrupted, promoted, new or confirming."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from search_spaces.study import Study
from sweep.entry import Entry
from sweep.lost import reopen_without_model
from sweep.records.schema import PAUSED, RUNNING, SEARCH, STOPPED
from sweep.restored import RestoredSweep


class ChoosingSweep(RestoredSweep, ABC):
    """A sweep from its records that chooses which trial is next."""

    def __init__(
        self,
        study: Study,
        sweep_dir: Path,
        *,
        retry_failed: bool,
        regain_models: bool,
        repaired: bool,
        warn: Callable[[str], None],
    ) -> None:
        """Read the records of ``sweep_dir``; see :class:`sweep.conductor.Conductor`."""
        super().__init__(study, sweep_dir, retry_failed=retry_failed, repaired=repaired, warn=warn)
        if regain_models:
            for warning in reopen_without_model(sweep_dir, self.entries.values()):
                warn(warning)
        self._former = self._confirmed_winners()
        self._waiting = [entry for entry in self.entries.values() if entry.status == RUNNING]
        self._running: dict[str, Entry] = {}

    @property
    def running(self) -> list[Entry]:
        """Trials that a worker runs, in the order in which they were started or resumed."""
        return list(self._running.values())

    @property
    def may_go_on(self) -> bool:
        """Whether another job may follow, now or after further reports of running trials."""
        return bool(self._waiting or self._running or self.n_unbegun or self._next_confirming())

    @abstractmethod
    def _end(self, entry: Entry, status: str, why: str) -> None:
        """End a trial."""

    def _next_trial(self) -> Entry | None:
        """Return the next trial; None if there is none now.

        Interrupted trials come first, then paused trials that are promoted. Next come new trials, from the arm with
        the fewest begun trials, then confirmations of arms that have finished their search.
        """
        if entry := self._cut_short() or self._promoted():
            entry.resumed_at_epoch = entry.epochs
        elif entry := self._next_new() or self._next_confirming():
            self.entries[entry.trial] = entry
        return entry

    def _cut_short(self) -> Entry | None:
        """Return the next interrupted trial; those with lost epochs come first."""
        held = self._held()
        ready = [entry for entry in self._waiting if entry.is_behind or (entry.arm, entry.search) not in held]
        if not ready:
            return None
        entry = min(ready, key=lambda entry: not entry.is_behind)
        self._waiting.remove(entry)
        return entry

    def _held(self) -> set[tuple[str, int]]:
        """Return the searches whose other trials wait until lost epochs are regained.

        Their rule or ``tpe`` would decide without these epochs otherwise.
        """
        behind = [entry for entry in (*self._waiting, *self._running.values()) if entry.is_behind]
        searches = {(entry.arm, entry.search) for entry in behind if entry.phase == SEARCH}
        return {search for search in searches if self._rule[search] or self.study.search == "tpe"}

    def _promoted(self) -> Entry | None:
        paused, held = [entry for entry in self.entries.values() if entry.status == PAUSED], self._held()
        for search, rule in self._rule.items():
            if search in held:
                continue
            by_index = {self._index(entry): entry for entry in paused if (entry.arm, entry.search) == search}
            index = rule.promotable(by_index) if rule and by_index else None
            if index is not None:
                return by_index[index]
        return None

    def _next_new(self) -> Entry | None:
        """Return the next trial of the arm with the fewest begun trials, unless its search is held."""
        begun, held = self._proposals.begun(), self._held()
        for arm in sorted(begun, key=lambda name: len(begun[name])):
            number = self._proposals.next_in(arm, begun[arm])
            if number is not None and (arm, self.study.search_of(arm, number)) not in held:
                return self._proposals.new_entry(arm, number)
        return None

    def _next_confirming(self) -> Entry | None:
        """Return the next confirmation trial, from the arm with the fewest begun ones."""
        self._end_paused()
        begun = dict.fromkeys(self.study.arms, 0)
        left: dict[str, Entry] = {}
        for arm, search in self.searches:
            planned = self.confirming(arm, search) or []
            self._compare_winners(arm, search, planned)
            new = [entry for entry in planned if entry.trial not in self.entries]
            begun[arm] += len(planned) - len(new)
            if new:
                left.setdefault(arm, new[0])
        return left[min(left, key=lambda arm: begun[arm])] if left else None

    def _end_paused(self) -> None:
        """End the paused trials of each search in which no trial is left that could still promote them.

        A running trial could, even if it has lost its worker.
        """
        paused = {(entry.arm, entry.search) for entry in self.entries.values() if entry.status == PAUSED}
        for arm, search in self.searches:
            if (arm, search) not in paused:
                continue
            trials = self.trials_of(arm, search)
            if len(trials) == self.study.trials_per_search and not any(entry.status == RUNNING for entry in trials):
                for entry in trials:
                    if entry.status == PAUSED:
                        self._end(entry, STOPPED, f"{entry.why}, never promoted")

    def _confirmed_winners(self) -> dict[tuple[str, int], set[str]]:
        """Return the confirmed search trials by search."""
        former: dict[tuple[str, int], set[str]] = {}
        for entry in self.entries.values():
            if entry.confirms is not None:
                former.setdefault((entry.arm, entry.search), set()).add(entry.confirms)
        return former

    def _compare_winners(self, arm: str, search: int, planned: Sequence[Entry]) -> None:
        """Warn, once, if a search has other winners than those that were confirmed before this run."""
        if not planned or not (former := self._former.pop((arm, search), None)):
            return
        winners = sorted({entry.confirms or "" for entry in planned})
        if not former.issuperset(winners):
            self._warn(
                f"the winner of search {search} of arm {arm} is now {', '.join(winners)}, which is confirmed next; the "
                f"confirmation of {', '.join(sorted(former - set(winners)))} stays recorded"
            )
