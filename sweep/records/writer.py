"""Append-only writer of a sweep's records: the files on disk are complete and readable at any instant."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweep.lock import check_held
from sweep.records.errors import RecordsError
from sweep.records.parts import live_parts, part_path
from sweep.records.reader import read_manifest
from sweep.records.schema import MANIFEST, RECORDS, SCHEMA_VERSION, TABLES, Table
from trainables.whole_file import whole_file, write_whole

MERGE_PARTS = 64
"""Number of parts of a table that are merged into one: with many small parts, reading is slow."""


class RecordsWriter:
    """Buffer of rows that are written as Parquet parts.

    A part is written under a temporary name and renamed when it is complete: a reader sees all of it or nothing. Only
    one writer may be open per sweep; the sweep's lock ensures this.
    """

    def __init__(self, sweep_dir: Path, *, flush_after_s: float = 1.0) -> None:
        """Open the records of ``sweep_dir`` to append; rows are buffered for at most ``flush_after_s``.

        Records of an older version are brought to the present schema first: an older version then refuses them.

        Raises:
            RecordsError: a newer program wrote the records.
        """
        self._dir = sweep_dir
        _upgrade(sweep_dir)
        self._tables = [_TableWriter(table, sweep_dir / RECORDS / table.name) for table in TABLES.values()]
        self._by_name = {writer.table.name: writer for writer in self._tables}
        self._flush_after_s = flush_after_s
        self._flushed_at_s = time.monotonic()

    def add(self, table: Table, row: Mapping[str, Any]) -> None:
        """Add one row to the buffer; missing columns are null.

        Raises:
            KeyError: the row has a column that the table lacks.
        """
        self._by_name[table.name].add(row)

    def flush(self, *, force: bool = False) -> bool:
        """Write the buffer if ``flush_after_s`` have passed or ``force`` is set; return whether it was written.

        Epochs are written before decisions, and decisions before trials. So a trial that is recorded as ended has all
        its epochs on disk.

        Raises:
            LockLost: another process has taken the sweep over; nothing is written.
        """
        now_s = time.monotonic()
        if not force and now_s - self._flushed_at_s < self._flush_after_s:
            return False
        check_held(self._dir)
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
        rows = pa.concat_tables(tables, promote_options="default")  # parts of an older version lack newer columns
        # the smaller parts are deleted last: a kill in between leaves rows twice, never a gap
        self._remove_all_but({self._write(rows, parts[0].first, parts[-1].last)})
        self._n_parts = 1

    def _write(self, rows: pa.Table, first: int, last: int) -> Path:
        path = part_path(self._folder, first, last)
        with whole_file(path) as file:
            pq.write_table(rows, file)
        return path

    def _remove_all_but(self, kept: set[Path]) -> None:
        for path in self._folder.iterdir():
            if path not in kept:
                path.unlink()


def write_manifest(sweep_dir: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``sweep.json``: a reader sees the old content or the new content."""
    check_held(sweep_dir)
    write_whole(sweep_dir / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def _upgrade(sweep_dir: Path) -> None:
    """Bring the records of an older version to the present schema.

    The manifest goes first: after a kill in between, no older program appends to renamed tables.
    """
    if (sweep_dir / MANIFEST).exists():
        manifest = read_manifest(sweep_dir)
        if manifest["schema_version"] < SCHEMA_VERSION:
            write_manifest(sweep_dir, {**manifest, "schema_version": SCHEMA_VERSION})
    for table in TABLES.values():
        if table.old_name is None or not (old := sweep_dir / RECORDS / table.old_name).is_dir():
            continue
        new = sweep_dir / RECORDS / table.name
        if new.exists():
            raise RecordsError(f"'{new.parent}' has '{old.name}' and '{new.name}', but an older version has only one")
        old.rename(new)
