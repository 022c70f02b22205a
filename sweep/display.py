"""What a running command shows, and to whom: an interface, and a display that shows nothing.

Only the command line and the terminal import rich. All other modules receive a display from their caller, so they also
run in a notebook and in a test.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from sweep.conductor import Conductor


class Display(Protocol):
    """Receive what a running sweep or evaluation shows.

    All texts are plain text. A display never interprets them as markup: they contain paths and names of users.
    """

    def show_line(self, text: str) -> None:
        """Show one line."""

    def show_warning(self, text: str) -> None:
        """Show one line that needs attention."""

    def show_status(self, text: str) -> AbstractContextManager[object]:
        """Return a context during which ``text`` says what the program waits for."""

    def show_sweep(self, conductor: Conductor) -> AbstractContextManager[Callable[[], None]]:
        """Return a context that shows the progress of a sweep.

        Its value is a function without arguments, which draws an update. It is called after each event of the sweep,
        so the display decides how often it draws.
        """

    def show_measurements(self, n_measurements: int) -> AbstractContextManager[Callable[[str], None]]:
        """Return a context that shows the progress of an evaluation.

        Its value is a function, which is called after each measurement with a text that names the measurement.
        """


class SilentDisplay:
    """Show nothing.

    Examples:
        >>> SilentDisplay().show_line("4 of 12 trials to run")
        >>> with SilentDisplay().show_measurements(2) as update:
        ...     update("calibration of cutmix-0004")
    """

    def show_line(self, text: str) -> None:
        """Do nothing."""

    def show_warning(self, text: str) -> None:
        """Do nothing."""

    def show_status(self, text: str) -> AbstractContextManager[object]:
        """Return a context that does nothing."""
        return nullcontext()

    def show_sweep(self, conductor: Conductor) -> AbstractContextManager[Callable[[], None]]:
        """Return a context whose value is a function that does nothing."""
        return nullcontext(lambda: None)

    def show_measurements(self, n_measurements: int) -> AbstractContextManager[Callable[[str], None]]:
        """Return a context whose value is a function that does nothing."""
        return nullcontext(lambda text: None)


SILENT = SilentDisplay()
"""Display of a sweep that is started without one."""
