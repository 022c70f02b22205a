"""The terminal as the display of a running sweep or evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from sweep.conductor import Conductor
from sweep.terminal.progress import Progress
from sweep.terminal.tables import print_line


class TerminalDisplay:
    """Show on a console: a live table in a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        """Show on ``console``."""
        self._console = console

    def show_line(self, text: str) -> None:
        """Print one line."""
        print_line(self._console, text)

    def show_warning(self, text: str) -> None:
        """Print one line in yellow."""
        print_line(self._console, text, style="yellow")

    def show_status(self, text: str) -> contextlib.AbstractContextManager[object]:
        """Return a context with a moving status line; nothing is printed outside a terminal."""
        return self._console.status(Text(text))

    @contextlib.contextmanager
    def show_sweep(self, conductor: Conductor) -> Iterator[Callable[[], None]]:
        """Show one row per arm; the yielded function draws an update if one is due."""
        with Progress(conductor, self._console) as progress:
            yield progress.update

    @contextlib.contextmanager
    def show_measurements(self, n_measurements: int) -> Iterator[Callable[[str], None]]:
        """Show a bar; the yielded function advances it by one measurement."""
        # rich's default columns would read the description as markup
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        with RichProgress(*columns, TimeRemainingColumn(), console=self._console, transient=True) as bar:
            task = bar.add_task("measuring", total=n_measurements)
            yield lambda text: bar.update(task, advance=1, description=text)
