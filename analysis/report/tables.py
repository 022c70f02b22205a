"""Frames as tables for readers: numbers with sensible digits and their unit in the header, in HTML and LaTeX.

A frame holds raw values, its table rounded ones: shares become percent, their differences points.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

MISSING = "–"
_SHORT, _LONG = 24, 60
"""Letters up to which a text is never folded on a page, and from which on it is folded in LaTeX."""

Intervals = Mapping[str, tuple[str, str]]
"""Columns of estimates, and those with the lower and the upper ends of their intervals."""


@dataclass(frozen=True)
class FormattedTable:
    """A table as it is read.

    Attributes:
        cells: all text, with the headers as they are shown and no index.
        numeric: columns, by position, that are aligned to the right.
    """

    cells: pd.DataFrame
    numeric: tuple[int, ...]

    def styled(self, name: str) -> Styler:
        """Return the table for a notebook; ``name`` makes its HTML the same each time."""
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
        return place in self.numeric or self._longest(place) <= _SHORT

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
    """Write every value of a frame as text.

    Args:
        frame: any frame; its index is a column of the table unless it only counts the rows.
        percent: columns of shares, shown in percent.
        points: columns of differences of shares, shown in percentage points with their sign.
        intervals: columns of estimates whose intervals stand behind them, as in ``30.66 (29.43 to 31.88)``, in their
            unit, in place of columns of their own.

    Raises:
        ValueError: a column that is named is not there.
    """
    intervals = intervals or {}
    ends = [end for pair in intervals.values() for end in pair]
    if missing := [name for name in (*percent, *points, *intervals, *ends) if name not in frame]:
        raise ValueError(f"no columns {', '.join(missing)} in a table of {', '.join(map(str, frame))}")
    table = frame.reset_index(names=_index_names(frame)) if has_index(frame) else frame
    is_pivoted = frame.columns.name is not None  # then headers are values, as names of arms, and stay as they are
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


def has_index(frame: pd.DataFrame) -> bool:
    """Return whether the index says more than the number of a row."""
    return frame.index.nlevels > 1 or frame.index.name is not None or not pd.api.types.is_integer_dtype(frame.index)


def _index_names(frame: pd.DataFrame) -> list[Any]:
    return ["" if name is None else name for name in frame.index.names]


def _is_number(values: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _writer(values: pd.Series[Any], *, is_percent: bool, is_points: bool) -> tuple[str, Callable[[Any], str]]:
    """Return the unit that the header names, and what writes a value."""
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
    """Return digits that suit a whole column: three of its largest value, unless they lose its smallest."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if not len(sizes) or np.all(sizes == np.round(sizes)):
        return ".0f"
    decimals = int(np.clip(2 - np.floor(np.log10(sizes.max())), 0, 4))
    return f".{decimals}f" if sizes.min() >= 10.0**-decimals else ".3g"
