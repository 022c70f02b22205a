"""Rows of the table: one fact each, written as soon as it is known."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PASS, FAIL, INFO, SKIP = "PASS", "FAIL", "-", "SKIP"
"""Verdicts: a law that holds or does not, a figure without a law, and what was not run."""


@dataclass(frozen=True)
class Row:
    """One fact.

    Attributes:
        section: section that found it.
        name: what was checked or measured.
        verdict: ``PASS``, ``FAIL``, ``-`` or ``SKIP``.
        value: the figure; None: there is none.
        unit: unit of the figure.
        remark: anything else, in one line.
        at_s: seconds since the start.
    """

    section: str
    name: str
    verdict: str
    value: float | None = None
    unit: str = ""
    remark: str = ""
    at_s: float = 0.0

    def as_line(self) -> str:
        """Return the row as one line for the terminal."""
        figure = f"{format_value(self.value)} {self.unit}".strip()
        return f"[{self.at_s:4.0f} s] {self.verdict:4s} {self.section}: {self.name}  {figure}  {self.remark}".rstrip()


def format_value(value: float | None) -> str:
    """Return a figure with three or more significant digits; empty if there is none.

    Examples:
        >>> format_value(53123.4), format_value(1.2345), format_value(None)
        ('53,123', '1.23', '')
    """
    if value is None or math.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def append_row(path: Path, row: Row) -> None:
    """Append a row to a file of JSON lines; what was written before an interruption stays."""
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(row)) + "\n")


def read_rows(path: Path) -> list[Row]:
    """Read the rows written so far; a line that was cut off is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(Row(**json.loads(line)))
    return rows


def write_report(folder: Path, machine: dict[str, Any], rows: Sequence[Row]) -> None:
    """Write ``results.json`` and ``results.md`` into a folder."""
    content = {"machine": machine, "rows": [asdict(row) for row in rows]}
    _write(folder / "results.json", json.dumps(content, indent=1))
    _write(folder / "results.md", markdown(machine, rows))


def markdown(machine: dict[str, Any], rows: Sequence[Row]) -> str:
    """Return the machine and all rows as Markdown, failures first."""
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in (PASS, FAIL, SKIP)}
    lines = [
        "# tests/gpu",
        "",
        "; ".join(f"{name}: {value}" for name, value in machine.items()),
        "",
        f"{counts[PASS]} passed, {counts[FAIL]} failed, {counts[SKIP]} not run. Ratios are within this run.",
        "",
        "| section | what | verdict | figure | remark |",
        "| --- | --- | --- | --: | --- |",
    ]
    for row in sorted(rows, key=lambda row: row.verdict != FAIL):
        cells = [row.section, row.name, row.verdict, f"{format_value(row.value)} {row.unit}".strip(), row.remark]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join([*lines, ""])


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
