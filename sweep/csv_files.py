"""CSV files whose texts a spreadsheet program shows as texts.

A program such as Excel runs a cell that begins with ``=``, ``+``, ``-`` or ``@`` as a formula. Names of classes and
reasons of failures come from data sets and from other programs, so such a text gets an apostrophe before it. Numbers
stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import IO, Any

import pandas as pd

_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\n]")
"""Beginnings of a formula; a program may remove spaces, and take the wide forms of a sign for the sign."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]inf")


def as_cell(value: Any) -> Any:
    """Return a value as a cell that is no formula.

    Examples:
        >>> [as_cell(value) for value in ("=cmd()", "-0.5", -0.5, "cutmix-0004", "@class", None)]
        ["'=cmd()", '-0.5', -0.5, 'cutmix-0004', "'@class", None]
    """
    if not isinstance(value, str):
        return value
    # pandas puts no quotes around a carriage return, so what follows would be a cell of its own
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def write_csv(frame: pd.DataFrame, to: Path | IO[bytes], *, index: bool = False) -> None:
    """Write a frame as CSV, with the names of its columns and, if ``index``, its index; no text is a formula.

    Examples:
        >>> import io
        >>> file = io.BytesIO()
        >>> write_csv(pd.DataFrame({"class": ["=1+1", "cat"], "difference": [-0.5, 0.25]}), file)
        >>> file.getvalue().decode().splitlines()
        ['class,difference', "'=1+1,-0.5", 'cat,0.25']
    """
    table = frame.reset_index(names=_index_names(frame)) if index else frame
    cells = {place: _cells(table.iloc[:, place]) for place in range(table.shape[1])}
    safe = pd.DataFrame(cells, index=table.index).set_axis([as_cell(name) for name in table.columns], axis=1)
    safe.to_csv(to, index=False)


def _cells(column: pd.Series[Any]) -> pd.Series[Any]:
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return column
    return column.astype(object).map(as_cell)


def _index_names(frame: pd.DataFrame) -> list[Hashable]:
    return ["" if name is None else name for name in frame.index.names]
