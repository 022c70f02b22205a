"""A sweep that another process runs, followed by its records: a live table in a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from search_spaces.study import Study
from sweep.endings import Interrupted
from sweep.engine import in_use
from sweep.findings.remaining import TrialCount, count_trials
from sweep.formats import format_percent
from sweep.records.reader import read_manifest
from sweep.records.schema import COMPLETED, EPOCHS, FAILED, LIVING, MANIFEST, RUNNING, SEARCH, STATUSES, TRIALS
from sweep.records.tail import Tail
from sweep.terminal.status import LABELS, print_status
from sweep.terminal.tables import add_column, add_row, keep_whole, new_table, print_line
from trainables.strict import parse

SECONDS_PER_READ = 1.0
"""Pause between two reads: the driver of a sweep writes its rows about as often."""

SECONDS_PER_SUMMARY = 60.0
"""Least time between two summary lines where there is no terminal."""

MAX_LINE = 120
"""Characters of a line: the reason of a failure is cut."""

Row = Mapping[str, Any]


class FollowedSweep:
    """State of a sweep from its records; only rows that are new are read.

    Attributes:
        study: the study as it is recorded now.
        trials: last row of each trial, by name.
        last: row of each trial's last epoch, by name.
    """

    def __init__(self, sweep_dir: Path) -> None:
        """Read all rows that are there.

        Raises:
            RecordsError: there is no sweep in ``sweep_dir``.
        """
        self.study = _read_study(sweep_dir)
        self.trials: dict[str, Row] = {}
        self.last: dict[str, Row] = {}
        self._dir = sweep_dir
        self._tails = Tail(sweep_dir, TRIALS), Tail(sweep_dir, EPOCHS)
        self.update()

    def update(self) -> list[Row]:
        """Read the new rows; return the rows of trials that have ended since the last call."""
        self.study = _read_study(self._dir)  # `extend` changes it
        trials, epochs = (tail.new_rows() for tail in self._tails)  # epochs last: those of an ended trial are complete
        for row in epochs:
            if row["epoch"] > self.last.get(row["trial"], {"epoch": 0})["epoch"]:
                self.last[row["trial"]] = row
        self.trials.update((row["trial"], row) for row in trials)
        return [row for row in trials if row["status"] not in LIVING]

    def count(self) -> TrialCount:
        """Return how many trials have ended, and how many the sweep has."""
        values = {trial: row[self.study.metric] for trial, row in self.last.items()}
        final = {trial: value for trial, value in values.items() if value is not None}
        return count_trials(self.study, list(self.trials.values()), final)


def follow_sweep(sweep_dir: Path, console: Console) -> int:
    """Show the progress of a sweep until it ends, then its results.

    Returns:
        Number of failed trials.

    Raises:
        RecordsError: there is no sweep in ``sweep_dir``.
        Interrupted: the process that ran the sweep has ended before all trials had.
    """
    followed = FollowedSweep(sweep_dir)
    with _live(followed, console) if console.is_terminal else _plain(followed, console) as show:
        count = followed.count()
        while count.n_left:
            is_running = in_use(sweep_dir)  # asked before the rows are read: none can then be missed
            show(followed.update())
            count = followed.count()
            if not is_running:
                break
            time.sleep(SECONDS_PER_READ)
    if count.n_left:
        raise Interrupted(sweep_dir, None, *count)
    return print_status(sweep_dir, console)


def describe_end(row: Row, last: Row | None) -> str:
    """Return what happened to a trial, in one line of at most ``MAX_LINE`` characters.

    Args:
        row: row of the trial.
        last: row of its last epoch; None if it has none.

    Examples:
        >>> row = {"trial": "off-0002", "phase": "search", "status": "completed", "why": "", "epochs": 5, "time_s": 0.0}
        >>> describe_end(row, {"val_top1_error": 0.262})[8:]
        ' off-0002 completed 5 epochs, top-1 error 26.20 %'
    """
    at = time.strftime("%H:%M:%S", time.localtime(row["time_s"]))
    if row["status"] == COMPLETED:
        verb = "completed" if row["phase"] == SEARCH else "confirmed after"
        text = f"{verb} {row['epochs']} epochs, top-1 error {format_percent((last or {}).get('val_top1_error'))}"
    else:
        text = f"{row['status']}: {(row['why'] or 'no reason').splitlines()[-1]}"
    line = f"{at} {row['trial']} {text}"
    return line if len(line) <= MAX_LINE else f"{line[: MAX_LINE - 3]}..."


Show = Callable[[Sequence[Row]], None]


@contextlib.contextmanager
def _plain(followed: FollowedSweep, console: Console) -> Iterator[Show]:
    """Print one line per trial that ends, and at most one summary per minute."""
    shown_at_s = time.monotonic()
    print_line(console, _summary(followed))

    def show(ended: Sequence[Row]) -> None:
        nonlocal shown_at_s
        for row in ended:
            print_line(console, describe_end(row, followed.last.get(row["trial"])))
        if ended and time.monotonic() - shown_at_s >= SECONDS_PER_SUMMARY:
            shown_at_s = time.monotonic()
            print_line(console, _summary(followed))

    yield show


@contextlib.contextmanager
def _live(followed: FollowedSweep, console: Console) -> Iterator[Show]:
    """Draw one row per arm again and again; the table is removed at the end."""
    with Live(_table(followed), console=console, auto_refresh=False, transient=True) as live:
        yield lambda ended: live.update(_table(followed), refresh=True)


def _summary(followed: FollowedSweep) -> str:
    count = followed.count()
    n_running = sum(row["status"] == RUNNING for row in followed.trials.values())
    n_failed = sum(row["status"] == FAILED for row in followed.trials.values())
    failed = f", {n_failed} failed" if n_failed else ""
    return f"{followed.study.name}: {count.n_ended}/{count.n_trials} trials ended, {n_running} running{failed}"


def _table(followed: FollowedSweep) -> Table:
    rows = list(followed.trials.values())
    search = [row for row in rows if row["phase"] == SEARCH]
    statuses = [name for name in STATUSES if name == COMPLETED or any(row["status"] == name for row in search)]
    confirms = len(search) < len(rows)
    table = new_table(title=_summary(followed))
    add_column(table, "arm", justify="left")
    headings = [*(LABELS[status] for status in statuses), *(["confirmed"] if confirms else [])]
    for heading in (*headings, "best\nerror", "median\nerror"):
        add_column(table, heading)
    for arm in followed.study.arms:
        of_arm = [row for row in search if row["arm"] == arm]
        done = [row for row in rows if row["arm"] == arm and row["status"] == COMPLETED]
        errors = [followed.last[row["trial"]]["val_top1_error"] for row in done if row["phase"] == SEARCH]
        counts = [sum(row["status"] == status for row in of_arm) for status in statuses]
        counts += [len(done) - len(errors)] if confirms else []
        cells = [min(errors, default=None), statistics.median(errors) if errors else None]
        add_row(table, [arm, *map(str, counts), *map(format_percent, cells)])
    return keep_whole(table)


def _read_study(sweep_dir: Path) -> Study:
    return parse(Study, read_manifest(sweep_dir)["study"], where=f"'{sweep_dir / MANIFEST}'")
