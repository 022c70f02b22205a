"""What a person sees while a sweep runs: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from sweep.conductor import Conductor
from sweep.records.schema import COMPLETED, PAUSED, RUNNING, SEARCH, STATUSES, STOPPED

LINES_EVERY_S = 10.0
"""Pause between plain lines where there is no terminal."""


@dataclass(frozen=True)
class ArmProgress:
    """State of one arm.

    Attributes:
        arm: its name.
        counts: number of the search's trials by status.
        confirmed: trials that have confirmed a winner.
        best: lowest final validation top-1 error among completed trials of the search; None while there is none.
        median: the median of them.
    """

    arm: str
    counts: dict[str, int]
    confirmed: int
    best: float | None
    median: float | None


def arms_progress(conductor: Conductor) -> list[ArmProgress]:
    """Summarise a sweep arm by arm, from the conductor's memory."""
    rows = []
    for arm in conductor.study.arms:
        own = [entry for entry in conductor.entries.values() if entry.arm == arm]
        entries = [entry for entry in own if entry.phase == SEARCH]
        errors = [entry.curve[entry.epochs]["val_top1_error"] for entry in entries if entry.status == COMPLETED]
        rows.append(
            ArmProgress(
                arm=arm,
                counts={status: sum(entry.status == status for entry in entries) for status in STATUSES},
                confirmed=sum(entry.status == COMPLETED for entry in own) - len(errors),
                best=min(errors, default=None),
                median=statistics.median(errors) if errors else None,
            )
        )
    return rows


class Progress:
    """Draws the progress of a sweep; use it as a context."""

    def __init__(self, conductor: Conductor, console: Console) -> None:
        """Draw ``conductor``'s state on ``console``."""
        self._conductor = conductor
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._drawn_at_s = 0.0
        self._started_at_s = time.monotonic()
        self._ended_before = self._ended()
        self._epochs_before = self._epochs()

    def __enter__(self) -> Progress:
        """Begin to draw."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        if self._live:
            self._live.stop()

    def update(self) -> None:
        """Draw if it is time to: four times a second in a terminal, a line every ten seconds elsewhere."""
        now_s = time.monotonic()
        if now_s - self._drawn_at_s < (0.25 if self._live else LINES_EVERY_S):
            return
        self._drawn_at_s = now_s
        if self._live:
            self._live.update(self._table(), refresh=True)
        else:
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=SIMPLE_HEAD, title=f"{self._conductor.study.name}: {self._rate()}", title_justify="left")
        table.add_column("arm")
        confirms = self._conductor.study.confirm is not None
        last = [*(["confirmed"] if confirms else []), "best error", "median error"]
        for name in ("running", "paused", "done", "stopped", "diverged", "failed", *last):
            table.add_column(name, justify="right")
        for row in arms_progress(self._conductor):
            table.add_row(
                row.arm,
                *(str(count) for count in row.counts.values()),
                *([str(row.confirmed)] if confirms else []),
                percent(row.best),
                percent(row.median),
            )
        return table

    def _line(self) -> str:
        arms = [
            f"{row.arm} {row.counts[RUNNING]} running{f' {row.counts[PAUSED]} paused' if row.counts[PAUSED] else ''}"
            f" {row.counts[COMPLETED]} done {row.counts[STOPPED]} stopped"
            f"{f' {row.confirmed} confirmed' if row.confirmed else ''}"
            f" best {percent(row.best)} median {percent(row.median)}"
            for row in arms_progress(self._conductor)
        ]
        return f"{self._rate()} | {' | '.join(arms)}"

    def _rate(self) -> str:
        elapsed_s = time.monotonic() - self._started_at_s
        ended = self._ended()
        per_minute = 60 * (ended - self._ended_before) / max(elapsed_s, 1e-9)
        return (
            f"{ended}/{self._conductor.n_trials} trials ended, {per_minute:.1f} a minute, {self._time_left(elapsed_s)}"
        )

    def _time_left(self, elapsed_s: float) -> str:
        """An upper bound: as if no further trial were stopped early."""
        epochs = self._epochs()
        if epochs == self._epochs_before:
            return "time left unknown"
        left = self._conductor.epochs_left
        return f"at most {duration(left * elapsed_s / (epochs - self._epochs_before))} left"

    def _ended(self) -> int:
        return self._conductor.n_trials - self._conductor.n_left

    def _epochs(self) -> int:
        return sum(entry.epochs for entry in self._conductor.entries.values())


def percent(fraction: float | None) -> str:
    """Write a fraction as per cent: ``7.31 %``; a dash for None and NaN."""
    return "-" if fraction is None or fraction != fraction else f"{100 * fraction:.2f} %"


def duration(seconds: float) -> str:
    """Write a time span for a reader: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
