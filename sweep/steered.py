"""A sweep that a person steers while it runs: trials are cancelled, the sweep is paused, its study grows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from search_spaces.study import Study
from sweep.choice import FOR_WHOLE_GPU, ChoosingSweep
from sweep.entry import Entry
from sweep.lost import describe_trials
from sweep.records.schema import CANCELLED, LIVING, SEARCH
from trainables.errors import UserError, did_you_mean


class SteeredSweep(ChoosingSweep, ABC):
    """A sweep whose course a person may change.

    A cancelled trial has ended: its worker stops it at its next report, and no rung, search, winner or verdict uses it.

    Attributes:
        max_trials: largest number of trials that run at the same time; None: as many as there are slots.
    """

    max_trials: int | None = None

    @abstractmethod
    def flush(self, *, force: bool = False) -> None:
        """Write the buffered rows."""

    def runs(self, trial: str) -> bool:
        """Return whether a worker runs a trial; one that was cancelled or set aside does not count."""
        return trial in self._running

    def has_paused(self, trial: str) -> bool:
        """Return whether a trial has begun, has not ended, and waits: it continues from its state."""
        return self.entries[trial].status in LIVING and not self.runs(trial)

    def may_run(self, trial: str) -> bool:
        """Return whether a trial that waits for a worker may get one: it has not ended, and is not one of too many."""
        return self.runs(trial) and not self._must_wait(self.entries[trial])

    @property
    def is_full(self) -> bool:
        """Whether no further trial may start now: the sweep is paused, or as many run as may."""
        return bool(self.paused) or (self.max_trials is not None and len(self._running) >= self.max_trials)

    def _must_wait(self, entry: Entry) -> bool:
        """Return whether a running trial gives its slot back after its epoch."""
        return bool(self._why_must_wait(entry))

    def _why_must_wait(self, entry: Entry) -> str:
        """Return why a running trial gives its slot back, "" if it need not: of too many trials, the last ones do."""
        if entry.needs_whole_gpu and not self.is_turn_of_whole_gpus:
            return FOR_WHOLE_GPU
        if self.paused:
            return f"paused {self.paused}"
        if self.max_trials is None or len(self._running) <= self.max_trials:
            return ""
        is_too_many = entry.trial in list(self._running)[self.max_trials :]
        return f"max_trials is {self.max_trials}" if is_too_many else ""

    def _set_aside(self, entry: Entry, why: str) -> None:
        """Make a running trial wait."""
        del self._running[entry.trial]
        self._wait(entry, why)

    def cancel_trial(self, trial: str, why: str) -> str:
        """End one trial, which may not have begun, and return what that means.

        Args:
            trial: name of the trial.
            why: who stopped it, and when.

        Raises:
            UserError: there is no such trial, it has ended, or it runs only to regain lost values.
        """
        entry = self.entries.get(trial) or self._unbegun(trial)
        if entry is None:
            raise UserError(
                f"trial '{trial}': the sweep has no such trial{did_you_mean(trial, self._proposals.names_like(trial))}"
            )
        if entry.status not in LIVING:
            raise UserError(f"trial '{trial}' has ended already: {entry.status}")
        self._check_not_regaining([entry])
        was_running = self.runs(trial)
        self._cancel([entry], why)
        ending = "its worker stops it at the end of its epoch" if was_running else "no worker runs it"
        return f"trial {trial} is cancelled after {_count(entry.epochs, 'epoch')}; {ending}"

    def cancel_arm(self, arm: str, why: str) -> str:
        """End all trials of an arm, also those that have not begun, and return what that means.

        Args:
            arm: name of the arm.
            why: who stopped it, and when.

        Raises:
            UserError: there is no such arm, nothing of it is left, or trials of it run only to regain lost values.
        """
        if arm not in self.study.arms:
            raise UserError(f"arm '{arm}': the sweep has no such arm{did_you_mean(arm, self.study.arms)}")
        living = [entry for entry in self.entries.values() if entry.arm == arm and entry.status in LIVING]
        self._check_not_regaining(living)
        n_running = sum(self.runs(entry.trial) for entry in living)
        begun = self.tally.numbers[arm]
        unbegun = [self._new_entry(arm, number) for number in range(self.study.trials_per_arm) if number not in begun]
        self._cancel([*living, *unbegun], why)
        confirming = self._cancel_confirmations(arm, why)
        n_cancelled = len(living) + len(unbegun) + confirming
        if not n_cancelled:
            raise UserError(f"arm '{arm}': all its trials have ended already")
        n_unbegun = len(unbegun) + confirming
        which = f"{n_unbegun} of them had not begun, and {n_running} end with their epoch"
        return f"arm {arm}: {_count(n_cancelled, 'trial')} cancelled; {which}"

    def _cancel_confirmations(self, arm: str, why: str) -> int:
        """End the confirmation trials of an arm that have not begun; return their number."""
        new = self.by_search.unbegun(arm)
        self._cancel(new, why)
        return len(new)

    def _cancel(self, entries: Iterable[Entry], why: str) -> None:
        judged = set()
        for entry in entries:
            if entry.trial not in self.entries:
                self.add(entry)
            if entry.phase == SEARCH and entry.curve:
                judged.add((entry.arm, entry.search))
            self._end(entry, CANCELLED, why)
        self.flush(force=True)
        self._judge_without_cancelled(judged)

    def _judge_without_cancelled(self, searches: set[tuple[str, int]]) -> None:
        """Build the rules of searches again without the epochs of cancelled trials; decisions stay as recorded."""
        stopping = self.study.budget.early_stopping
        rules = {search: stopping.build(self.study.budget.max_epochs) for search in searches}
        if not any(rules.values()):
            return
        self._rule.update(rules)
        self.by_search.to_promote.update(searches)
        for row in self._ledger.epochs():
            entry, epoch = self.entries[row["trial"]], row["epoch"]
            if entry.phase != SEARCH or entry.status == CANCELLED or epoch > entry.epochs:
                continue
            if rule := rules.get((entry.arm, entry.search)):
                rule.observe(self._index(entry), epoch, entry.curve[epoch][self.study.metric])

    def _unbegun(self, trial: str) -> Entry | None:
        """Return a trial that has not begun; None if the sweep has, or knows, no such trial yet."""
        arm, _, digits = trial.rpartition("-")
        if arm in self.study.arms and digits.isdecimal() and int(digits) < self.study.trials_per_arm:
            entry = self._new_entry(arm, int(digits))
            return entry if entry.trial == trial else None
        planned = (row for arm in self.study.arms for row in self.by_search.unbegun(arm))
        return next((row for row in planned if row.trial == trial), None)

    def _check_not_regaining(self, entries: Iterable[Entry]) -> None:
        """Check that no trial had ended before it was run again."""
        regaining = [entry.trial for entry in entries if entry.end is not None]
        if regaining:
            raise UserError(
                f"{describe_trials(regaining)}: ended before, and runs again only to regain values that the records "
                "lost; stop the whole sweep to end this"
            )

    def change_study(self, study: Study) -> None:
        """Continue with a study that contains every trial of the present one.

        Args:
            study: from ``search_spaces.extension.extended``.
        """
        self.study = study
        self._ledger.study = study
        self._proposals.study = study
        for search in self.searches:
            if search not in self._rule:
                self._rule[search] = study.budget.early_stopping.build(study.budget.max_epochs)
        self.recount()  # more trials: other winners may follow
        self._former = self._confirmed_winners()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
