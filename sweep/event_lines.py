"""The course of a sweep as lines of text: one per event, one summary per minute. A terminal and the log show them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from sweep.formats import cut, format_duration, format_pace, format_percent
from sweep.progress import CONFIRMED, ProgressTracker, RunningTrial, SweepProgress, TrialEvent
from sweep.records.schema import COMPLETED, FAILED, STOPPED

MAX_CHARS = 111
"""Longest line: 120 characters with the time before it."""

SUMMARY_S = 60.0
"""Pause between two summaries."""

MAX_EVENTS = 30
"""Ends of trials that get a line of their own between two summaries, and as many failures after these."""

FIRST_WAIT_S = 2.0
"""Time after which a line says that the first worker is not ready yet."""


@dataclass(frozen=True)
class EventLine:
    """One line.

    Attributes:
        text: at most ``MAX_CHARS`` characters.
        failure: whether it needs attention: a trial has failed.
    """

    text: str
    failure: bool = False


class EventLines:
    """Describe what has happened in a sweep since the last call.

    If many trials end, only the first ones of each minute get a line, and the summary has the number of the others.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from search_spaces.discover import load_study
        >>> from sweep.conductor import Conductor
        >>> with TemporaryDirectory() as folder:
        ...     lines = EventLines(ProgressTracker(Conductor(load_study("quickstart"), Path(folder))))
        >>> list(lines.new())
        []
    """

    def __init__(self, tracker: ProgressTracker, *, verbose: bool = False) -> None:
        """Describe the events of a sweep; if ``verbose``, also each epoch, and every event has its line.

        A run that has reported epochs already is summed up at once.
        """
        self._tracker = tracker
        self._verbose = verbose
        self._began_at_s = time.monotonic()
        self._summed_up_at_s = self._began_at_s - (SUMMARY_S if tracker.snapshot().n_epochs else 0)
        self._waited_s = FIRST_WAIT_S
        self._n_epochs = 0
        self._n_ended = self._n_failed = 0  # since the last summary
        self._n_hidden = self._n_hidden_failed = 0

    def new(self) -> Iterator[EventLine]:
        """Yield the lines that are due now; call it after each event of the sweep."""
        if self._verbose:
            for trial in self._tracker.new_epochs():
                yield EventLine(cut(describe_epoch(trial), MAX_CHARS))
        for line in self._tracker.new_losses():
            yield EventLine(cut(line, MAX_CHARS))
        for event in self._tracker.new_events():
            if self._has_line(event):
                yield EventLine(describe_event(event), failure=event.kind == FAILED)
        now_s = time.monotonic()
        if self._waited_s and now_s - self._began_at_s >= self._waited_s:
            yield from self._waiting()
        if now_s - self._summed_up_at_s >= SUMMARY_S:
            self._summed_up_at_s = now_s
            yield from self._summary()

    def last(self) -> Iterator[EventLine]:
        """Yield the remaining lines at the end of the run."""
        yield from self.new()
        yield from self._summary()

    def _has_line(self, event: TrialEvent) -> bool:
        self._n_ended += 1
        failed = event.kind == FAILED
        self._n_failed += failed
        if self._verbose or self._n_ended <= MAX_EVENTS or (failed and self._n_failed <= MAX_EVENTS):
            return True
        self._n_hidden += 1
        self._n_hidden_failed += failed
        return False

    def _waiting(self) -> Iterator[EventLine]:
        """Yield one line per minute as long as no trial has reported an epoch."""
        progress = self._tracker.snapshot()
        if progress.n_epochs or progress.n_ended == progress.n_trials:
            self._waited_s = 0
            return
        yield EventLine(f"waiting for the first worker, {format_duration(progress.elapsed_s)}")
        self._waited_s = progress.elapsed_s + SUMMARY_S

    def _summary(self) -> Iterator[EventLine]:
        """Yield the state of the sweep if an epoch was reported or a trial ended since the last summary."""
        progress = self._tracker.snapshot()
        if progress.n_epochs == self._n_epochs and not self._n_ended:
            return
        if self._n_hidden:
            failed = f", {self._n_hidden_failed} of them failed" if self._n_hidden_failed else ""
            yield EventLine(f"and {self._n_hidden} more trials ended{failed}")
        yield EventLine(describe_progress(progress))
        self._n_epochs = progress.n_epochs
        self._n_ended = self._n_failed = self._n_hidden = self._n_hidden_failed = 0


def describe_event(event: TrialEvent) -> str:
    """Return the end of a trial in one line of at most ``MAX_CHARS`` characters.

    Examples:
        >>> event = TrialEvent("completed", "cutmix-0007", "cutmix", 25, 25, 0.318, "node-b", 240.0, "")
        >>> describe_event(event)
        'cutmix-0007 completed 25/25 epochs, validation error 31.80 %, node-b, 4 min 0 s'
    """
    if event.kind in (COMPLETED, CONFIRMED):
        return _describe_whole(event)
    if event.kind == STOPPED:
        why = event.why.replace(f" at epoch {event.epoch}", "", 1)
        return cut(f"{event.trial} stopped at epoch {event.epoch}/{event.planned_epochs}: {why}", MAX_CHARS)
    place = f" on {event.node}" if event.node else ""
    return cut(f"{event.trial} {event.kind}{place}: {event.why}", MAX_CHARS)


def _describe_whole(event: TrialEvent) -> str:
    verb = "confirmed," if event.kind == CONFIRMED else "completed"
    epochs = f"{event.trial} {verb} {event.epoch}/{event.planned_epochs} epochs"
    error, duration = f"validation error {format_percent(event.val_top1_error)}", format_duration(event.seconds)
    whole = ", ".join(filter(None, (epochs, error, event.node, duration)))
    return whole if len(whole) <= MAX_CHARS else cut(f"{epochs}, {error}, {duration}", MAX_CHARS)


def describe_epoch(trial: RunningTrial) -> str:
    """Return the last epoch of a running trial in one line.

    Examples:
        >>> describe_epoch(RunningTrial("cutmix-0007", "cutmix", "search", 3, 25, 0.451, 1200.0, None))
        'cutmix-0007 epoch 3/25, validation error 45.10 %, 1,200 images/s'
    """
    parts = [
        f"{trial.trial} epoch {trial.epoch}/{trial.planned_epochs}",
        f"validation error {format_percent(trial.val_top1_error)}",
        "" if trial.images_per_s is None else f"{format_pace(trial.images_per_s)} images/s",
        trial.node or "",
    ]
    return ", ".join(filter(None, parts))


def describe_progress(progress: SweepProgress) -> str:
    """Return the state of a sweep in one line: trials, lowest error so far, time, upper bound of the time left.

    Examples:
        >>> describe_progress(SweepProgress("small", 31, 64, 720.0, 1080.0, (), (), None, 200))
        '31/64 trials ended, 0 running, 12 min 0 s, at most 18 min 0 s left'
    """
    best = min(((arm.best, arm.arm) for arm in progress.arms if arm.best is not None), default=None)
    parts = [
        f"{progress.n_ended}/{progress.n_trials} trials ended",
        f"{progress.describe_running()}{', paused' if progress.paused else ''}",
        "" if best is None else f"best trial so far: {format_percent(best[0])} ({best[1]})",
        describe_time(progress),
    ]
    return cut(", ".join(filter(None, parts)), MAX_CHARS)


def describe_time(progress: SweepProgress) -> str:
    """Return the time since this run began, and an upper bound of the time left.

    Examples:
        >>> describe_time(SweepProgress("small", 0, 64, 12.0, None, (), (), None, 0))
        'waiting for the first worker, 12 s'
    """
    elapsed = format_duration(progress.elapsed_s)
    if progress.left_s is None:
        return f"waiting for the first worker, {elapsed}" if progress.n_ended < progress.n_trials else elapsed
    return f"{elapsed}, at most {format_duration(progress.left_s)} left"
