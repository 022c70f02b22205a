"""The progress of a running sweep: a live table in a terminal, one line at a time elsewhere."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

from sweep.conductor import Conductor
from sweep.records.schema import COMPLETED, SEARCH, STATUSES
from sweep.terminal.formats import format_duration, format_percent
from sweep.terminal.tables import add_column, add_row, keep_whole, new_table, print_line

SECONDS_PER_LINE = 10.0
"""Pause between two lines where there is no terminal."""

LABELS = {status: "done" if status == COMPLETED else status for status in STATUSES}
"""Heading of each status: ``done`` is shorter than ``completed``, so that all columns fit into 80 characters."""


@dataclass(frozen=True)
class ArmProgress:
    """State of one arm.

    Attributes:
        arm: name of the arm.
        counts: number of search trials by status.
        confirmed: number of completed confirmation trials.
        best: lowest final validation top-1 error of the completed search trials; None without a completed trial.
        median: median of the same errors.
    """

    arm: str
    counts: dict[str, int]
    confirmed: int
    best: float | None
    median: float | None


def arms_progress(conductor: Conductor) -> list[ArmProgress]:
    """Return the state of each arm, from the conductor's memory."""
    rows = []
    for arm in conductor.study.arms:
        arm_entries = [entry for entry in conductor.entries.values() if entry.arm == arm]
        search = [entry for entry in arm_entries if entry.phase == SEARCH]
        errors = [entry.curve[entry.epochs]["val_top1_error"] for entry in search if entry.status == COMPLETED]
        rows.append(
            ArmProgress(
                arm=arm,
                counts={status: sum(entry.status == status for entry in search) for status in STATUSES},
                confirmed=sum(entry.status == COMPLETED for entry in arm_entries) - len(errors),
                best=min(errors, default=None),
                median=statistics.median(errors) if errors else None,
            )
        )
    return rows


def shown_statuses(arms: list[ArmProgress]) -> list[str]:
    """Return the statuses that some trial has, and ``completed`` in any case."""
    return [status for status in STATUSES if status == COMPLETED or any(arm.counts[status] for arm in arms)]


class Progress:
    """Draw the progress of a sweep; use it as a context."""

    def __init__(self, conductor: Conductor, console: Console) -> None:
        """Draw ``conductor``'s state on ``console``."""
        self._conductor = conductor
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._updated_at_s = 0.0
        self._started_at_s = time.monotonic()
        self._n_ended_before = self._n_ended()
        self._n_epochs_before = self._n_epochs()

    def __enter__(self) -> Progress:
        """Start the live table."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the live table and show the cursor again."""
        if self._live:
            self._live.stop()

    def update(self) -> None:
        """Draw if it is time: four times per second in a terminal, one line per ten seconds elsewhere."""
        now_s = time.monotonic()
        if now_s - self._updated_at_s < (0.25 if self._live else SECONDS_PER_LINE):
            return
        self._updated_at_s = now_s
        if self._live:
            self._live.update(self._table(), refresh=True)
        else:
            print_line(self._console, self._line())

    def _table(self) -> Table:
        arms = arms_progress(self._conductor)
        statuses, confirms = shown_statuses(arms), any(arm.confirmed for arm in arms)
        table = new_table(title=f"{self._conductor.study.name}: {self._rate()}")
        add_column(table, "arm", justify="left")
        for status in statuses:
            add_column(table, LABELS[status])
        for heading in (*(["confirmed"] if confirms else []), "best\nerror", "median\nerror"):
            add_column(table, heading)
        for arm in arms:
            counts = [*(arm.counts[status] for status in statuses), *([arm.confirmed] if confirms else [])]
            add_row(table, [arm.arm, *map(str, counts), format_percent(arm.best), format_percent(arm.median)])
        return keep_whole(table)

    def _line(self) -> str:
        arms = arms_progress(self._conductor)
        statuses = shown_statuses(arms)
        cells = [
            f"{arm.arm}: {', '.join(f'{arm.counts[status]} {LABELS[status]}' for status in statuses)}"
            f"{f', {arm.confirmed} confirmed' if arm.confirmed else ''}"
            f", best error {format_percent(arm.best)}, median {format_percent(arm.median)}"
            for arm in arms
        ]
        return f"{self._rate()} | {' | '.join(cells)}"

    def _rate(self) -> str:
        elapsed_s = time.monotonic() - self._started_at_s
        ended = self._n_ended()
        per_minute = 60 * (ended - self._n_ended_before) / max(elapsed_s, 1e-9)
        return (
            f"{ended}/{self._conductor.n_trials} trials ended, {per_minute:.1f} per minute, "
            f"{self._time_left(elapsed_s)}"
        )

    def _time_left(self, elapsed_s: float) -> str:
        """Return an upper bound: no further trial is assumed to stop early."""
        epochs = self._n_epochs()
        if epochs == self._n_epochs_before:
            return "time left unknown"
        left = self._conductor.epochs_left
        return f"at most {format_duration(left * elapsed_s / (epochs - self._n_epochs_before))} left"

    def _n_ended(self) -> int:
        return self._conductor.n_trials - self._conductor.n_left

    def _n_epochs(self) -> int:
        return sum(entry.epochs for entry in self._conductor.entries.values())
