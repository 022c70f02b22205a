"""The course of a sweep without Ray: which trial is next, what a report means, what is recorded.

The records are the only state: a conductor that is built on the records of an interrupted sweep continues it.
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.study import Study
from sweep.choice import FOR_WHOLE_GPU
from sweep.entry import Entry
from sweep.formats import reason_in_one_line
from sweep.ledger import EPOCH_COLUMNS
from sweep.losses import COUNTED, MAX_LOSSES, MAX_LOST_WORKERS, Loss, describe_too_large
from sweep.lost import find_difference
from sweep.nodes import Nodes
from sweep.records.schema import (
    ABOUT_COLUMNS,
    CANCELLED,
    COMPLETED,
    CONFIRM,
    FAILED,
    GPU_OUT_OF_MEMORY,
    LIVING,
    LOSSES,
    RUNNING,
    SEARCH,
)
from sweep.steered import SteeredSweep
from trainables.config import TrialConfig
from trainables.faults import MEMORY, TRIAL


@dataclass(frozen=True)
class Job:
    """One trial to start or resume.

    Attributes:
        trial: name of the trial: arm and number.
        config: whole configuration of the trial.
        recorded_epochs: number of epochs that are already recorded; the trial reports from the next epoch on.
        last_epoch: last epoch to report; if it is recorded, the trial reports only what it knows about itself.
        test: whether the trial is measured on the test images after its last epoch.
        model_sha256: recorded checksum of the trial's model, which is not replaced while it is intact; None if none is
            recorded.
        pause_epochs: epochs before whose report the state must be written: the trial may pause there, and continue on
            another worker.
    """

    trial: str
    config: TrialConfig
    recorded_epochs: int
    last_epoch: int
    test: bool
    model_sha256: str | None = None
    pause_epochs: tuple[int, ...] = ()


class Conductor(SteeredSweep):
    """Source of the trials of a sweep: it chooses the next one, judges the reports and writes the records.

    The arms take turns, and so do the searches of an arm. After a search, its winners are confirmed on fresh seeds if
    the study says so.

    Attributes:
        ended: trials that have ended since this conductor was made, in the order of their ends.
        nodes: nodes of this run, and which of them can run trials.
        not_regained: names of trials that had ended, lack epochs, and have failed when these were computed again.
    """

    def __init__(
        self,
        study: Study,
        sweep_dir: Path,
        *,
        retry_failed: bool = False,
        regain_models: bool = False,
        repaired: bool = False,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Begin a sweep in ``sweep_dir``, or continue the sweep whose records are there.

        Trials whose values are lost from the records are run again, to the epoch at which they had ended.

        Args:
            study: the study that is run.
            sweep_dir: folder of the sweep.
            retry_failed: whether failed trials are restarted too.
            regain_models: whether completed trials are run again whose model is damaged or missing.
            repaired: whether the records were repaired just now: otherwise they are repaired first.
            warn: receives one line for each thing that was lost, and for each value that differs when it is regained.

        Raises:
            RecordsError: a newer program wrote the records, or they have trials that the study does not have.
        """
        super().__init__(
            study, sweep_dir, retry_failed=retry_failed, regain_models=regain_models, repaired=repaired, warn=warn
        )
        self.nodes = Nodes()
        self.not_regained: list[str] = []
        self._n_lost: Counter[tuple[str, str]] = Counter()  # losses of a worker in this run, by trial and kind
        self._differing: set[str] = set()
        for entry in list(self._waiting):
            if entry.end is not None:
                self._finish_if_over(entry)
        self.flush(force=True)
        self.drop_checkpoints()  # a kill may have come between a row and the removal

    def drop_checkpoints(self) -> None:
        """Remove the states of trials that will not continue; the worker of a trial that was stopped may write one."""
        self._ledger.drop_checkpoints(self.entries)

    def next_job(self) -> Job | None:
        """Return the next trial to run; None if there is none now."""
        if self.is_full:
            return None
        entry = self._next_trial()
        self._has_only_others = entry is None and not self._running
        if entry is None:
            return None
        self.set_status(entry, RUNNING, end=entry.end)
        entry.attempts += 1
        self._running[entry.trial] = entry
        self.nodes.on_start(entry.trial)
        self._record_start(entry)
        self.flush(force=not self._follows_from_its_number(entry))
        last_epoch = entry.known_epochs if entry.end else self.study.max_epochs_of(entry.params)
        confirms, config = entry.confirms is not None, self._ledger.config(entry)
        pauses = self._pause_epochs(entry)
        return Job(entry.trial, config, entry.epochs, last_epoch, confirms, entry.model_sha256, pauses)

    def _record_start(self, entry: Entry) -> None:
        """Write that a trial runs; the row of a trial that regains what is lost stays until it has ended again."""
        if entry.end is None:
            self._ledger.add_trial(entry)

    def _follows_from_its_number(self, entry: Entry) -> bool:
        """Return whether a trial that a kill loses from the records can be proposed again unchanged.

        All other trials, and the rows that they depend on, are on disk before they run.
        """
        return entry.phase == SEARCH and entry.attempts == 1 and self.study.search != "tpe"

    def on_report(self, trial: str, report: Mapping[str, Any]) -> bool:
        """Record the report of a trial; return whether the trial ends here.

        A report has one of four forms:

        - ``EPOCH_COLUMNS`` and ``ABOUT_COLUMNS``; after the last epoch also ``model_sha256``, and for a confirmation
          ``test``, the test values as JSON; without an epoch if all epochs are recorded;
        - ``failed``: the reason; ``fault``: its kind, by default ``trial``; ``node`` and ``node_id`` if known;
        - ``out_of_memory``: an error that says that the GPU has no memory left; ``node`` and ``node_id``;
        - ``unfit``: why the node cannot run trials; ``node`` and ``node_id``;
        - ``disk_fault``: number, message and file of an error that would stop every other trial too.

        Each of them may have a ``warning``. If the node may be at fault, the trial is queued again. A trial that ran
        out of GPU memory runs again after the other trials, alone on its GPU, and only then it has failed. A restarted
        trial repeats epochs; recorded epochs are not recorded again, but compared with the records.

        Raises:
            OSError: the report has a disk fault.
        """
        entry = self.entries[trial]
        if "warning" in report:
            self._warn(report["warning"])
        if "disk_fault" in report:
            raise OSError(*report["disk_fault"])
        if entry.status != RUNNING or trial in self.not_regained:
            if entry.status == CANCELLED:
                self._ledger.drop_checkpoint(entry)  # its worker has saved one more state
            return True
        if "failed" in report:
            self._on_failure(entry, report)
            return True
        if "out_of_memory" in report:
            self._on_out_of_memory(entry, report)
            return True
        if "unfit" in report:
            self._on_unfit(entry, report)
            return True
        self._receive(entry, report)
        self.nodes.on_report(trial, *_node_of(report))
        if entry.status == RUNNING and (why := self._why_must_wait(entry)):
            self._set_aside(entry, why)
        self.flush()
        return not self.runs(trial)

    def _on_failure(self, entry: Entry, report: Mapping[str, Any]) -> None:
        """End a trial that has failed, or queue it again if its node may be at fault."""
        why, fault = report["failed"], report.get("fault", TRIAL)
        if "node" in report:
            node_id, name = _node_of(report)
            entry.about["node"] = name
            if not self.nodes.on_failure(entry.trial, node_id, name, fault=fault, why=why):
                self.put_back(
                    entry.trial, f"failed on node '{name}' and is tried on another one: {reason_in_one_line(why)}"
                )
                return
        self._fail(entry, why, fault)

    def _on_out_of_memory(self, entry: Entry, report: Mapping[str, Any]) -> None:
        """Queue a trial that does not fit on its GPU for a whole one; end it if it had a whole one."""
        _, node = _node_of(report)
        entry.about["node"] = node
        entry.losses[GPU_OUT_OF_MEMORY] = entry.losses.get(GPU_OUT_OF_MEMORY, 0) + 1
        if self.is_turn_of_whole_gpus:
            self._fail(entry, describe_too_large(report["out_of_memory"]), MEMORY)
            return
        loss = Loss(GPU_OUT_OF_MEMORY, MEMORY, node)
        self.lost.append(f"{entry.trial} {loss.describe_restart(entry.epochs)}")
        self._set_aside(entry, FOR_WHOLE_GPU)

    def _on_unfit(self, entry: Entry, report: Mapping[str, Any]) -> None:
        """Queue a trial again that was on a node that cannot run trials.

        Raises:
            FileNotFoundError: the driver does not see the folder of the sweep either.
        """
        if not self._dir.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._dir))
        self.put_back(entry.trial, f"left node '{report['node']}': {report['unfit']}")
        self.nodes.set_unfit(*_node_of(report), report["unfit"])

    def put_back(self, trial: str, why: str = "") -> None:
        """Queue a running trial again; nothing of it is lost, and it is no failure."""
        if entry := self._running.get(trial):
            self._set_aside(entry, self._why_must_wait(entry) or why or "for another node")
        if why:
            self._warn(f"trial {trial} {why}")

    def _receive(self, entry: Entry, report: Mapping[str, Any]) -> None:
        if "test" in report:
            test = json.loads(report["test"])
            self._compare(entry, "its test values", entry.tests, test["metrics"])
            self._ledger.add_test(entry, test)
        if sha256 := report.get("model_sha256"):
            if entry.model_sha256 is not None:
                self._compare(entry, "its model", {"sha256": entry.model_sha256}, {"sha256": sha256})
            entry.model_sha256 = sha256
        epoch = report.get("epoch")
        if epoch is not None and epoch <= entry.epochs:
            self._compare(entry, f"epoch {epoch}", entry.curve[epoch], report)
            if entry.end is None:
                return
        if epoch is None or epoch >= entry.known_epochs:
            entry.lacks_facts = False
        entry.about = {name: report[name] for name in ABOUT_COLUMNS}
        if epoch is not None and epoch > entry.epochs:
            self.add_epoch(entry, epoch, {name: report[name] for name in EPOCH_COLUMNS})
            self.training_s += report["seconds"]
            self._ledger.add_epoch(entry, epoch)
            self._judge(entry, epoch)
            self._join(entry)
            if not entry.is_behind:
                self._held.release(entry)
        self._finish_if_over(entry)

    def _compare(self, entry: Entry, what: str, recorded: Mapping[str, Any], again: Mapping[str, Any]) -> None:
        """Warn, once per trial, if a value that was computed again differs from the recorded one."""
        difference = find_difference(recorded, again)
        if difference and entry.trial not in self._differing:
            self._differing.add(entry.trial)
            self._warn(
                f"trial {entry.trial}: {what} was computed again and differs: {difference}; another machine or library "
                "computes other values; recorded values are kept"
            )

    def _fail(self, entry: Entry, why: str, fault: str) -> None:
        """End a trial that has failed; a trial that regains what is lost keeps its recorded end.

        If it still lacks epochs, no value of it can be used: it stays reopened, and is run again when the sweep is
        resumed.
        """
        if entry.end is None or (entry.is_behind and entry.end.status == FAILED):
            self._end(entry, FAILED, why, fault)
            return
        warning = f"trial {entry.trial} could not regain what is lost: {why.splitlines()[-1] if why else 'no reason'}"
        if entry.is_behind:
            self._warn(f"{warning}; its recorded end stays ({entry.end.status}), and resume runs it again")
            self.not_regained.append(entry.trial)
            self._running.pop(entry.trial, None)
            self._held.release(entry)
        else:
            self._warn(warning)
            self._leave(entry, entry.end.status, entry.end.why, entry.end.fault)

    def on_restart(self, trial: str) -> None:
        """Record that a trial has lost its worker and restarts from its last checkpoint."""
        entry = self.entries[trial]
        if not self.runs(trial):  # cancelled
            return
        entry.attempts += 1
        entry.resumed_at_epoch = entry.epochs
        self.nodes.on_start(trial)
        self._record_start(entry)

    def on_loss(self, trial: str, loss: Loss) -> None:
        """Count that a trial has lost its worker; end the trial if this was too often in this run.

        The kind may be known only after the trial runs on another worker, or has ended.
        """
        entry = self.entries[trial]
        self.add_loss(entry, loss.kind)
        self._n_lost[trial, loss.kind] += 1
        self.lost.append(f"{trial} {loss.describe_restart(entry.epochs)}")
        n_counted = sum(self._n_lost[trial, kind] for kind in COUNTED)
        n_all = sum(self._n_lost[trial, kind] for kind in LOSSES)
        if entry.status == RUNNING and trial not in self.not_regained:
            if n_counted > MAX_LOST_WORKERS or n_all > MAX_LOSSES:
                if loss.node:
                    entry.about["node"] = loss.node
                n_lost = n_counted if n_counted > MAX_LOST_WORKERS else n_all
                self._fail(entry, f"its worker was lost {n_lost} times: {loss.reason}", loss.fault)
                return
            entry.why = loss.describe_restart(entry.epochs)
            self._record_start(entry)
            entry.why = ""
        elif entry.end is None:
            self._ledger.add_trial(entry)
            entry.config = None

    def flush(self, *, force: bool = False) -> None:
        """Write the buffered rows if they have waited long enough or ``force`` is set."""
        self._ledger.flush(force=force)

    @property
    def flush_s(self) -> float:
        """Duration of the last write of the records, seconds; 0 before it."""
        return self._ledger.flush_s

    def _finish_if_over(self, entry: Entry) -> None:
        """End the trial where its records say that it ended, otherwise where its curve or its rule says so."""
        end = entry.end or self._end_of(entry)
        if end is None or entry.is_behind or entry.lacks_facts:
            return
        if end.status == COMPLETED and entry.phase == CONFIRM and not entry.tested:
            return
        self._end(entry, end.status, end.why, end.fault)

    def _end(self, entry: Entry, status: str, why: str, fault: str | None = None) -> None:
        self._leave(entry, status, why, fault)
        if status not in LIVING:
            self.ended.append(entry)
        self._ledger.end(entry)

    def _leave(self, entry: Entry, status: str, why: str, fault: str | None = None) -> None:
        self.set_status(entry, status, why, fault)
        self._running.pop(entry.trial, None)
        self._waiting.remove(entry)
        self._held.release(entry)


def _node_of(report: Mapping[str, Any]) -> tuple[str, str]:
    """Return id and name of the node that a trial reports from."""
    name = str(report["node"])
    return str(report.get("node_id") or name), name
