"""A notebook as the display of a running sweep or evaluation: one output that is updated in place."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

from rich.console import Console

from sweep.conductor import Conductor
from sweep.display import Display
from sweep.formats import format_duration
from sweep.mirrored import shown
from sweep.notebook.html import paragraph
from sweep.notebook.progress import WARNING, progress_html
from sweep.progress import ProgressTracker
from sweep.terminal.display import TerminalDisplay

DRAW_S = 0.5
"""Shortest time between two updates of the output by events of a sweep."""

MAX_DRAW_FRAC = 0.05
"""Largest fraction of the time that is spent on updates: with thousands of trials, an update takes longer."""


def in_notebook() -> bool:
    """Return whether this code runs in a Jupyter kernel; IPython is imported already there.

    Examples:
        >>> in_notebook()
        False
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def choose_display() -> Display:
    """Return the display of the place where this code runs: an output of a notebook, a terminal or a file."""
    if not in_notebook():
        return TerminalDisplay(Console())
    _silence_widgets()
    return NotebookDisplay()


def _silence_widgets() -> None:
    """Hide that ipywidgets is missing, which tqdm and Ray report in a notebook: nothing here uses it."""
    logging.getLogger("ray.widgets").setLevel(logging.CRITICAL)
    with warnings.catch_warnings(), contextlib.suppress(ImportError):
        warnings.simplefilter("ignore")
        importlib.import_module("tqdm.auto")  # it warns once, when it is first imported


class NotebookDisplay:
    """Show lines, the current step and the progress in one output of a cell."""

    def __init__(self) -> None:
        """Make a display; its output appears with the first text."""
        self._lines: list[str] = []
        self._step = ""
        self._body: Callable[[], str] = str
        self._display_id = uuid.uuid4().hex
        self._shown = False
        self._lock = threading.Lock()

    def show_line(self, text: str) -> None:
        """Show one line."""
        self._lines.append(paragraph(shown(text)))
        self._draw()

    def show_warning(self, text: str) -> None:
        """Show one line in orange."""
        self._lines.append(paragraph(shown(text), style=WARNING))
        self._draw()

    @contextlib.contextmanager
    def show_status(self, text: str) -> Iterator[None]:
        """Show ``text`` and the elapsed time until the context ends."""
        started_s = time.monotonic()

        def draw() -> None:
            elapsed = format_duration(time.monotonic() - started_s)
            self._step = paragraph(f"{text} ... {elapsed}", style="opacity: 0.7")
            self._draw()

        draw()
        try:
            with _every_second(draw):
                yield
        finally:
            self._step = ""
            self._draw()

    @contextlib.contextmanager
    def show_sweep(self, conductor: Conductor) -> Iterator[Callable[[], None]]:
        """Show the arms and the running trials; the yielded function draws an update if one is due."""
        tracker = ProgressTracker(conductor)
        progress, taken_at_s, due_at_s = tracker.snapshot(), time.monotonic(), 0.0

        def body() -> str:
            # drawn by another thread too, which must not read the conductor: between two events only the time changes
            return progress_html(replace(progress, elapsed_s=progress.elapsed_s + time.monotonic() - taken_at_s))

        def update(*, at_once: bool = False) -> None:
            nonlocal progress, taken_at_s, due_at_s
            now_s = time.monotonic()
            if at_once or now_s >= due_at_s:
                progress, taken_at_s = tracker.snapshot(), now_s
                self._draw()
                cost_s = time.monotonic() - now_s
                due_at_s = now_s + max(DRAW_S, cost_s / MAX_DRAW_FRAC)

        self._body = body
        self._draw()
        try:
            with _every_second(self._draw):
                yield update
        finally:
            update(at_once=True)
            self._close_body()

    @contextlib.contextmanager
    def show_measurements(self, n_measurements: int) -> Iterator[Callable[[str], None]]:
        """Show the number of measurements; the yielded function adds one."""
        n_done, latest, started_s = 0, "", time.monotonic()

        def body() -> str:
            elapsed = format_duration(time.monotonic() - started_s)
            return paragraph(f"{n_done} of {n_measurements} measurements, {elapsed}{latest}")

        def update(text: str) -> None:
            nonlocal n_done, latest
            n_done, latest = n_done + 1, f"; {text}"
            self._draw()

        self._body = body
        self._draw()
        try:
            with _every_second(self._draw):
                yield update
        finally:
            self._close_body()

    def _close_body(self) -> None:
        """Keep the last state of the progress as a line."""
        self._lines.append(self._body())
        self._body = str
        self._draw()

    def _draw(self) -> None:
        from IPython.display import display

        with self._lock:
            html = "".join([*self._lines, self._step, self._body()])
            data = {"text/html": f"<div>{html}</div>", "text/plain": "cutmix-sweep: progress needs HTML"}
            display(data, raw=True, display_id=self._display_id, update=self._shown)
            self._shown = True


@contextlib.contextmanager
def _every_second(draw: Callable[[], None]) -> Iterator[None]:
    """Call ``draw`` in another thread once per second, so that the elapsed time moves while this thread waits."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(1.0):
            draw()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
