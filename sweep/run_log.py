"""The log of a sweep, ``DIR/sweep.log``: for people only; no program reads it.

It has the lines of the plain output with date and time, and the beginning and the end of each run. The records do not
depend on it: if it cannot be written, the sweep continues.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sweep.conductor import Conductor
from sweep.display import Display
from sweep.endings import reason_of
from sweep.event_lines import EventLine, EventLines
from sweep.formats import format_duration, printable
from sweep.lock import is_lost
from sweep.progress import ProgressTracker

LOG = "sweep.log"
"""File in the folder of the sweep."""

SLOW_STEP_S = 2.0
"""Steps that take longer are logged with their duration."""


class LoggedDisplay:
    """Show all on another display, and append it to the log of the sweep as soon as its folder is known.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from sweep.display import SILENT
        >>> display = LoggedDisplay(SILENT)
        >>> display.show_warning("the dashboard did not start")
        >>> with TemporaryDirectory() as folder:
        ...     with display.log_run(Path(folder), {"command": "cutmix-sweep run box", "versions": {"ray": "2.60"}}):
        ...         display.show_line("4 trials to run")
        ...     lines = (Path(folder) / LOG).read_text().splitlines()
        >>> [line[20:] for line in lines]  # without the time
        ['the dashboard did not start', 'run begins: cutmix-sweep run box; ray 2.60', '4 trials to run', 'run ends']
    """

    def __init__(self, display: Display) -> None:
        """Show on ``display``."""
        self._display = display
        self._path: Path | None = None
        self._waiting: list[str] = []
        self._is_broken = False

    @contextlib.contextmanager
    def log_run(self, sweep_dir: Path, run: Mapping[str, Any]) -> Iterator[None]:
        """Append to the log in ``sweep_dir``, with the beginning and the end of a run from the manifest."""
        self._path = sweep_dir / LOG
        versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
        self._write([*self._waiting, _stamped(f"run begins: {run['command']}; {versions}")])
        self._waiting.clear()
        try:
            yield
        except BaseException as error:
            self._log(f"run ends: {type(error).__name__}: {reason_of(error)}")
            raise
        self._log("run ends")

    def show_line(self, text: str) -> None:
        """Show and log one line."""
        self._log(text)
        self._display.show_line(text)

    def show_warning(self, text: str) -> None:
        """Show and log one line that needs attention."""
        self._log(text)
        self._display.show_warning(text)

    @contextlib.contextmanager
    def show_status(self, text: str) -> Iterator[None]:
        """Show what the program waits for; log how long it took if it was slow."""
        began_at_s = time.monotonic()
        with self._display.show_status(text):
            yield
        seconds = time.monotonic() - began_at_s
        if seconds >= SLOW_STEP_S:
            self._log(f"{text}: {format_duration(seconds)}")

    @contextlib.contextmanager
    def show_sweep(self, conductor: Conductor) -> Iterator[Callable[[], None]]:
        """Show the progress of a sweep, and log its events."""
        lines = EventLines(ProgressTracker(conductor))
        with self._display.show_sweep(conductor) as update:

            def log_and_update() -> None:
                self._log_events(lines.new())
                update()

            try:
                yield log_and_update
            finally:
                self._log_events(lines.last())

    @contextlib.contextmanager
    def show_measurements(self, n_measurements: int) -> Iterator[Callable[[str], None]]:
        """Show the progress of an evaluation, and log each measurement."""
        with self._display.show_measurements(n_measurements) as update:

            def log_and_update(text: str) -> None:
                self._log(text)
                update(text)

            yield log_and_update

    def _log_events(self, lines: Iterable[EventLine]) -> None:
        for line in lines:
            self._log(line.text)

    def _log(self, text: str) -> None:
        if self._path is None:
            self._waiting.append(_stamped(text))
        else:
            self._write([_stamped(text)])

    def _write(self, lines: Iterable[str]) -> None:
        """Append to the file, which is open only meanwhile: a full disk may have room again for the next line.

        Nothing is written after another process has taken the sweep over.
        """
        assert self._path is not None
        if is_lost(self._path.parent):
            return
        try:
            with open(self._path, "a", encoding="utf-8", errors="replace", opener=_open_no_link) as file:
                file.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            if not self._is_broken:
                self._is_broken = True
                self._display.show_warning(f"the log '{self._path}' has gaps, the sweep continues: {error.strerror}")


def _open_no_link(path: str, flags: int) -> int:
    """Open a file, unless it is a link: the folder of a sweep may come from somebody else."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _stamped(text: str) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {printable(' '.join(text.splitlines()))}"
