"""New rows of a table that a running sweep appends to; rows that were read before are not read again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sweep.records.errors import RecordsError
from sweep.records.parts import Part, is_gapless, live_parts
from sweep.records.reader import ATTEMPTS, JSON_COLUMNS, PAUSE_S
from sweep.records.schema import RECORDS, Table
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
        self._folder = sweep_dir / RECORDS / table.name
        self._next = 0

    def new_rows(self) -> list[dict[str, Any]]:
        """Return the rows that were appended since the last call, in the order of writing; nulls are None.

        As in ``read_table``, renamed keys of a configuration have present names, and a column is null that the older
        program of a part did not have.

        Raises:
            RecordsError: a part is missing or cannot be read.
        """
        for _ in range(ATTEMPTS):
            try:
                parts = live_parts(self._folder)
                if is_gapless(parts):
                    tables = [self._read(part) for part in parts if part.last >= self._next]
                    self._next = parts[-1].last + 1 if parts else 0
                    return self._rows(tables)
            except FileNotFoundError:  # the writer merges parts at the same time
                pass
            except pa.ArrowInvalid as error:
                raise RecordsError(f"cannot read the records in '{self._folder}': {error}") from None
            time.sleep(PAUSE_S)
        raise RecordsError(f"cannot read the records in '{self._folder}': a part is missing")

    def _rows(self, tables: list[pa.Table]) -> list[dict[str, Any]]:
        tables = [self._table.schema.empty_table(), *tables]
        rows: list[dict[str, Any]] = pa.concat_tables(tables, promote_options="default").to_pylist()
        for column in set(JSON_COLUMNS) & set(self._table.schema.names):
            for row in rows:
                row[column] = row[column] and json_with_present_keys(row[column])
        return rows

    def _read(self, part: Part) -> pa.Table:
        """Return the new rows of a part; a part that was merged has old ones as well."""
        with pq.ParquetFile(part.path, pre_buffer=False) as file:
            rows = file.read(use_threads=False)
        return rows.filter(pc.greater_equal(rows["seq"], self._next))
