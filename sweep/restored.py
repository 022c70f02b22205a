"""A sweep as its records have it: its trials with their curves, the rules that have judged them, and what is lost."""

from __future__ import annotations

import contextlib
import math
from abc import ABC
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from search_spaces.early_stopping.base import CONTINUE, PAUSE, STOP
from search_spaces.study import Study
from sweep.entry import End, Entry
from sweep.ledger import EPOCH_COLUMNS, Ledger, read_entries, read_tests
from sweep.lost import describe_trials, reopen
from sweep.proposals import Proposals
from sweep.records.errors import RecordsError
from sweep.records.schema import CANCELLED, COMPLETED, DIVERGED, FAILED, PAUSED, RUNNING, SEARCH, STOPPED
from sweep.remaining import RunningSweep
from trainables.errors import UserError


class RestoredSweep(RunningSweep, ABC):
    """State of a sweep from its records; trials whose values are lost run again, to the epoch at which they had ended.

    Attributes:
        study: the study that is run.
        entries: trials by name, approximately in the order of their start.
        training_s: seconds of all recorded epochs.
    """

    def __init__(
        self, study: Study, sweep_dir: Path, *, retry_failed: bool, repaired: bool, warn: Callable[[str], None]
    ) -> None:
        """Read the records of ``sweep_dir``; see :class:`sweep.conductor.Conductor`."""
        super().__init__(study)
        self.training_s = 0.0
        self._dir = sweep_dir
        self._warn = warn
        stopping, max_epochs = study.budget.early_stopping, study.budget.max_epochs
        self._rule = {search: stopping.build(max_epochs) for search in self.searches}
        self._ledger = Ledger(study, sweep_dir, repaired=repaired)
        self._proposals = Proposals(study, self.entries)
        self._decided = self._ledger.decisions()
        self._redecided: set[tuple[str, int]] = set()
        self._without_parameters: list[Entry] = []
        self._restore(retry_failed=retry_failed)

    @cached_property
    def _tests(self) -> dict[str, dict[str, float]]:
        return read_tests(self._dir)

    def _restore(self, *, retry_failed: bool) -> None:
        self.entries.update(
            (entry.trial, entry) for entry in read_entries(self._dir, self.study, retry_failed=retry_failed)
        )
        divided = []  # trials of one search that became several when they were to be confirmed
        for entry in self.entries.values():
            if entry.phase == SEARCH and entry.search != (search := self.study.search_of(entry.arm, entry.number)):
                entry.search = search
                divided.append(entry)
        for trial, rung_epochs in self._decided:
            if trial in self.entries:
                self.entries[trial].known_epochs = max(self.entries[trial].known_epochs, rung_epochs)
        for row in self._ledger.epochs():
            entry = self._recorded_entry(row["trial"])
            entry.known_epochs = max(entry.known_epochs, row["epoch"])
            entry.beyond[row["epoch"]] = {name: row[name] for name in EPOCH_COLUMNS}
            self.training_s += row["seconds"]
            self._join(entry)
        for entry in divided:
            self._ledger.add_trial(entry)
        for entry in self._without_parameters:
            with contextlib.suppress(UserError):  # base and arm alone may not make a configuration
                self._ledger.add_trial(entry)
        self._reopen_incomplete()

    def _join(self, entry: Entry) -> None:
        """Move the recorded epochs that follow a trial's last one to its curve, and judge them."""
        while (epoch := entry.epochs + 1) in entry.beyond:
            self.add_epoch(entry, epoch, entry.beyond.pop(epoch))
            self._judge(entry, epoch)

    def _reopen_incomplete(self) -> None:
        """Make trials run again of which the records have lost values, and those whose end is not recorded."""
        for entry in self.entries.values():
            lacks_parameters = entry.status == FAILED and not self._proposals.has_parameters(entry)
            if lacks_parameters or entry.status == CANCELLED:
                entry.known_epochs = entry.epochs  # nothing computes its lost epochs again
        lost = [entry.trial for entry in self.entries.values() if reopen(entry) or entry.is_behind]
        if lost:
            self._warn(f"the records lack values of {describe_trials(lost)}: they are computed again")
        self._warn_of_order()
        for entry in self.entries.values():
            if entry.status != RUNNING or entry.end is not None or entry.is_behind:
                continue
            end = self._end_of(entry)
            if end is None or (end.status == PAUSED and entry.resumed_at_epoch == entry.epochs):  # promoted already
                continue
            # a kill came between the last epoch and the row of its end
            entry.end, entry.known_epochs = end, entry.epochs
            entry.lacks_facts = end.status == COMPLETED or "device" not in entry.about

    def _warn_of_order(self) -> None:
        """Warn of searches of which epochs and decisions are lost: a decision depends on the epochs before it."""
        behind = {(row.arm, row.search) for row in self.entries.values() if row.phase == SEARCH and row.is_behind}
        gone = {
            (row.arm, row.search)
            for row in self.entries.values()
            if row.phase == SEARCH and (row.arm, row.search) in behind and self._lacks_decision(row)
        }
        for arm, search in sorted(behind & self._redecided | gone):
            self._warn(
                f"epochs and decisions of search {search} of arm {arm} are lost: its lost decisions are made again "
                "without the order of these epochs, and may differ"
            )

    def _lacks_decision(self, entry: Entry) -> bool:
        """Return whether a trial is behind at a rung for which no decision is recorded either."""
        rule = self._rule[entry.arm, entry.search]
        rungs = rule.rungs(self._index(entry)) if rule else []
        lost = [epoch for epoch in rungs if entry.epochs < epoch <= entry.known_epochs and epoch not in entry.beyond]
        return any((entry.trial, epoch) not in self._decided for epoch in lost)

    def _recorded_entry(self, trial: str) -> Entry:
        """Return the entry of a trial that has recorded epochs, also if its own row is lost.

        Raises:
            RecordsError: the study has no trial of this name.
        """
        if trial not in self.entries:
            entry = self._proposals.named(trial)
            if entry is None:
                raise RecordsError(
                    f"the records in '{self._dir}' have epochs of '{trial}', but the study has no such trial"
                )
            if entry.status == FAILED:
                self._warn(f"trial {trial} counts as failed: {entry.why}")
                self._without_parameters.append(entry)
            entry.tests = self._tests.get(trial, {})
            self.entries[trial] = entry
        return self.entries[trial]

    def _judge(self, entry: Entry, epoch: int) -> None:
        """Apply the rule to an epoch; a recorded decision on this epoch stays valid.

        A trial that a person stopped is no longer compared with others.
        """
        entry.verdict = CONTINUE
        if entry.phase != SEARCH or entry.status == CANCELLED:
            return
        rule, metric = self._rule[entry.arm, entry.search], self.study.metric
        judgement = rule and rule.observe(self._index(entry), epoch, entry.curve[epoch][metric])
        if not judgement:
            return
        self.by_search.to_promote.add((entry.arm, entry.search))
        decision: Mapping[Any, Any] | None = self._decided.pop((entry.trial, epoch), None)
        if decision is None:
            decision = self._ledger.add_decision(entry, judgement)
            if epoch <= entry.known_epochs:  # it was judged before, or a kill came before its judgement
                self._redecided.add((entry.arm, entry.search))
        entry.verdict = decision["verdict"]
        if entry.verdict in (STOP, PAUSE) and entry.status == RUNNING:
            entry.why = _why(metric, epoch, decision["value"], decision["cutoff"])

    def _index(self, entry: Entry) -> int:
        """Return the number by which the rule of a search knows its trial: the searches share no rung."""
        return self.study.index_in_search(entry.arm, entry.number)

    def _pause_epochs(self, entry: Entry) -> tuple[int, ...]:
        """Return the epochs after which the rule may pause a trial."""
        rule = self._rule[entry.arm, entry.search]
        if rule is None or entry.phase != SEARCH or entry.control:
            return ()
        return tuple(rule.pausing_rungs(self._index(entry)))

    def _end_of(self, entry: Entry) -> End | None:
        """Return how a trial ends after its last epoch; None if it continues.

        It ends if this epoch is not finite, is the last planned one, or has the verdict stop or pause.
        """
        if not entry.curve:
            return None
        last = entry.curve[entry.epochs]
        if not (math.isfinite(last["train_loss"]) and math.isfinite(last["val_nll"])):
            return End(DIVERGED, f"loss not finite in epoch {entry.epochs}")
        if entry.epochs >= self.study.max_epochs_of(entry.params):
            return End(COMPLETED, "")
        if entry.verdict in (STOP, PAUSE):
            return End(STOPPED if entry.verdict == STOP else PAUSED, entry.why)
        return None


def _why(metric: str, rung_epochs: int, value: float, cutoff: float | None) -> str:
    limit = "not finite" if cutoff is None or cutoff != cutoff else f"> {cutoff:.4g}"
    return f"{metric} {value:.4g} {limit} at epoch {rung_epochs}"
