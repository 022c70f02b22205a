"""Watching a run of a sweep without Ray: signals and limits that end it, and what is worth a notice."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sweep.conductor import Conductor
from sweep.endings import (
    FAILED_CODE,
    HERE,
    LIMIT_CODE,
    EndedEarly,
    Interrupted,
    Joined,
    LimitReached,
    NodeFault,
    NotRegained,
    RayLost,
    Stopped,
    WorkerLost,
    reason_of,
)
from sweep.formats import format_duration, reason_in_one_line
from sweep.lock import Lock
from sweep.lost import describe_trials
from sweep.notices import Notices
from sweep.records.schema import FAILED
from sweep.signals import EndingSignals
from sweep.slots import describe_running
from sweep.steering import Steering

STALL_EPOCHS = 10
"""A sweep is stalled if no epoch ends for this many times the median duration of an epoch."""

MIN_STALL_S = 60.0
"""Shortest stall: the first epochs of a trial may wait for its worker."""

SILENT_EPOCHS = 20
"""A trial may report nothing for this many times the longest epoch of its arm, or for ``budget.limits.silent_min``."""

BEFORE_FIRST_REPORT = 6
"""Factor on this time before the first report on a worker: another node may decode the images first."""

FIRST_EPOCH_PATIENCE_S = 24 * 3600.0
"""Longest silence of a trial before any epoch of the sweep is known."""

MAX_STEP_S = 5.0
"""Longest time between two steps that counts as silence: a driver that was stopped hears the reports afterwards."""

EVERY_FAILURE = 10
"""After the first failed trial, every tenth one is worth a notice."""


class Watch:
    """Watcher of one run: the engine reports to it, and asks it after each step whether the run is over."""

    def __init__(
        self,
        conductor: Conductor,
        sweep_dir: Path,
        *,
        joined: Joined = HERE,
        signals: EndingSignals | None = None,
        notices: Notices | None = None,
        started_s: float | None = None,
        lock: Lock | None = None,
        steering: Steering | None = None,
        warn: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch the run of ``sweep_dir``.

        Args:
            conductor: conductor of the run.
            sweep_dir: folder of the sweep.
            joined: cluster of the run.
            signals: signals that end the run.
            notices: sender of notices.
            started_s: monotonic time from which ``wall_clock_h`` counts; None: from now.
            lock: lock of the folder, which tells other processes when a trial has reported.
            steering: applies the requests of people.
            warn: shows one line that needs attention.
            clock: monotonic clock, seconds.
        """
        self._limit: tuple[str, str] | None = None
        self._ending: EndedEarly | None = None
        self._is_told = False
        self._dir = sweep_dir
        self._joined = joined
        self._conductor = conductor
        self._signals = signals or EndingSignals()
        self._notices = notices or Notices()
        self._clock = clock
        self._news_at_s = clock()
        self._started_s = self._news_at_s if started_s is None else started_s
        self._stall_after_s: float | None = None  # computed when it is needed: the median reads every epoch
        self._stalled = False
        self._lock, self._warn, self._steering = lock, warn, steering
        self._heard_at_s: dict[str, float] = {}  # by running trial, on a clock that stands still with the driver
        self._has_reported: set[str] = set()
        self._awake_s, self._step_at_s = 0.0, clock()
        self._longest_s: dict[str, float] = {}
        for entry in conductor.entries.values():
            self._note_epochs(entry.arm, entry.curve.values())
        self._tell_lock()
        self._n_failed = sum(entry.status == FAILED for entry in conductor.entries.values())

    def on_report(self, trial: str) -> None:
        """Receive that a trial reported an epoch, or failed."""
        self._news_at_s, self._stall_after_s, self._stalled = self._clock(), None, False
        self._tell_lock()
        entry = self._conductor.entries[trial]
        if last := entry.curve.get(entry.epochs):
            self._note_epochs(entry.arm, [last])
        if self._conductor.runs(trial):
            self._heard_at_s[trial] = self._awake_s
            self._has_reported.add(trial)
        else:
            self.on_stop(trial)
        if entry.status != FAILED:
            return
        self._n_failed += 1
        if self._n_failed == 1 or self._n_failed % EVERY_FAILURE == 0:
            why = reason_in_one_line(entry.why)
            text = f"trial {trial} failed, {_count(self._n_failed, 'failed trial')} so far: {why}"
            self._send("failed", text, trial=trial, why=why, n_failed=self._n_failed)

    def on_start(self, trial: str) -> None:
        """Receive that a worker has begun a trial, or continues it."""
        self._heard_at_s[trial] = self._awake_s
        self._has_reported.discard(trial)

    def on_stop(self, trial: str) -> None:
        """Receive that no worker runs a trial now."""
        self._heard_at_s.pop(trial, None)

    def silent_trials(self) -> list[str]:
        """Return the running trials that have reported nothing for longer than their pace allows; say it once each.

        Call it after each step. The caller replaces the workers of these trials; a trial that is still silent after as
        long again is returned again.
        """
        now_s = self._clock()
        self._awake_s += min(now_s - self._step_at_s, MAX_STEP_S)
        self._step_at_s = now_s
        silent = []
        for trial, heard_at_s in self._heard_at_s.items():
            quiet_s, patience_s = self._awake_s - heard_at_s, self._patience_s(trial)
            if quiet_s >= patience_s:
                silent.append(trial)
                self._say_silent(trial, quiet_s)
        for trial in silent:
            self._heard_at_s[trial] = self._awake_s
        return silent

    def _patience_s(self, trial: str) -> float:
        silent_min = self._conductor.study.budget.limits.silent_min
        if silent_min is None:
            return float("inf")
        arm = self._conductor.entries[trial].arm
        longest_s = self._longest_s.get(arm) or max(self._longest_s.values(), default=0.0)
        if not longest_s:  # no pace is known: an epoch of a large study may take hours
            return max(60 * silent_min, FIRST_EPOCH_PATIENCE_S)
        patience_s = max(60 * silent_min, SILENT_EPOCHS * longest_s)
        return patience_s if trial in self._has_reported else BEFORE_FIRST_REPORT * patience_s

    def _say_silent(self, trial: str, quiet_s: float) -> None:
        text = (
            f"trial {trial} has reported nothing for {format_duration(quiet_s)}: its worker is replaced, and the trial "
            f"restarts after epoch {self._conductor.entries[trial].epochs}"
        )
        self._warn(f"{text} (budget.limits.silent_min)")
        self._send("restarted", text, trial=trial, quiet_s=round(quiet_s))

    def _note_epochs(self, arm: str, rows: Iterable[Mapping[str, float]]) -> None:
        longest_s = max((row["seconds"] for row in rows), default=0.0)
        self._longest_s[arm] = max(self._longest_s.get(arm, 0.0), longest_s)

    def _tell_lock(self) -> None:
        if self._lock is not None:
            self._lock.news_at_s = self._news_at_s

    def is_over(self) -> bool:
        """Return whether a signal, a person or a limit ends the run; send a notice if the run is stalled.

        The requests of people are applied before.

        Raises:
            OSError: the records cannot be written.
            LockLost: another process has taken the sweep over.
        """
        self._notices.show_failure()
        if self._lock is not None:
            running, without = self._conductor.running, self._conductor.without_worker
            n_waiting = sum(entry.trial in without for entry in running)
            self._lock.trials = describe_running(len(running), n_waiting, self._conductor.capacity)
        if self._signals.signum is not None or self._signals.lost or self._conductor.nodes.failing:
            return True
        if self._steering is not None:
            self._steering.update()
        if self._stopped:
            return True
        self._limit = self._limit_reached()
        if self._limit is None:
            self._check_stall()
        return self._limit is not None

    @property
    def _stopped(self) -> str:
        return "" if self._steering is None else self._steering.stopped

    def on_over(self) -> None:
        """Send the notice of the end; after a signal also print how to resume. All records must be written."""
        self._ending = self.ending()
        if self._ending is not None:
            self._signals.announce(str(self._ending))

    def ending(self) -> EndedEarly | None:
        """Return why the run ended before all trials had ended; None if all have. Send the notice of the end once."""
        if self._ending is not None:
            return self._ending
        n_trials, n_left = self._conductor.n_trials, self._conductor.n_left
        n_ended = n_trials - n_left
        if not n_left:
            if not self._is_told:  # a signal or a limit may come with the last trial: the end is then asked for twice
                self._is_told = True
                failed = f"{self._n_failed} of them failed"
                self._send("ended", f"the sweep has ended: {_count(n_trials, 'trial')}, {failed}")
            return None
        ending: EndedEarly
        if self._signals.signum is not None:
            ending = Interrupted(self._dir, self._joined, n_ended, n_trials, signum=self._signals.signum)
        elif self._stopped:
            ending = Stopped(self._stopped, self._dir, self._joined, n_ended, n_trials)
        elif self._limit is not None:
            ending = self._limit_ending(*self._limit, n_ended, n_trials)
        elif self._signals.lost:
            ending = RayLost(self._signals.lost, self._dir, self._joined, n_ended, n_trials)
        elif self._conductor.nodes.failing:
            ending = NodeFault(self._conductor.nodes.failing, self._dir, self._joined)
        elif self._conductor.not_regained:
            lost = describe_trials(self._conductor.not_regained)
            ending = NotRegained(lost, self._dir, self._joined, n_ended, n_trials)
        else:
            ending = WorkerLost(self._dir, self._joined, n_ended, n_trials)
        self.on_error(ending)
        return ending

    def on_error(self, error: BaseException) -> None:
        """Send the notice of a run that did not end well."""
        self._send("interrupted", f"the sweep was interrupted: {reason_of(error)}", cause=type(error).__name__)

    def _limit_ending(self, name: str, reached: str, n_ended: int, n_trials: int) -> LimitReached:
        value = getattr(self._conductor.study.budget.limits, name)
        message = f"ended by budget.limits.{name} = {value:g}: {reached}, {n_ended} of {n_trials} trials have ended"
        options: dict[str, Any] = {"code": LIMIT_CODE}
        if name == "gpu_hours":
            message += "; the limit must be raised to continue"
            options["settings"] = {"budget.limits.gpu_hours": float(f"{2 * value:g}")}
        elif name == "failed_trials":
            message += "; fix the cause first"
            options = {"code": FAILED_CODE, "retry_failed": True}
        return LimitReached(name, message, self._dir, self._joined, **options)

    def _limit_reached(self) -> tuple[str, str] | None:
        study = self._conductor.study
        limits = study.budget.limits
        elapsed_h = (self._clock() - self._started_s) / 3600
        gpu_hours = self._conductor.training_s * study.resources.gpus * study.resources.workers / 3600
        if limits.wall_clock_h is not None and elapsed_h >= limits.wall_clock_h:
            return "wall_clock_h", f"{elapsed_h:.3g} h since this command started"
        if limits.gpu_hours is not None and gpu_hours >= limits.gpu_hours:
            return "gpu_hours", f"{gpu_hours:.3g} GPU hours in recorded epochs"
        if limits.failed_trials is not None and self._n_failed >= limits.failed_trials:
            return "failed_trials", _count(self._n_failed, "failed trial")
        return None

    def _check_stall(self) -> None:
        quiet_s = self._clock() - self._news_at_s
        if self._stalled or quiet_s < MIN_STALL_S or self._conductor.paused:
            return
        if self._stall_after_s is None:
            entries = self._conductor.entries.values()  # all epochs, but at most once per minute without news
            seconds = [value for entry in entries for value in entry.values_of("seconds").values()]
            median_s = statistics.median(seconds) if seconds else float("inf")
            self._stall_after_s = max(MIN_STALL_S, STALL_EPOCHS * median_s)
            if self._lock is not None:
                self._lock.stall_after_s = self._stall_after_s if seconds else None
        if quiet_s >= self._stall_after_s:
            self._stalled = True
            self._send("stalled", f"no epoch has ended for {quiet_s / 60:.0f} min", quiet_s=round(quiet_s))

    def _send(self, event: str, text: str, **facts: str | int) -> None:
        study, n_trials = self._conductor.study.name, self._conductor.n_trials
        n_ended = n_trials - self._conductor.n_left
        progress: dict[str, str | int] = {"study": study, "n_ended": n_ended, "n_trials": n_trials}
        self._notices.send(event, text, **progress, **facts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
