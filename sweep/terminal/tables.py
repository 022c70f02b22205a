"""Lines and tables on a console, all as plain text: names and paths of users are never markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text


def print_line(console: Console, text: str, *, style: str = "") -> None:
    """Print text without wrapping it: a command in it can then be copied as one line."""
    console.print(Text(text, style=style), soft_wrap=True)


def print_heading(console: Console, name: str, text: str) -> None:
    """Print a name in bold and a text after it."""
    console.print(Text.assemble((name, "bold"), f": {text}"), soft_wrap=True)


def print_table(console: Console, table: Table) -> None:
    """Print a table; a row that is wider than the console is not cut."""
    console.print(table, crop=False)


def new_table(*, title: str | None = None, gap: int = 1) -> Table:
    """Return an empty table.

    Args:
        title: text above the table.
        gap: spaces between two columns, besides the space that belongs to the box.
    """
    return Table(
        title=None if title is None else Text(title),
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, gap, 0, 0),
        show_edge=False,
    )


def add_names(table: Table, heading: str, names: Iterable[str]) -> None:
    """Add a column for names, which is as wide as the longest name: rich would shorten it in a narrow terminal."""
    width = max((Text(name).cell_len for name in names), default=0)
    table.add_column(Text(heading), no_wrap=True, min_width=width)


def add_column(table: Table, heading: str, *, justify: JustifyMethod = "right", wrap: bool = False) -> None:
    """Add a column; a column that may not wrap keeps each number in one line."""
    table.add_column(Text(heading), justify=justify, no_wrap=not wrap, overflow="fold")


def add_row(table: Table, cells: Sequence[str]) -> None:
    """Add a row of plain text."""
    table.add_row(*(Text(cell) for cell in cells))
