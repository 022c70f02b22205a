"""A sweep that is served: its state from the records, read again at each request, and never written."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search_spaces.study import Study
from sweep.driver import Driver, DriverObserver
from sweep.entry import Entry
from sweep.export.recorded import RecordedTrial
from sweep.followed import FollowedSweep
from sweep.progress import ProgressTracker
from sweep.records.errors import RecordsError
from sweep.records.reader import read_manifest
from sweep.records.schema import CONFIRM, DECISIONS, EVALUATIONS, LIVING, TRIALS, WEIGHTS
from sweep.records.tail import Tail
from sweep.serve.results import Results
from trainables.errors import UserError

LOOK_S = 1.0
"""Time for which what was read is shown again without another look."""

N_EVENTS = 12
"""Number of ended trials that are kept for the list of the last events."""

_NOT_KEPT = ("seq", "params", "config", "model_sha256", "study", "sweep")


class LiveSweep:
    """One sweep in any state: it runs, has ended, was interrupted, or is resumed and extended by other processes.

    Everything is read from the records, new rows only. Nothing is read between two requests.

    Attributes:
        name: name in addresses, unique among the served sweeps.
        folder: folder in which the sweep is read.
        place: what the user named: the folder, or an address.
        lock: held while the state is read or changed.
        problem: why the records cannot be read at present; "" if they can.
        generation: number of times that all records were read from the beginning.
        sweep: state of the trials.
        tracker: progress of the last run.
        driver: process that runs the sweep; None without one.
        rows: last row of each trial, by name, without its configuration.
        started_s: time of the first row of each trial, since the Unix epoch.
        tests: test values by trial and metric.
        rungs: counts of verdicts by arm and epoch of the rung; ``cutoff`` is the last one.
        last_ended: names of the trials that ended last, the latest first.
    """

    def __init__(self, folder: Path, place: object, name: str) -> None:
        """Read the records.

        Raises:
            RecordsError: there is no sweep in ``folder``, or its files are damaged.
            UserError: the recorded study cannot be read.
        """
        self.name, self.folder, self.place = name, folder, str(place)
        self.lock = threading.RLock()
        self.problem = ""
        self.generation = 0
        self._observer = DriverObserver(folder)
        self._looked_at_s = 0.0
        self._version = 0
        self._open()
        self._results = Results(folder, self.driver, (self._version, self._driver_state()))

    @property
    def study(self) -> Study:
        """Study as it is recorded now."""
        return self.sweep.study

    def _open(self) -> None:
        self.sweep = FollowedSweep(self.folder)
        self.tracker: ProgressTracker = self.sweep.tracker()
        self._began = _beginning(read_manifest(self.folder))
        self._tails = {table.name: Tail(self.folder, table) for table in (DECISIONS, EVALUATIONS, TRIALS)}
        self.rows: dict[str, dict[str, Any]] = {}
        self.started_s: dict[str, float] = {}
        self.tests: dict[str, dict[str, float]] = {}
        self.rungs: dict[tuple[str, int], dict[str, Any]] = {}
        self.last_ended: deque[str] = deque(maxlen=N_EVENTS)
        self.driver: Driver | None = None
        self.generation += 1
        self._version += 1
        self._n_epochs = 0
        self._n_runs = len(read_manifest(self.folder)["runs"])
        self._read()

    def look(self) -> None:
        """Read what is new, unless that was done within the last ``LOOK_S``; an error becomes :attr:`problem`."""
        with self.lock:
            if time.monotonic() - self._looked_at_s < LOOK_S:
                return
            try:
                if self.problem or _beginning(read_manifest(self.folder)) != self._began:
                    self._open()  # repaired, or replaced by another sweep
                else:
                    self._read()
                self.problem = ""
            except (RecordsError, UserError, OSError) as error:
                self.problem = str(error)
            self._looked_at_s = time.monotonic()

    def _read(self) -> None:
        former, n_runs = self.driver, len(read_manifest(self.folder)["runs"])
        self.driver = self._observer.glance()  # before the rows: none can then be missed
        self.sweep.paused = self.driver.paused if self.driver else ""
        self.sweep.update(fresh=former is not None and self.driver is None)
        if n_runs != self._n_runs:
            self.tracker = self.sweep.tracker()
            self._version += 1  # `extend` has changed the study; rows follow later, or never after a kill
        self._n_runs = n_runs
        new = {name: tail.new_rows() for name, tail in self._tails.items()}
        self._version += any(new.values()) or self.sweep.tally.n_epochs != self._n_epochs
        self._n_epochs = self.sweep.tally.n_epochs
        for row in new[TRIALS.name]:
            self._add_trial(row)
        for row in new[EVALUATIONS.name]:
            if row["setting"] in WEIGHTS and row["settings"] is None and row["value"] is not None:
                self.tests.setdefault(row["trial"], {})[row["metric"]] = row["value"]
        for row in new[DECISIONS.name]:
            self._add_decision(row)

    def _add_trial(self, row: dict[str, Any]) -> None:
        trial = row["trial"]
        self.started_s.setdefault(trial, row["time_s"])
        self.rows[trial] = {
            name: value for name, value in row.items() if name not in _NOT_KEPT and value is not None and value != ""
        }
        if row["status"] not in LIVING:
            if trial in self.last_ended:
                self.last_ended.remove(trial)
            self.last_ended.appendleft(trial)

    def _add_decision(self, row: dict[str, Any]) -> None:
        rung = self.rungs.setdefault((row["arm"], row["rung_epochs"]), {"n": 0, "cutoff": None, "trials": set()})
        if row["trial"] in rung["trials"]:  # only the first decision of a trial at a rung is valid
            return
        rung["trials"].add(row["trial"])
        rung["n"] += 1
        rung[row["verdict"]] = rung.get(row["verdict"], 0) + 1
        rung["cutoff"] = row["cutoff"] if row["cutoff"] is not None else rung["cutoff"]

    def status(self) -> tuple[dict[str, Any], float]:
        """Return the document of ``status --json``, and its age in seconds if something has changed since."""
        with self.lock:
            document, age_s = self._results.get(self.driver, (self._version, self._driver_state()))
            self.problem = self.problem or self._results.problem
            return document, age_s

    def _driver_state(self) -> tuple[object, ...]:
        """Return what a result says of the driver, without its age."""
        driver = self.driver
        return () if driver is None else (driver.host, driver.process, driver.paused, bool(driver.stalled))

    def trials_of(self, arm: str, *, confirms: bool) -> Iterator[Entry]:
        """Yield the trials of one arm in the order in which they began: of its search, or of its confirmation."""
        for entry in self.sweep.entries.values():
            if entry.arm == arm and (entry.phase == CONFIRM) == confirms:
                yield entry

    def recorded(self, entry: Entry) -> RecordedTrial:
        """Return a trial as the exports have it."""
        about = self.rows[entry.trial]
        if node := entry.about.get("node"):
            about = {**about, "node": node}
        return RecordedTrial(
            about=about,
            params=entry.params,
            config={},
            epochs=dict(sorted(entry.curve.items())),
            tests=self.tests.get(entry.trial, {}),
            started_s=self.started_s[entry.trial],
        )


def _beginning(manifest: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what differs between a sweep and another one that replaces it in the same folder."""
    runs = manifest["runs"]
    return manifest.get("sweep"), manifest.get("seed"), runs[0].get("started_at") if runs else None
