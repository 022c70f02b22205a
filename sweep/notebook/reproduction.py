"""A table of the paper that was computed again, as a Python object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from search_spaces.table import TablePart, read_table
from sweep.notebook.handle import Sweep
from sweep.notebook.printed import printed_html, printed_text
from sweep.reproduce import begun_folders
from sweep.terminal.reproduction import print_reproduction

if TYPE_CHECKING:
    import pandas as pd


class Reproduction:
    """Own values beside the published ones; it is shown as by the command ``reproduce``.

    Attributes:
        table: name of the table.
        rows: one row per number, see :func:`analysis.published.fill_table`.
        not_comparable: differences because of which the numbers are not comparable with the paper's; empty: they are.
        sweeps: the sweeps by the name of their study.

    Examples:
        >>> import cutmix_sweep as cs
        >>> table = cs.reproduce("ablation", scale="smoke", out="paper")  # doctest: +SKIP
        >>> table.rows[["arm", "own", "published"]]  # doctest: +SKIP
    """

    rows: pd.DataFrame

    def __init__(self, table: str, parts: Sequence[TablePart], out: Path) -> None:
        """Read the sweeps of a table as far as they have come."""
        from analysis.published import fill_folders, why_not_comparable

        self.table = table
        self._read = read_table(table)
        with begun_folders(parts, out) as folders:
            self.rows = fill_folders(folders, **self._read.published_values())
        self.not_comparable = why_not_comparable(self.rows)
        self.sweeps = {name: Sweep(out / name) for name in folders}

    def __repr__(self) -> str:
        """Return the table as text."""
        return printed_text(self._print_to)

    def _repr_html_(self) -> str:
        return printed_html(self._print_to)

    def _print_to(self, console: Console) -> None:
        print_reproduction(self.table, self._read, self.rows, self.not_comparable, console)
