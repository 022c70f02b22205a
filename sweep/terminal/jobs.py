"""Sweeps that run as Ray jobs, for the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console

from sweep.formats import format_duration
from sweep.jobs import Job
from sweep.terminal.tables import Column, print_columns, print_line

DISPENSABLE = ("version", "arms", "exit", "started", "trials", "storage")
"""Columns that a narrow terminal lacks, the first one first."""


def print_jobs(jobs: Sequence[Job], console: Console) -> None:
    """Print one row per job."""
    if not jobs:
        print_line(console, "no job of this cluster is a sweep")
        return
    columns = [
        Column("job", tuple(job.name for job in jobs), "left"),
        Column("status", tuple(job.status for job in jobs), "left"),
        Column("exit", tuple("-" if job.exit_code is None else str(job.exit_code) for job in jobs)),
        Column("study", tuple(job.study for job in jobs), "left"),
        Column("trials", tuple(str(job.trials) for job in jobs)),
        Column("arms", tuple(job.arms for job in jobs), "left"),
        Column("started", tuple(_time(job.started_s) for job in jobs), "left"),
        Column("time", tuple("-" if job.seconds is None else format_duration(job.seconds) for job in jobs)),
        Column("storage", tuple(job.storage for job in jobs), "left"),
        Column("version", tuple(job.version for job in jobs), "left"),
    ]
    print_columns(console, columns, without=DISPENSABLE)


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
