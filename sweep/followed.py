"""A sweep that another process runs, observed by its records: what a conductor knows, without the conductor."""

from __future__ import annotations

import datetime
import time
from collections import defaultdict
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from sweep.entry import Entry
from sweep.ledger import entry_of
from sweep.manifest import read_study
from sweep.mirrored import refresh
from sweep.progress import ProgressTracker
from sweep.records.reader import read_manifest
from sweep.records.schema import EPOCHS, LIVING, RUNNING, TRIALS, WAITS
from sweep.records.tail import Tail
from sweep.remaining import RunningSweep

_COLUMNS = ("attempt", "val_top1_error", "seconds", "images_per_s")
"""Values of an epoch that are shown, beside the metric of the study."""


class FollowedSweep(RunningSweep):
    """State of a sweep from its records; only rows that are new are read.

    Attributes:
        study: the study as it is recorded now.
        entries: trials by name, in the order of their first rows.
        ended: trials that have ended in the last run of the sweep, in the order of their ends.
    """

    def __init__(self, sweep_dir: Path) -> None:
        """Read all rows that are there.

        Raises:
            RecordsError: there is no sweep in ``sweep_dir``.
            UserError: the recorded study cannot be read.
        """
        super().__init__(read_study(read_manifest(sweep_dir), sweep_dir))
        self._dir = sweep_dir
        self._tails = Tail(sweep_dir, TRIALS), Tail(sweep_dir, EPOCHS)
        self._curves: dict[str, MutableMapping[int, Mapping[str, Any]]] = defaultdict(dict)
        self._waits: dict[str, bool] = {}
        self._nodes: dict[tuple[str, int], str] = {}  # node of the last epoch, by trial and attempt
        self._started_s: dict[tuple[str, int], float] = {}  # time of each start and resumption, by trial and attempt
        self._with_status_running: dict[str, Entry] = {}
        self.update()

    def update(self, *, fresh: bool = False) -> None:
        """Read the new rows; those of a sweep in an object store are looked for at most every few seconds.

        Args:
            fresh: whether they are looked for now.
        """
        refresh(self._dir, now=fresh)
        trials, epochs = (tail.new_rows() for tail in self._tails)  # epochs last: those of an ended trial are complete
        manifest = read_manifest(self._dir)  # after the rows: it has the arms of all of them
        self._run_started_s = _start_of_last_run(manifest)
        study = read_study(manifest, self._dir)
        if study != self.study:  # `extend` changes it
            self.study = study
            self.recount()
        for row in epochs:
            self._add_epoch(row)
        for row in trials:
            self._add(row)

    def _add_epoch(self, row: dict[str, Any]) -> None:
        entry = self.entries.get(row["trial"])
        if row["node"] is not None:
            self._nodes[row["trial"], row["attempt"]] = row["node"]
            if entry is not None and entry.attempts == row["attempt"]:
                entry.about["node"] = row["node"]
        curve = self._curves[row["trial"]]
        if row["epoch"] in curve:
            return
        curve[row["epoch"]] = {name: row[name] for name in {*_COLUMNS, self.study.metric}}
        if entry is not None:
            self.tally.add_epoch(entry)

    def _add(self, row: dict[str, Any]) -> None:
        entry = entry_of(row, self.study)
        entry.curve = self._curves[entry.trial]
        before = self.entries[entry.trial].losses if entry.trial in self.entries else {}
        if entry.status == RUNNING and sum(entry.losses.values()) > sum(before.values()):
            self.lost.append(f"{entry.trial} {row['why']}")
        self.add(entry)
        self._with_status_running.pop(entry.trial, None)
        self._waits[entry.trial] = str(row["why"]).startswith(WAITS)
        if entry.status == RUNNING:
            self._with_status_running[entry.trial] = entry
            self._started_s.setdefault((entry.trial, entry.attempts), row["time_s"])
            entry.about.pop("node", None)  # the node of the previous attempt
            if node := self._nodes.get((entry.trial, entry.attempts)):
                entry.about["node"] = node
        elif entry.status not in LIVING and row["time_s"] >= self._run_started_s:
            self.ended.append(entry)

    def tracker(self) -> ProgressTracker:
        """Return a tracker of the last run of the sweep, for which the trials that have ended are no news."""
        n_epochs = sum(
            self._began_in_run(trial, row["attempt"]) for trial, curve in self._curves.items() for row in curve.values()
        )
        elapsed_s = time.time() - self._run_started_s
        return ProgressTracker(self, elapsed_s=elapsed_s, n_epochs=n_epochs, n_seen=len(self.ended))

    def _began_in_run(self, trial: str, attempt: int) -> bool:
        return self._started_s.get((trial, attempt), 0.0) >= self._run_started_s

    @property
    def running(self) -> list[Entry]:
        """Trials that a worker runs, in the order in which they were started or resumed."""
        running = {
            (entry.trial, entry.attempts): entry
            for entry in self._with_status_running.values()
            if not self._waits[entry.trial] and self._began_in_run(entry.trial, entry.attempts)
        }
        return [running[key] for key in sorted(running, key=self._started_s.__getitem__)]


def _start_of_last_run(manifest: Mapping[str, Any]) -> float:
    """Return when the last run of a sweep was started, in seconds since the Unix epoch."""
    runs = manifest["runs"]
    return datetime.datetime.fromisoformat(runs[-1]["started_at"]).timestamp() if runs else 0.0
