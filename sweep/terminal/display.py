"""The terminal as the display of a running sweep or evaluation."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from sweep.formats import format_duration, printable
from sweep.terminal.tables import plain, print_line

if TYPE_CHECKING:  # it is shown on this display that they are being loaded
    from sweep.conductor import Conductor
    from sweep.progress import ProgressTracker

PATIENCE_S = 2.0
"""Time after which a step is named where there is no terminal."""

SUMMARY_S = 60.0
"""Pause between two lines about an evaluation where there is no terminal."""


class TerminalDisplay:
    """Show on a console: a live table and moving status lines in a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, *, quiet: bool = False, verbose: bool = False) -> None:
        """Show on ``console``.

        Args:
            console: where to print.
            quiet: show warnings and failed trials only.
            verbose: show one line per epoch and per event, also in a terminal.
        """
        self._console = console
        self._quiet = quiet
        self._verbose = verbose
        self._live = console.is_terminal and not console.is_dumb_terminal and not quiet
        self._steps = _Steps()

    def show_line(self, text: str) -> None:
        """Print one line, unless the display is quiet."""
        if not self._quiet:
            print_line(self._console, text)

    def show_warning(self, text: str) -> None:
        """Print one line in yellow."""
        print_line(self._console, text, style="yellow")

    @contextlib.contextmanager
    def show_status(self, text: str) -> Iterator[None]:
        """Show what the program waits for, and for how long.

        A step within a step replaces its text until it ends. Outside a terminal, a step that takes longer than
        ``PATIENCE_S`` is named in one line.
        """
        if self._quiet:
            yield
            return
        with self._moving(text) if self._live else self._named_if_slow(text):
            yield

    @contextlib.contextmanager
    def _moving(self, text: str) -> Iterator[None]:
        self._steps.names.append((text, time.monotonic()))
        # the dots of the default spinner are not ASCII
        spinner = "line" if self._console.options.ascii_only else "dots"
        is_first = len(self._steps.names) == 1
        try:
            with self._console.status(self._steps, spinner=spinner) if is_first else contextlib.nullcontext():
                yield
        finally:
            self._steps.names.pop()

    @contextlib.contextmanager
    def _named_if_slow(self, text: str) -> Iterator[None]:
        timer = threading.Timer(PATIENCE_S, self.show_line, [f"{text} ..."])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def show_sweep(self, conductor: Conductor) -> AbstractContextManager[Callable[[], None]]:
        """Show the progress of a sweep; the function that the context yields draws or prints what is due."""
        from sweep.progress import ProgressTracker

        return self.show_progress(ProgressTracker(conductor))

    @contextlib.contextmanager
    def show_progress(self, tracker: ProgressTracker) -> Iterator[Callable[[], None]]:
        """Show the progress of a sweep, which another process may run."""
        from sweep.terminal.progress import LiveTable, PlainProgress

        quiet, verbose = self._quiet, self._verbose
        if not self._live:
            with PlainProgress(tracker, self._console, quiet=quiet, verbose=verbose) as plain:
                yield plain.update
        elif not verbose:
            with LiveTable(tracker, self._console) as table:
                yield table.update
        else:  # the lines appear above the table
            with (
                LiveTable(tracker, self._console) as table,
                PlainProgress(tracker, self._console, verbose=True) as plain,
            ):

                def update() -> None:
                    plain.update()
                    table.update()

                yield update

    @contextlib.contextmanager
    def show_measurements(self, n_measurements: int) -> Iterator[Callable[[str], None]]:
        """Show a bar; the yielded function advances it by one measurement. Elsewhere: one line per minute."""
        if not self._live:
            yield self._measurement_lines(n_measurements)
            return
        # rich's default columns would read the description as markup
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        with Bar(*columns, *times, console=self._console, transient=True) as bar:
            task = bar.add_task("measuring", total=n_measurements)

            def update(text: str) -> None:
                bar.update(task, advance=1, description=printable(text))
                if self._verbose:
                    self.show_line(text)

            yield update

    def _measurement_lines(self, n_measurements: int) -> Callable[[str], None]:
        began_at_s = shown_at_s = time.monotonic()
        n_done = 0

        def update(text: str) -> None:
            nonlocal n_done, shown_at_s
            n_done, now_s = n_done + 1, time.monotonic()
            if self._verbose or now_s - shown_at_s >= SUMMARY_S:
                shown_at_s = now_s
                elapsed = format_duration(now_s - began_at_s)
                clock = time.strftime("%H:%M:%S")
                self.show_line(f"{clock} {n_done}/{n_measurements} measurements, {elapsed}, last: {text}")

        return update


class _Steps:
    """Steps that the program is in, each within the one before; rich draws the last one again and again."""

    def __init__(self) -> None:
        self.names: list[tuple[str, float]] = []

    def __rich__(self) -> Text:
        name, began_at_s = self.names[-1]
        return plain(f"{name}, {format_duration(time.monotonic() - began_at_s)}")
