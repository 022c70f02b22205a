"""Lines and tables on a console, all as plain text: names and paths of users are never markup or control characters.

Only this file prints to a console or makes texts of rich, which a test checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from sweep.formats import printable

MIN_WIDTH = 10
"""Smallest number of characters per line of a column that may wrap."""


def plain(text: str, *, style: str = "", no_wrap: bool = False) -> Text:
    """Return a text of rich without markup and without control characters.

    Examples:
        >>> plain("a[bold]b\\x1b[2J").plain
        'a[bold]b\\\\x1b[2J'
    """
    return Text(printable(text), style=style, no_wrap=no_wrap)


def print_line(console: Console, text: str, *, style: str = "") -> None:
    """Print text without wrapping it: a command in it can then be copied as one line."""
    console.print(plain(text, style=style), soft_wrap=True)


def print_heading(console: Console, name: str, text: str) -> None:
    """Print a name in bold and a text after it."""
    console.print(Text.assemble(plain(name, style="bold"), plain(f": {text}")), soft_wrap=True)


def print_table(console: Console, table: Table) -> None:
    """Print a table without cutting a name or a number.

    If it does not fit into the console, its columns move together; if that is not enough, its lines are longer.
    """
    keep_whole(table)
    if _min_width(table) > console.width:
        table.padding = (0, 0, 0, 0)
    if _min_width(table) > console.width:
        table.width = _min_width(table)
    console.print(table, crop=False)


def _min_width(table: Table) -> int:
    _, right, _, left = table.padding
    n_dividers = len(table.columns) - 1
    return sum((column.min_width or 0) + right + left for column in table.columns) + n_dividers


def keep_whole(table: Table) -> Table:
    """Set the width of each column that may not wrap to its longest line, and return the table.

    Otherwise rich shortens names and numbers in a narrow terminal.
    """
    for column in table.columns:
        if column.no_wrap:
            texts = [str(text) for text in (column.header, *column.cells)]
            column.min_width = max(cell_len(line) for text in texts for line in text.split("\n"))
    return table


def new_table(*, title: str | None = None, gap: int = 1) -> Table:
    """Return an empty table.

    Args:
        title: text above the table.
        gap: spaces between two columns, besides the space that belongs to the box.
    """
    return Table(
        title=None if title is None else plain(title),
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, gap, 0, 0),
        show_edge=False,
    )


def add_column(
    table: Table, heading: str, *, justify: JustifyMethod = "right", wrap: bool = False, min_width: int = MIN_WIDTH
) -> None:
    """Add a column.

    Args:
        table: the table.
        heading: text above the column.
        justify: side that the cells are aligned with.
        wrap: whether heading and cells may be broken into lines; a number should never be.
        min_width: smallest number of characters per line, if the column may wrap.
    """
    table.add_column(plain(heading), justify=justify, no_wrap=not wrap, overflow="fold", min_width=min_width)


def add_row(table: Table, cells: Sequence[str], *, style: str = "") -> None:
    """Add a row of plain text."""
    table.add_row(*(plain(cell, style=style) for cell in cells))


@dataclass(frozen=True)
class Column:
    """One column of plain text, of which nothing is cut or broken."""

    head: str
    cells: tuple[str, ...]
    justify: JustifyMethod = "right"

    @property
    def width(self) -> int:
        """Number of characters of the widest line."""
        return max(cell_len(line) for text in (self.head, *self.cells) for line in printable(text).split("\n"))


def total_width(columns: Sequence[Column], *, gap: int = 1) -> int:
    """Return the characters per line, with ``gap`` spaces between the columns."""
    return sum(column.width for column in columns) + gap * (len(columns) - 1)


def fit_width(columns: Sequence[Column], width: int, *, without: Sequence[str]) -> list[Column]:
    """Return the columns that fit side by side; those named in ``without`` are left out if need be, in this order.

    Examples:
        >>> columns = [Column("arm", ("cutmix",)), Column("error", ("7.31 %",)), Column("ECE", ("0.05",))]
        >>> [column.head for column in fit_width(columns, 14, without=("ECE",))]
        ['arm', 'error']
    """
    fitting = list(columns)
    for head in without:
        if total_width(fitting) > width:
            fitting = [column for column in fitting if column.head != head]
    return fitting


def print_columns(console: Console, columns: Sequence[Column], *, without: Sequence[str]) -> None:
    """Print columns as a table; a terminal that is too narrow lacks those that are named in ``without``."""
    if console.is_terminal:
        columns = fit_width(columns, console.width, without=without)
    table = new_table(gap=0)
    for column in columns:
        add_column(table, column.head, justify=column.justify)
    for cells in zip(*(column.cells for column in columns), strict=True):
        add_row(table, cells)
    print_table(console, table)
