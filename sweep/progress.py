"""Facts about a running sweep, from its conductor or its records: what the terminal, a notebook and the log show."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sweep.entry import Entry
from sweep.formats import reason_in_one_line
from sweep.records.schema import COMPLETED, CONFIRM, FAILED, PAUSED, RUNNING, SEARCH
from sweep.remaining import RunningSweep
from sweep.slots import describe_running

CONFIRMED = "confirmed"
"""Kind of the event that a confirmation trial has completed; the other kinds are statuses."""


@dataclass(frozen=True)
class ArmProgress:
    """State of one arm.

    Attributes:
        arm: name of the arm.
        counts: number of search trials by status. ``running``: given to a worker; ``paused``: paused at a rung, or
            interrupted and not yet resumed.
        confirmed: number of completed confirmation trials.
        best: lowest final validation top-1 error of the completed search trials; None without a completed trial.
        median: median of the same errors.
        best_so_far: lowest of these errors after each completed trial, in the order in which the trials completed.
    """

    arm: str
    counts: dict[str, int]
    confirmed: int
    best: float | None
    median: float | None
    best_so_far: Sequence[float]


@dataclass(frozen=True)
class RunningTrial:
    """State of one running trial.

    Attributes:
        trial: name of the trial.
        arm: name of its arm.
        phase: ``search`` or ``confirm``.
        epoch: number of recorded epochs.
        planned_epochs: number of epochs if it is not stopped early.
        val_top1_error: validation top-1 error of the last epoch; None before the first epoch.
        images_per_s: training images per second in the last epoch.
        node: machine that trains it; None until it has reported from there.
        search: index, from 0, of the search of its arm that it belongs to or confirms.
    """

    trial: str
    arm: str
    phase: str
    epoch: int
    planned_epochs: int
    val_top1_error: float | None
    images_per_s: float | None
    node: str | None
    search: int = 0


@dataclass(frozen=True)
class TrialEvent:
    """End of one trial.

    Attributes:
        kind: ``completed``, ``stopped``, ``confirmed``, ``failed``, ``diverged`` or ``cancelled``.
        trial: name of the trial.
        arm: name of its arm.
        epoch: number of recorded epochs.
        planned_epochs: number of epochs if it had not ended early.
        val_top1_error: validation top-1 error of the last epoch; None without an epoch.
        node: machine that trained it last; None if unknown.
        seconds: time of training and validation, sum over the recorded epochs.
        why: reason of the end, one line; "" if all planned epochs were run.
    """

    kind: str
    trial: str
    arm: str
    epoch: int
    planned_epochs: int
    val_top1_error: float | None
    node: str | None
    seconds: float
    why: str


@dataclass(frozen=True)
class SweepProgress:
    """State of a sweep.

    Attributes:
        study: name of the study.
        n_ended: number of trials that have ended, in all runs of the sweep.
        n_trials: number of all trials, including the confirmations that will follow.
        elapsed_s: seconds since this run began.
        left_s: upper bound of the seconds left: no further trial stops early; None before this run's first epoch.
        arms: state of each arm, in the order of the study.
        running: running trials, in the order of their start.
        last_failure: trial, node and reason of this run's last failed trial in one line; None without one.
        n_epochs: number of epochs that trials have reported in this run; 0 while the first worker starts.
        n_searches: number of independent searches per arm.
        paused: who paused the sweep, and when; "" if it is not paused.
        n_waiting: number of the running trials that wait for a worker.
        capacity: number of trials that fit on the nodes at present, and of these nodes; None if it is not known.
    """

    study: str
    n_ended: int
    n_trials: int
    elapsed_s: float
    left_s: float | None
    arms: tuple[ArmProgress, ...]
    running: tuple[RunningTrial, ...]
    last_failure: str | None
    n_epochs: int
    n_searches: int = 1
    paused: str = ""
    n_waiting: int = 0
    capacity: tuple[int, int] | None = None

    def describe_running(self) -> str:
        """Return how many trials run and wait for a worker, and for how many there is room, in words."""
        words = describe_running(len(self.running), self.n_waiting, self.capacity)
        n_nodes = len({trial.node for trial in self.running if trial.node})
        return f"{words} on {n_nodes} nodes" if self.capacity is None and n_nodes > 1 else words


class ProgressTracker:
    """Observe a sweep during one run.

    Examples:
        >>> from pathlib import Path
        >>> from sweep.conductor import Conductor
        >>> from tempfile import TemporaryDirectory
        >>> from search_spaces.discover import load_study
        >>> with TemporaryDirectory() as folder:
        ...     tracker = ProgressTracker(Conductor(load_study("quickstart"), Path(folder)))
        >>> progress = tracker.snapshot()
        >>> progress.n_ended, [arm.arm for arm in progress.arms], tracker.new_events()
        (0, ['off', 'cutout', 'mixup', 'cutmix'], [])
    """

    def __init__(self, sweep: RunningSweep, *, elapsed_s: float = 0.0, n_epochs: int = 0, n_seen: int = 0) -> None:
        """Begin to observe.

        Args:
            sweep: what is observed.
            elapsed_s: seconds since the run began; 0: it begins now.
            n_epochs: number of epochs that trials have reported in this run so far.
            n_seen: number of trials in ``sweep.ended`` that are no new events.
        """
        self._sweep = sweep
        self._started_at_s = time.monotonic() - elapsed_s
        self._n_epochs_before = sweep.tally.n_epochs - n_epochs
        self._n_seen = n_seen
        self._epochs_seen = {entry.trial: entry.epochs for entry in sweep.entries.values()}
        self._last_failed: Entry | None = None
        self._n_looked_at = 0
        self._n_losses_seen = len(sweep.lost)

    def snapshot(self) -> SweepProgress:
        """Return the present state of the sweep."""
        sweep = self._sweep
        elapsed_s = time.monotonic() - self._started_at_s
        n_epochs = sweep.tally.n_epochs - self._n_epochs_before
        n_ended = len(sweep.entries) - sweep.tally.n_living
        return SweepProgress(
            study=sweep.study.name,
            n_ended=n_ended,
            n_trials=n_ended + sweep.n_left,
            elapsed_s=elapsed_s,
            left_s=sweep.epochs_left * elapsed_s / n_epochs if n_epochs else None,
            arms=self._arms(),
            running=tuple(map(self._running_trial, sweep.running)),
            last_failure=self._last_failure(),
            n_epochs=n_epochs,
            n_searches=sweep.study.n_searches,
            paused=sweep.paused,
            n_waiting=sum(entry.trial in sweep.without_worker for entry in sweep.running),
            capacity=sweep.capacity,
        )

    def new_events(self) -> list[TrialEvent]:
        """Return the ends of trials since the last call, each of them once."""
        new = self._sweep.ended[self._n_seen :]
        self._n_seen += len(new)
        return list(map(self._event, new))

    def new_losses(self) -> list[str]:
        """Return the losses of workers since the last call, each of them once, as one line."""
        new = self._sweep.lost[self._n_losses_seen :]
        self._n_losses_seen += len(new)
        return new

    def new_epochs(self) -> list[RunningTrial]:
        """Return the running trials that have reported an epoch since the last call."""
        running = self._sweep.running
        new = [entry for entry in running if entry.epochs > self._epochs_seen.get(entry.trial, 0)]
        self._epochs_seen.update((entry.trial, entry.epochs) for entry in new)
        return list(map(self._running_trial, new))

    def _arms(self) -> tuple[ArmProgress, ...]:
        tally = self._sweep.tally
        counts = {arm: dict(tally.counts[arm]) for arm in self._sweep.study.arms}
        with_worker = Counter(
            entry.arm for entry in self._sweep.running if (entry.phase, entry.status) == (SEARCH, RUNNING)
        )
        for arm, of_arm in counts.items():
            of_arm[PAUSED] += of_arm[RUNNING] - with_worker[arm]
            of_arm[RUNNING] = with_worker[arm]
        return tuple(
            ArmProgress(
                arm=arm,
                counts=of_arm,
                confirmed=tally.confirm_counts[arm][COMPLETED],
                best=tally.errors[arm].best,
                median=tally.errors[arm].median,
                best_so_far=tally.errors[arm].lowest,
            )
            for arm, of_arm in counts.items()
        )

    def _running_trial(self, entry: Entry) -> RunningTrial:
        return RunningTrial(
            trial=entry.trial,
            arm=entry.arm,
            phase=entry.phase,
            epoch=entry.epochs,
            planned_epochs=self._sweep.study.max_epochs_of(entry.params),
            val_top1_error=entry.curve[entry.epochs]["val_top1_error"] if entry.curve else None,
            images_per_s=entry.curve[entry.epochs]["images_per_s"] if entry.curve else None,
            # a resumed trial may run on another node than before
            node=entry.about.get("node") if entry.epochs > (entry.resumed_at_epoch or 0) else None,
            search=entry.search,
        )

    def _event(self, entry: Entry) -> TrialEvent:
        return TrialEvent(
            kind=CONFIRMED if (entry.phase, entry.status) == (CONFIRM, COMPLETED) else entry.status,
            trial=entry.trial,
            arm=entry.arm,
            epoch=entry.epochs,
            planned_epochs=self._sweep.study.max_epochs_of(entry.params),
            val_top1_error=entry.curve[entry.epochs]["val_top1_error"] if entry.curve else None,
            node=entry.about.get("node"),
            seconds=sum(row["seconds"] for row in entry.curve.values()),
            why=reason_in_one_line(entry.why) if entry.status == FAILED else entry.why,
        )

    def _last_failure(self) -> str | None:
        ended = self._sweep.ended
        for entry in ended[self._n_looked_at :]:
            if entry.status == FAILED:
                self._last_failed = entry
        self._n_looked_at = len(ended)
        failed = self._last_failed
        if failed is None or failed.status != FAILED:
            return None
        node = failed.about.get("node")
        return f"{failed.trial}{f' on {node}' if node else ''}: {reason_in_one_line(failed.why)}"
