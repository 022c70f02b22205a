"""The course of a sweep without Ray: which trial is next, what a report means, what is recorded.

The records are the only state: a conductor that is built on the records of an interrupted sweep continues it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.early_stopping.base import CONTINUE, PAUSE, STOP
from search_spaces.study import Study
from sweep.entry import Entry
from sweep.ledger import EPOCH_COLUMNS, Ledger, read_entries
from sweep.records.errors import RecordsError
from sweep.records.schema import (
    ABOUT_COLUMNS,
    COMPLETED,
    DIVERGED,
    FAILED,
    LIVING,
    PAUSED,
    RUNNING,
    SEARCH,
    STOPPED,
)
from sweep.remaining import RunningSweep
from sweep.search import PastTrial, propose
from trainables.config import TrialConfig
from trainables.faults import TRIAL, WORKER

MAX_LOST_WORKERS = 3
"""Number of times that a trial may lose its worker (a dead node, memory exhausted) before its status is failed."""


@dataclass(frozen=True)
class Job:
    """One trial to start or resume.

    Attributes:
        trial: name of the trial: arm and number.
        config: whole configuration of the trial.
        recorded_epochs: number of epochs that are already recorded; the trial reports from the next epoch on.
        test: whether the trial is measured on the test images after its last epoch.
    """

    trial: str
    config: TrialConfig
    recorded_epochs: int
    test: bool


class Conductor(RunningSweep):
    """Source of the trials of a sweep: it chooses the next one, judges the reports and writes the records.

    The arms take turns, and so do the searches of an arm. After a search, its winners are confirmed on fresh seeds if
    the study says so.

    Attributes:
        study: the study that is run.
        entries: trials by name, approximately in the order of their start.
        ended: trials that have ended since this conductor was made, in the order of their ends.
        training_s: seconds of all recorded epochs.
    """

    def __init__(self, study: Study, sweep_dir: Path, *, retry_failed: bool = False) -> None:
        """Begin a sweep in ``sweep_dir``, or continue the sweep whose records are there.

        With ``retry_failed``, failed trials are restarted too.

        Raises:
            RecordsError: a newer program wrote the records, or they have trials that the study does not have.
        """
        super().__init__(study)
        self.training_s = 0.0
        self._dir = sweep_dir
        stopping, max_epochs = study.budget.early_stopping, study.budget.max_epochs
        self._rule = {search: stopping.build(max_epochs) for search in self.searches}
        self._ledger = Ledger(study, sweep_dir)
        self._decided = self._ledger.decisions()
        self._restore(retry_failed=retry_failed)
        self._waiting = [entry for entry in self.entries.values() if entry.status == RUNNING]
        self._running: dict[str, Entry] = {}
        self._n_left_behind: Counter[str] = Counter()
        for entry in self._waiting.copy():
            if entry.verdict != PAUSE or entry.resumed_at_epoch != entry.epochs:  # otherwise it is already promoted
                self._finish_if_over(entry)
        self.flush(force=True)
        for entry in self.entries.values():
            self._ledger.drop_checkpoint(entry)  # a kill may have come between the row and the removal

    @property
    def running(self) -> list[Entry]:
        """Trials that a worker runs, in the order in which they were started or resumed."""
        return list(self._running.values())

    @property
    def may_go_on(self) -> bool:
        """Whether another job may follow, now or after further reports of running trials."""
        return bool(self._waiting or self._running or self.n_unbegun or self._next_confirming())

    def next_job(self) -> Job | None:
        """Return the next trial to run; None if there is none now.

        Interrupted trials come first, then paused trials that are promoted. Next come new trials, from the arm with
        the fewest begun trials, then confirmations of arms that have finished their search.
        """
        if entry := self._cut_short() or self._promoted():
            entry.resumed_at_epoch = entry.epochs
        elif entry := self._next_new() or self._next_confirming():
            self.entries[entry.trial] = entry
        else:
            return None
        entry.status, entry.why, entry.fault = RUNNING, "", None
        entry.attempts += 1
        self._running[entry.trial] = entry
        self._ledger.add_trial(entry)
        self.flush(force=not self._follows_from_its_number(entry))
        planned, confirms = self.study.max_epochs_of(entry.params), entry.confirms is not None
        # if a kill lost the test values of a trial, the trial reports its last epoch again
        return Job(entry.trial, self._ledger.config(entry), min(entry.epochs, planned - 1), test=confirms)

    def _follows_from_its_number(self, entry: Entry) -> bool:
        """Return whether a trial that a kill loses from the records can be proposed again unchanged.

        All other trials, and the rows that they depend on, are on disk before they run.
        """
        return entry.phase == SEARCH and entry.attempts == 1 and self.study.search != "tpe"

    def _cut_short(self) -> Entry | None:
        return self._waiting.pop(0) if self._waiting else None

    def _promoted(self) -> Entry | None:
        paused = [entry for entry in self.entries.values() if entry.status == PAUSED]
        for search, rule in self._rule.items():
            by_index = {self._index(entry): entry for entry in paused if (entry.arm, entry.search) == search}
            index = rule.promotable(by_index) if rule and by_index else None
            if index is not None:
                return by_index[index]
        return None

    def _index(self, entry: Entry) -> int:
        """Return the number by which the rule of a search knows its trial: the searches share no rung."""
        return self.study.index_in_search(entry.arm, entry.number)

    def _next_new(self) -> Entry | None:
        begun = self._n_begun()
        arm = min(begun, key=lambda name: begun[name])
        return self._new_entry(arm, begun[arm]) if begun[arm] < self.study.trials_per_arm else None

    def _n_begun(self) -> dict[str, int]:
        """Return the number of search trials that have begun, by arm."""
        begun = dict.fromkeys(self.study.arms, 0)
        for entry in self.entries.values():
            begun[entry.arm] += entry.phase == SEARCH
        return begun

    def _next_confirming(self) -> Entry | None:
        """Return the next confirmation trial, from the arm with the fewest begun ones."""
        self._end_paused()
        begun = dict.fromkeys(self.study.arms, 0)
        left: dict[str, Entry] = {}
        for arm, search in self.searches:
            planned = self.confirming(arm, search) or []
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

    def on_report(self, trial: str, report: Mapping[str, Any]) -> bool:
        """Record the report of a trial; return whether the trial ends here.

        A report has one of three forms:

        - ``EPOCH_COLUMNS`` and ``ABOUT_COLUMNS``; after the last epoch of a confirmation also ``test``, the test values
          as JSON;
        - ``failed``: the reason; ``fault``: its kind, by default ``trial``; ``node`` if it is known;
        - ``disk_fault``: number, message and file of an error that would stop every other trial too.

        A restarted trial repeats epochs; recorded epochs are not recorded again.

        Raises:
            OSError: the report has a disk fault.
        """
        entry = self.entries[trial]
        if "disk_fault" in report:
            raise OSError(*report["disk_fault"])
        if "failed" in report:
            if "node" in report:
                entry.about["node"] = report["node"]
            self._end(entry, FAILED, report["failed"], fault=report.get("fault", TRIAL))
            return True
        if "test" in report and not entry.tested:
            self._ledger.add_test(entry, json.loads(report["test"]))
        epoch = report["epoch"]
        if epoch <= entry.epochs:
            if entry.tested and entry.status == RUNNING:
                self._finish_if_over(entry)
            return entry.status != RUNNING
        entry.curve[epoch] = {name: report[name] for name in EPOCH_COLUMNS}
        entry.about = {name: report[name] for name in ABOUT_COLUMNS}
        self.training_s += report["seconds"]
        self._ledger.add_epoch(entry, epoch)
        self._judge(entry, epoch)
        self._finish_if_over(entry)
        self.flush()
        return entry.status != RUNNING

    def on_restart(self, trial: str) -> None:
        """Record that a trial has lost its worker and restarts from its last checkpoint."""
        entry = self.entries[trial]
        entry.attempts += 1
        entry.resumed_at_epoch = entry.epochs
        self._ledger.add_trial(entry)

    def on_lost(self, trial: str, why: str, *, fault: str = WORKER) -> None:
        """Record that a trial has failed, because it lost its worker too often; ``fault`` is the last cause."""
        if self.entries[trial].status == RUNNING:
            self._end(self.entries[trial], FAILED, why, fault=fault)

    def on_left(self, trial: str) -> None:
        """Queue a trial again whose worker died before it took the trial over; after several such deaths it fails."""
        entry = self._running.pop(trial, None)
        if entry is None:
            return
        self._n_left_behind[trial] += 1
        if self._n_left_behind[trial] > MAX_LOST_WORKERS:
            n_deaths = self._n_left_behind[trial]
            self._end(entry, FAILED, f"its worker died {n_deaths} times before it began the trial", fault=WORKER)
        else:
            self._waiting.append(entry)

    def flush(self, *, force: bool = False) -> None:
        """Write the buffered rows if they have waited long enough or ``force`` is set."""
        self._ledger.flush(force=force)

    def _judge(self, entry: Entry, epoch: int) -> None:
        """Apply the rule to an epoch; a recorded decision on this epoch stays valid."""
        entry.verdict = CONTINUE
        if entry.phase != SEARCH:
            return
        rule, metric = self._rule[entry.arm, entry.search], self.study.metric
        judgement = rule and rule.observe(self._index(entry), epoch, entry.curve[epoch][metric])
        if not judgement:
            return
        decision: Mapping[Any, Any] | None = self._decided.pop((entry.trial, epoch), None)
        if decision is None:
            decision = self._ledger.add_decision(entry, judgement)
        entry.verdict = decision["verdict"]
        if entry.verdict in (STOP, PAUSE) and entry.status == RUNNING:
            entry.why = _why(metric, epoch, decision["value"], decision["cutoff"])

    def _finish_if_over(self, entry: Entry) -> None:
        """End the trial if its last epoch is not finite, is the last planned one, or has the verdict stop or pause."""
        if not entry.curve:
            return
        last = entry.curve[entry.epochs]
        if not (math.isfinite(last["train_loss"]) and math.isfinite(last["val_nll"])):
            self._end(entry, DIVERGED, f"loss not finite in epoch {entry.epochs}")
        elif entry.epochs >= self.study.max_epochs_of(entry.params):
            if entry.phase == SEARCH or entry.tested:
                self._end(entry, COMPLETED, "")
        elif entry.verdict in (STOP, PAUSE):
            self._end(entry, STOPPED if entry.verdict == STOP else PAUSED, entry.why)

    def _end(self, entry: Entry, status: str, why: str, *, fault: str | None = None) -> None:
        entry.status, entry.why, entry.fault = status, why, fault
        self._running.pop(entry.trial, None)
        if entry in self._waiting:
            self._waiting.remove(entry)
        if status not in LIVING:
            self.ended.append(entry)
        self._ledger.end(entry)

    def _new_entry(self, arm: str, number: int) -> Entry:
        past, search = [], self.study.search_of(arm, number)
        if self.study.search == "tpe":  # the other searches do not use past trials
            trials = sorted(self.trials_of(arm, search), key=lambda entry: entry.number)
            past = [self._past(entry) for entry in trials]
        return Entry(
            trial=f"{arm}-{number:04d}",
            arm=arm,
            search=search,
            number=number,
            replicate=self.study.replicate(arm, number),
            control=self.study.is_control(arm, number),
            params=propose(self.study, arm, number, past),
        )

    def _past(self, entry: Entry) -> PastTrial:
        return PastTrial(
            params=entry.params,
            values={epoch: row[self.study.metric] for epoch, row in entry.curve.items()},
            completed=entry.status == COMPLETED,
            ended=entry.status not in LIVING,
        )

    def _restore(self, *, retry_failed: bool) -> None:
        self.entries.update(
            (entry.trial, entry) for entry in read_entries(self._dir, self.study, retry_failed=retry_failed)
        )
        divided = []  # trials of one search that became several when they were to be confirmed
        for entry in self.entries.values():
            if entry.phase == SEARCH and entry.search != (search := self.study.search_of(entry.arm, entry.number)):
                entry.search = search
                divided.append(entry)
        for row in self._ledger.epochs():
            entry = self._entry_of(row["trial"], row["arm"])
            if row["epoch"] == entry.epochs + 1:
                entry.curve[row["epoch"]] = {name: row[name] for name in EPOCH_COLUMNS}
                self.training_s += row["seconds"]
                self._judge(entry, row["epoch"])
        for entry in divided:
            self._ledger.add_trial(entry)

    def _entry_of(self, trial: str, arm: str) -> Entry:
        """Return the entry of a trial that has recorded epochs.

        If a kill lost the trial's own row, the trial and the arm's trials before it are proposed again.

        Raises:
            RecordsError: the study has no trial of this name.
        """
        while trial not in self.entries:
            if self._n_begun()[arm] >= self.study.trials_per_arm:
                raise RecordsError(
                    f"the records in '{self._dir}' have epochs of '{trial}', but the study has no such trial"
                )
            entry = self._new_entry(arm, self._n_begun()[arm])
            entry.attempts = 1
            self.entries[entry.trial] = entry
        return self.entries[trial]


def _why(metric: str, rung_epochs: int, value: float, cutoff: float | None) -> str:
    limit = "not finite" if cutoff is None or cutoff != cutoff else f"> {cutoff:.4g}"
    return f"{metric} {value:.4g} {limit} at epoch {rung_epochs}"
