"""Append-only writer of a sweep's records: what is on disk is whole and readable at any instant."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweep.records.parts import live_parts, part_path
from sweep.records.schema import MANIFEST, RECORDS, TABLES, Table

MERGE_PARTS = 64
"""Number of parts of a table at which they are merged into one, so that reading stays fast."""


class RecordsWriter:
    """Collects rows and writes them as Parquet parts.

    A part is written under another name and renamed when it is whole; a reader sees all of it or nothing.
    Only one writer may be open on a sweep (the sweep's lock sees to it).
    """

    def __init__(self, sweep_dir: Path, *, flush_after_s: float = 1.0) -> None:
        """Open the records of ``sweep_dir`` to append; rows wait at most ``flush_after_s`` for company."""
        self._tables = [_TableWriter(table, sweep_dir / RECORDS / table.name) for table in TABLES.values()]
        self._by_name = {writer.table.name: writer for writer in self._tables}
        self._flush_after_s = flush_after_s
        self._flushed_at_s = time.monotonic()

    def add(self, table: Table, row: Mapping[str, Any]) -> None:
        """Add one row; columns that it lacks are null.

        Raises:
            KeyError: the row has a column that the table lacks.
        """
        self._by_name[table.name].add(row)

    def flush(self, *, force: bool = False) -> bool:
        """Write what waits, if it waited long enough or ``force`` is set; return whether nothing waits any more.

        Epochs go before decisions and decisions before trials: a trial recorded as ended has all its epochs on
        disk.
        """
        now_s = time.monotonic()
        if not force and now_s - self._flushed_at_s < self._flush_after_s:
            return False
        for writer in self._tables:
            writer.flush()
        self._flushed_at_s = now_s
        return True


class _TableWriter:
    def __init__(self, table: Table, folder: Path) -> None:
        self.table = table
        self._folder = folder
        self._rows: list[dict[str, Any]] = []
        self._names = set(table.columns.names)
        folder.mkdir(parents=True, exist_ok=True)
        parts = live_parts(folder)
        self._next = parts[-1].last + 1 if parts else 0
        self._remove_all_but({part.path for part in parts})
        self._n_parts = len(parts)

    def add(self, row: Mapping[str, Any]) -> None:
        if unknown := set(row) - self._names:
            raise KeyError(f"table {self.table.name!r} has no column {sorted(unknown)}")
        self._rows.append({"seq": self._next + len(self._rows), **row})

    def flush(self) -> None:
        if not self._rows:
            return
        rows = pa.Table.from_pylist(self._rows, schema=self.table.schema)
        self._write(rows, self._rows[0]["seq"], self._rows[-1]["seq"])
        self._next += len(self._rows)
        self._rows = []
        self._n_parts += 1
        if self._n_parts >= MERGE_PARTS:
            self._merge()

    def _merge(self) -> None:
        parts = live_parts(self._folder)
        tables = [self.table.schema.empty_table(), *(pq.ParquetFile(part.path).read() for part in parts)]
        rows = pa.concat_tables(tables, promote_options="default")  # parts of an older program lack newer columns
        merged = self._write(rows, parts[0].first, parts[-1].last)
        self._remove_all_but({merged})
        self._n_parts = 1

    def _write(self, rows: pa.Table, first: int, last: int) -> Path:
        path = part_path(self._folder, first, last)
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            pq.write_table(rows, file)
            file.flush()
            os.fsync(file.fileno())  # the name must not reach the disk before the rows
        unfinished.replace(path)
        return path

    def _remove_all_but(self, kept: set[Path]) -> None:
        for path in self._folder.iterdir():
            if path not in kept:
                path.unlink()


def write_manifest(sweep_dir: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``sweep.json`` whole: a reader sees the old one or the new one."""
    unfinished = sweep_dir / f"{MANIFEST}.{os.getpid()}.unfinished"
    with unfinished.open("w") as file:
        file.write(json.dumps(manifest, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(sweep_dir / MANIFEST)
