"""New rows of a table that a running sweep appends to; rows that were read before are not read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sweep.records.schema import JSON_COLUMNS, Table
from sweep.records.table_files import read_parts
from trainables.renames import json_with_present_keys


class Tail:
    """Reader of the rows that are appended to a table.

    A row is returned once. The rows are not reduced to one per key: a trial has one row per change of its status.

    Examples:
        >>> import tempfile
        >>> from sweep.records.schema import EPOCHS, SCHEMA_VERSION
        >>> from sweep.records.writer import RecordsWriter, write_manifest
        >>> sweep_dir = Path(tempfile.mkdtemp())
        >>> write_manifest(sweep_dir, {"schema_version": SCHEMA_VERSION})
        >>> records, tail = RecordsWriter(sweep_dir), Tail(sweep_dir, EPOCHS)
        >>> for epoch in (1, 2):
        ...     records.add(EPOCHS, {"trial": "off-0000", "epoch": epoch})
        ...     records.flush(force=True)
        ...     [row["epoch"] for row in tail.new_rows()]
        True
        [1]
        True
        [2]
    """

    def __init__(self, sweep_dir: Path, table: Table) -> None:
        """Begin before the first row of ``table``."""
        self._table = table
        self._dir = sweep_dir
        self._next = 0

    def new_rows(self) -> list[dict[str, Any]]:
        """Return the rows that were appended since the last call, in the order of writing; nulls are None.

        As in ``read_table``, renamed keys of a configuration have present names, the search of an older version is 0,
        and any other column is null that the older program of a part did not have.

        Raises:
            RecordsError: a part is missing or cannot be read.
        """
        read = read_parts(self._dir, self._table, from_row=self._next)
        # a part that was merged has old rows as well
        tables = [rows.filter(pc.greater_equal(rows["seq"], self._next)) for rows in read.rows]
        if read.parts:
            self._next = read.parts[-1].part.last + 1
        return self._rows(tables)

    def _rows(self, tables: list[pa.Table]) -> list[dict[str, Any]]:
        tables = [self._table.schema.empty_table(), *tables]
        rows: list[dict[str, Any]] = pa.concat_tables(tables, promote_options="default").to_pylist()
        for column in set(JSON_COLUMNS) & set(self._table.schema.names):
            for row in rows:
                row[column] = row[column] and json_with_present_keys(row[column])
        if "search" in self._table.schema.names:
            for row in rows:
                row["search"] = row["search"] or 0  # null in records of older versions, which had one search per arm
        return rows
