"""Tables for readers, in HTML and LaTeX: rounded numbers, with the unit in the header.

A frame contains raw values and its table rounded ones: fractions become percent, their differences points.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from sweep.findings.bounds import RATE, bounds_of

MISSING = "–"
_SHORT, _LONG, _WIDE = 24, 60, 130
"""Characters: a shorter text is not wrapped on a page unless the table is wider; a longer text is wrapped in LaTeX."""

Intervals = Mapping[str, tuple[str, str]]
"""Columns of estimates, each with the columns of the lower and the upper end of its interval."""


@dataclass(frozen=True)
class FormattedTable:
    """A table of text.

    Attributes:
        cells: text of all cells, with the headers of the table and no index.
        numeric: positions of the columns that are aligned to the right.
    """

    cells: pd.DataFrame
    numeric: tuple[int, ...]

    def styled(self, name: str) -> Styler:
        """Return the table for a notebook; equal names give equal HTML."""
        places = range(len(self.cells.columns))
        rules: Any = [
            *(_rule(place, "text-align", "right") for place in places if place in self.numeric),
            *(_rule(place, "white-space", "nowrap") for place in places if self._is_whole(place)),
        ]
        styler = Styler(self.cells, uuid=name, cell_ids=False).hide(axis="index").format(escape="html")
        return styler.format_index(escape="html", axis=1).set_table_styles(rules)

    def latex(self) -> str:
        """Return a booktabs table; needs the package ``booktabs``."""
        styler = Styler(self.cells).hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
        alignment = "".join(self._alignment(place) for place in range(len(self.cells.columns)))
        return str(styler.to_latex(hrules=True, column_format=alignment))

    def _alignment(self, place: int) -> str:
        if place in self.numeric:
            return "r"
        return r"p{0.6\linewidth}" if self._longest(place) > _LONG else "l"

    def _is_whole(self, place: int) -> bool:
        width = sum(map(self._longest, range(len(self.cells.columns))))
        return place in self.numeric or (self._longest(place) <= _SHORT and width <= _WIDE)

    def _longest(self, place: int) -> int:
        return max(map(len, self.cells.iloc[:, place]), default=0)


def _rule(place: int, name: str, value: str) -> dict[str, Any]:
    return {"selector": f"th.col{place}, td.col{place}", "props": [(name, value)]}


def as_text(
    frame: pd.DataFrame,
    *,
    percent: Collection[str] = (),
    points: Collection[str] = (),
    intervals: Intervals | None = None,
) -> FormattedTable:
    """Format all values of a frame as text.

    Args:
        frame: any frame; its index becomes a column of the table unless it only counts the rows.
        percent: columns of fractions, shown in percent.
        points: columns of differences of fractions, shown in percentage points with their sign.
        intervals: columns of estimates with the ends of their intervals. The interval follows the estimate in its unit,
            for example ``30.66 (29.43 to 31.88)``, and has no column of its own.

    Raises:
        ValueError: the frame lacks a named column.
    """
    intervals = intervals or {}
    ends = [end for pair in intervals.values() for end in pair]
    if missing := [name for name in (*percent, *points, *intervals, *ends) if name not in frame]:
        raise ValueError(f"no columns {', '.join(missing)} in a table of {', '.join(map(str, frame))}")
    table = frame.reset_index(names=_index_names(frame)) if has_index(frame) else frame
    is_pivoted = frame.columns.name is not None  # then headers are values, for example arms, and stay unchanged
    headers: list[str] = []
    columns: list[list[str]] = []
    numeric: list[int] = []
    for name, values in table.items():
        if name in ends:
            continue
        unit, write = _writer(values, is_percent=name in percent, is_points=name in points)
        cells = [_cell(value, write) for value in values]
        if name in intervals:
            low, high = (table[end] for end in intervals[str(name)])
            cells = [_with_interval(*cell, write) for cell in zip(cells, low, high, strict=True)]
        if _is_number(values):
            numeric.append(len(columns))
        headers.append((str(name) if is_pivoted else str(name).replace("_", " ")) + unit)
        columns.append(cells)
    texts = pd.DataFrame({place: pd.Series(column, dtype=object) for place, column in enumerate(columns)})
    return FormattedTable(texts.set_axis(pd.Index(headers, dtype=object), axis=1), tuple(numeric))


def _cell(value: Any, write: Callable[[Any], str]) -> str:
    is_missing = pd.api.types.is_scalar(value) and (pd.isna(value) or value == "")
    return MISSING if is_missing else write(value)


def _with_interval(cell: str, low: float, high: float, write: Callable[[Any], str]) -> str:
    return cell if pd.isna(low) or pd.isna(high) else f"{cell} ({write(low)} to {write(high)})"


def has_cut_interval(
    frame: pd.DataFrame, *, percent: Collection[str] = (), points: Collection[str] = (), intervals: Intervals
) -> bool:
    """Return whether an interval of a rate in ``percent``, or of a difference in ``points``, ends at its bound.

    Examples:
        >>> frame = pd.DataFrame({"error": [0.1], "low": [0.0], "high": [0.3]})
        >>> has_cut_interval(frame, percent=["error"], intervals={"error": ("low", "high")})
        True
    """
    rates = {name: RATE for name in percent if bounds_of(name) == RATE} | dict.fromkeys(points, (-1.0, 1.0))
    ends = [
        (frame[end], bound)
        for name in intervals.keys() & rates
        for end, bound in zip(intervals[name], rates[name], strict=True)
    ]
    return any((values == bound).any() for values, bound in ends)


def has_index(frame: pd.DataFrame) -> bool:
    """Return whether the index contains more than row numbers."""
    return frame.index.nlevels > 1 or frame.index.name is not None or not pd.api.types.is_integer_dtype(frame.index)


def _index_names(frame: pd.DataFrame) -> list[Any]:
    return ["" if name is None else name for name in frame.index.names]


def _is_number(values: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _writer(values: pd.Series[Any], *, is_percent: bool, is_points: bool) -> tuple[str, Callable[[Any], str]]:
    """Return the unit for the header, and the function that formats a value."""
    if is_percent:
        return " (%)", lambda value: f"{100 * value:.2f}"
    if is_points:
        return " (points)", lambda value: f"{100 * value:+.2f}"
    if pd.api.types.is_bool_dtype(values):
        return "", lambda value: "yes" if value else "no"
    if pd.api.types.is_float_dtype(values):
        return "", f"{{:{_float_format(values.to_numpy(float))}}}".format
    return "", _plain


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) or MISSING if isinstance(value, tuple | list) else str(value)


def _float_format(values: np.ndarray) -> str:
    """Return the number format of a column: three digits of its largest value, unless its smallest would be lost."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if not len(sizes) or np.all(sizes == np.round(sizes)):
        return ".0f"
    decimals = int(np.clip(2 - np.floor(np.log10(sizes.max())), 0, 4))
    return f".{decimals}f" if sizes.min() >= 10.0**-decimals else ".3g"
