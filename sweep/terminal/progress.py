"""The progress of a running sweep on a console: a live table in a terminal, one line per event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment

from sweep.event_lines import EventLine, EventLines
from sweep.progress import ProgressTracker
from sweep.terminal.live_table import draw_progress
from sweep.terminal.tables import print_line

DRAW_S = 0.25
"""Shortest pause between two draws of the live table."""

MAX_DRAW_FRAC = 0.05
"""Largest fraction of the time that is spent on draws: with thousands of trials, a draw takes longer."""


class PlainProgress:
    """Print one line per event, with the time of day; use it as a context."""

    def __init__(
        self, tracker: ProgressTracker, console: Console, *, quiet: bool = False, verbose: bool = False
    ) -> None:
        """Print the events of a sweep on ``console``; if ``quiet``, failures only; if ``verbose``, epochs too."""
        self._lines = EventLines(tracker, verbose=verbose)
        self._console = console
        self._quiet = quiet

    def __enter__(self) -> PlainProgress:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Print the remaining lines."""
        self._print(self._lines.last())

    def update(self) -> None:
        """Print the lines that are due."""
        self._print(self._lines.new())

    def _print(self, lines: Iterable[EventLine]) -> None:
        for line in lines:
            if line.failure or not self._quiet:
                style = "yellow" if line.failure else ""
                print_line(self._console, f"{time.strftime('%H:%M:%S')} {line.text}", style=style)


class LiveTable:
    """Draw a table that follows the sweep and the size of the terminal; use it as a context."""

    def __init__(self, tracker: ProgressTracker, console: Console) -> None:
        """Draw the state of a sweep on ``console``."""
        self._tracker = tracker
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._due_at_s = 0.0
        self._drawn: RenderableType = ""
        self._width = console.width

    def __enter__(self) -> LiveTable:
        """Hide the cursor and draw for the first time."""
        self._live.start()
        self.update()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        """Remove the table and show the cursor again."""
        self._erase_reflowed()
        self._live.stop()

    def update(self) -> None:
        """Draw if it is time."""
        began_at_s = time.monotonic()
        if began_at_s < self._due_at_s:
            return
        self._erase_reflowed()
        console = self._console
        blocks = not (console.options.ascii_only or console.legacy_windows)
        # the last line stays free: some terminals scroll when it is filled
        size = {"width": console.width, "height": console.height - 1}
        self._drawn = draw_progress(self._tracker.snapshot(), **size, blocks=blocks)
        self._live.update(self._drawn, refresh=True)
        now_s = time.monotonic()
        self._due_at_s = began_at_s + max(DRAW_S, (now_s - began_at_s) / MAX_DRAW_FRAC)

    def _erase_reflowed(self) -> None:
        """Erase the lines that a terminal has added because it became narrower than the last drawing.

        rich moves the cursor up by the number of lines that it has drawn, but the terminal has broken long ones.
        """
        drawn_width, self._width = self._width, self._console.width
        if self._width >= drawn_width:
            return
        options = self._console.options.update(width=drawn_width)
        lines = self._console.render_lines(self._drawn, options, pad=False)
        n_added = sum(max(Segment.get_line_length(line) - 1, 0) // self._width for line in lines)
        erase = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
        self._console.control(Control(*(erase * n_added)))
