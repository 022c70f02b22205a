"""What a function of ``sweep.terminal`` prints, as text or as HTML."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweep.notebook.html import Html, heading, paragraph, table

WIDTH = 100
"""Columns of a text."""


def printed_text(print_to: Callable[[Console], object]) -> str:
    """Return what ``print_to`` prints, without colours.

    Examples:
        >>> printed_text(lambda console: console.print("7.31 %", style="red"))
        '7.31 %'
    """
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_jupyter=False)
    with console.capture() as captured:
        print_to(console)
    return captured.get().rstrip()


def printed_html(print_to: Callable[[Console], object]) -> Html:
    """Return what ``print_to`` prints as paragraphs and tables.

    Examples:
        >>> "box &amp; off" in printed_html(lambda console: console.print(Text("box & off")))
        True
    """
    console = _HtmlConsole()
    print_to(console)
    return Html("".join(console.parts))


class _HtmlConsole(Console):
    """Collect texts and tables in place of printing them."""

    def __init__(self) -> None:
        super().__init__(file=io.StringIO(), width=WIDTH, force_jupyter=False)
        self.parts: list[Html] = []

    def print(self, *objects: Any, **_: Any) -> None:
        """Collect the objects."""
        self.parts += map(_to_html, objects)


def _to_html(printed: Any) -> Html:
    match printed:
        case Table(columns=columns):
            cells = [[str(cell) for cell in column.cells] for column in columns]
            return table([str(column.header) for column in columns], list(zip(*cells, strict=True)))
        case Text() if any(span.style == "bold" for span in printed.spans):
            return heading(printed.plain)
    return paragraph(str(printed))
