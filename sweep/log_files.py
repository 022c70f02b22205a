"""The logs in the folder of a sweep: one of the whole sweep, and one per trial."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sweep.driver import DriverObserver, Presence
from sweep.ledger import log_name
from sweep.mirrored import fetch
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import TRIALS
from sweep.run_log import LOG
from trainables.errors import UserError, did_you_mean

READ_S = 0.5
"""Pause between two reads of a log that is followed."""


def read_log(
    sweep_dir: Path, trial: str | None, *, follow: bool = False, sleep: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Yield the log of a sweep or of one of its trials; with ``follow`` until no process runs the sweep.

    Args:
        sweep_dir: folder of the sweep.
        trial: name of the trial; None: the whole sweep.
        follow: whether to wait for more lines.
        sleep: waits so many seconds.

    Raises:
        RecordsError: there is no sweep in ``sweep_dir``.
        UserError: the sweep has no such trial, or the trial has no log.
    """
    read_manifest(sweep_dir)
    name = LOG if trial is None else log_name(_checked(sweep_dir, trial))
    path = sweep_dir / name
    fetch(sweep_dir, name)
    if not path.is_file() and not follow:
        what = f"'{sweep_dir}'" if trial is None else f"trial '{trial}'"
        raise UserError(f"{what} has no log: it has not begun, or an older version ran it")
    observer, place = DriverObserver(sweep_dir), 0
    while True:
        is_running = follow and observer.look() is not Presence.GONE  # asked before: no line is missed then
        text, place = _read_from(path, place)
        if text:
            yield text
        if not is_running:
            return
        sleep(max(READ_S, observer.look_s))
        fetch(sweep_dir, name)


def _checked(sweep_dir: Path, trial: str) -> str:
    names = set(read_table(sweep_dir, TRIALS)["trial"])
    if trial not in names:
        raise UserError(f"--trial '{trial}': '{sweep_dir}' has no such trial{did_you_mean(trial, names)}")
    return trial


def _read_from(path: Path, place: int) -> tuple[str, int]:
    """Return what follows a place of a file, and its end; a file that became shorter is read from its beginning."""
    try:
        with path.open("rb") as file:
            file.seek(place if place <= path.stat().st_size else 0)
            content = file.read()
            return content.decode(errors="replace"), file.tell()
    except FileNotFoundError:
        return "", 0
