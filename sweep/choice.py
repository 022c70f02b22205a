"""The choice of the next trial of a sweep: interrupted, promoted, new or confirming."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from search_spaces.resources import Resources
from search_spaces.study import Study
from sweep.entry import Entry
from sweep.interrupted import HeldSearches, InterruptedTrials
from sweep.lost import reopen_without_model
from sweep.records.schema import PAUSED, RUNNING, STOPPED, WAITS
from sweep.restored import RestoredSweep
from sweep.search_state import Search

FOR_WHOLE_GPU = "for a whole GPU, after the other trials"
"""Why a trial waits that does not fit beside others on a GPU."""


class ChoosingSweep(RestoredSweep, ABC):
    """A sweep from its records that chooses which trial is next.

    All workers of a run of Tune have equal resources. So the trials that need a whole GPU have turns of their own,
    after all other trials that can run.

    Attributes:
        is_turn_of_whole_gpus: whether the trials are handed out that need a whole GPU.
    """

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
        self.recount()
        self._former = self._confirmed_winners()
        interrupted = [entry for entry in self.entries.values() if entry.status == RUNNING]
        self._waiting = InterruptedTrials(interrupted)
        self._held = HeldSearches(interrupted, lambda search: bool(self._rule[search]) or study.search == "tpe")
        self._running: dict[str, Entry] = {}
        self.is_turn_of_whole_gpus = False
        self._has_only_others = False  # nothing runs, and no trial of this turn is left

    @property
    def running(self) -> list[Entry]:
        """Trials that a worker runs, in the order in which they were started or resumed."""
        return list(self._running.values())

    @property
    def may_go_on(self) -> bool:
        """Whether another job may follow in this turn, now or after further reports of running trials."""
        if self.is_turn_of_whole_gpus:
            return bool(self._waiting.n_with_whole_gpu or self._running)
        if self._has_only_others and self._waiting.n_with_whole_gpu:
            return False
        return bool(self._waiting or self._running or self.n_unbegun or self._next_confirming())

    @property
    def resources(self) -> Resources:
        """What each trial of this turn occupies while it runs."""
        resources = self.study.resources
        return resources.with_whole_gpus() if self.is_turn_of_whole_gpus else resources

    def begin_next_turn(self) -> bool:
        """Begin the turn of the other trials, after the trials of this turn; return whether trials may be left for it.

        After a turn of whole GPUs, paused trials may be promoted: :meth:`next_job` looks for them.
        """
        was, self._has_only_others = self.is_turn_of_whole_gpus, False
        self.is_turn_of_whole_gpus = not was and bool(self._waiting.n_with_whole_gpu)
        return was != self.is_turn_of_whole_gpus and self.n_left > 0

    @abstractmethod
    def _end(self, entry: Entry, status: str, why: str) -> None:
        """End a trial."""

    def _next_trial(self) -> Entry | None:
        """Return the next trial; None if there is none now.

        Interrupted trials come first, then paused trials that are promoted. Next come new trials, from the arm with
        the fewest begun trials, then confirmations of arms that have finished their search.
        """
        if self.is_turn_of_whole_gpus:
            entry = self._waiting.pop_next_with_whole_gpu(self._held)
        else:
            entry = self._waiting.pop_next(self._held) or self._promoted()
        if entry is not None:
            entry.resumed_at_epoch = entry.epochs
        elif not self.is_turn_of_whole_gpus and (entry := self._next_new() or self._next_confirming()):
            self.add(entry)
        return entry

    def _wait(self, entry: Entry, why: str) -> None:
        """Queue a trial that has begun; it continues from its checkpoint. A kill changes nothing: it is interrupted."""
        self._waiting.add(entry)
        if entry.end is None:
            entry.why = f"{WAITS}: {why}"
            self._ledger.add_trial(entry)
            entry.why = ""

    def _promoted(self) -> Entry | None:
        """Return the next paused trial that continues; those that need a whole GPU are queued."""
        while (entry := self._next_promoted()) is not None and entry.needs_whole_gpu:
            entry.resumed_at_epoch = entry.epochs  # after a kill, it is known to be promoted
            self.set_status(entry, RUNNING)
            self._wait(entry, FOR_WHOLE_GPU)
        return entry

    def _next_promoted(self) -> Entry | None:
        """Return the next paused trial that continues, from a search in which something has changed."""
        to_promote = self.by_search.to_promote
        for search in self.by_search.sorted(to_promote):
            if search in self._held:
                continue
            rule, paused = self._rule[search], self.by_search[search].paused
            index = rule.promotable(paused.keys()) if rule and paused else None
            if index is not None:
                return paused[index]
            to_promote.discard(search)
        return None

    def _next_new(self) -> Entry | None:
        """Return the next trial of the arm with the fewest begun trials, unless its search is held."""
        n_trials, numbers = self.study.trials_per_arm, self.tally.numbers
        for arm in sorted(numbers, key=lambda name: len(numbers[name])):
            number = numbers[arm].lowest_new
            if number < n_trials and (arm, self.study.search_of(arm, number)) not in self._held:
                return self._new_entry(arm, number)
        return None

    def _new_entry(self, arm: str, number: int) -> Entry:
        """Return a search trial that has not begun, with its parameters."""
        past = self.by_search[arm, self.study.search_of(arm, number)].trials.values()
        return self._proposals.new_entry(arm, number, past)

    def _next_confirming(self) -> Entry | None:
        """Return the next confirmation trial, from the arm with the fewest begun ones."""
        self._end_paused()
        entry = self.by_search.next_confirming()
        self._compare_winners()
        return entry

    def _end_paused(self) -> None:
        """End the paused trials of each search in which no trial is left that could still promote them.

        A running trial could, even if it has lost its worker.
        """
        for search in self.by_search.sorted(self.by_search.stuck):
            for entry in list(self.by_search[search].trials.values()):
                if entry.status == PAUSED:
                    self._end(entry, STOPPED, f"{entry.why}, never promoted")

    def _confirmed_winners(self) -> dict[Search, set[str]]:
        """Return the confirmed search trials by search."""
        former: dict[Search, set[str]] = {}
        for entry in self.entries.values():
            if entry.confirms is not None:
                former.setdefault((entry.arm, entry.search), set()).add(entry.confirms)
        return former

    def _compare_winners(self) -> None:
        """Warn, once, if a search has other winners than those that were confirmed before this run."""
        for arm, search in self.by_search.ended:
            planned = self.by_search[arm, search].planned
            if not planned or not (former := self._former.pop((arm, search), None)):
                continue
            winners = sorted({entry.confirms or "" for entry in planned})
            if not former.issuperset(winners):
                self._warn(
                    f"the winner of search {search} of arm {arm} is now {', '.join(winners)}, which is confirmed next; "
                    f"the confirmation of {', '.join(sorted(former - set(winners)))} stays recorded"
                )
        self.by_search.ended.clear()
