"""Append-only writer of a sweep's records: the files on disk are complete and readable at any instant."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sweep.lock import LockLost, check_held
from sweep.mirrored import mirror_of, save
from sweep.records.counts import write_counts
from sweep.records.errors import DamagedRecords, RecordsError, warn_once
from sweep.records.manifest_file import read_manifest_file, study_sha256, write_manifest
from sweep.records.merge import merge_parts
from sweep.records.part_file import PartContent, write_part
from sweep.records.parts import Part, live_parts
from sweep.records.repair import repair_records
from sweep.records.schema import MANIFEST, RECORDS, TABLES, Table
from trainables.intact import DamagedFile

__all__ = ["MERGE_PARTS", "RecordsWriter", "write_manifest"]

MERGE_PARTS = 64
"""Number of new parts of a table after which they are merged into one: with many small parts, reading is slow."""


class RecordsWriter:
    """Buffer of rows that are written as Parquet parts.

    A part is written under a temporary name and renamed when it is complete: a reader sees all of it or nothing. Its
    second copy follows, then the number of rows in ``counts.json``. Only one writer may be open per sweep; the sweep's
    lock ensures this.

    Attributes:
        flush_s: duration of the last write, seconds; 0 before it.
    """

    def __init__(self, sweep_dir: Path, *, flush_after_s: float = 1.0, repaired: bool = False) -> None:
        """Open the records of a sweep to append.

        Records of an older version are brought to the present schema first: an older version then refuses them.
        Damaged records are repaired, and each repair is a warning.

        Args:
            sweep_dir: folder of the sweep.
            flush_after_s: longest time that rows are buffered; longer in an object store, where a part is a request.
            repaired: whether the caller, who holds the lock, has just called ``repair_records``: it reads every file.

        Raises:
            RecordsError: a newer program wrote the records.
        """
        for finding in [] if repaired else repair_records(sweep_dir):
            warn_once(finding.describe())
        self._dir = sweep_dir
        self._study = _RecordedStudy(sweep_dir / MANIFEST)
        self._tables = [_TableWriter(table, sweep_dir, self._study) for table in TABLES.values()]
        self._by_name = {writer.table.name: writer for writer in self._tables}
        mirror = mirror_of(sweep_dir)
        self._flush_after_s = flush_after_s if mirror is None else max(flush_after_s, mirror.save_after_s)
        self._flushed_at_s = time.monotonic()
        self.flush_s = 0.0

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
            OSError: a file cannot be written, or the folder of the sweep was deleted.
            LockLost: another process has taken the sweep over; nothing is written.
        """
        now_s = time.monotonic()
        if not force and now_s - self._flushed_at_s < self._flush_after_s:
            save(self._dir, wait=False)
            return False
        check_held(self._dir)
        written = {writer: part for writer in self._tables if (part := writer.flush()) is not None}
        self._take_back_if_lost(written.values())
        for writer in written:
            writer.merge_if_many()
        if written:  # after the merge: a counted row has a second copy
            write_counts(self._dir, {writer.table.name: writer.n_written for writer in self._tables})
        self._flushed_at_s = now_s
        save(self._dir, wait=force)
        self.flush_s = time.monotonic() - now_s
        return True

    def _take_back_if_lost(self, written: Iterable[Part]) -> None:
        """Remove parts that were just written if the lock is lost: the successor may have written these rows too."""
        try:
            check_held(self._dir)
        except LockLost:
            for part in written:
                for path in (part.copy, part.path):
                    with contextlib.suppress(OSError):
                        path.unlink()
            raise


class _RecordedStudy:
    """Checksum of the study that ``sweep.json`` has now: `extend` writes another one after the writer was opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._sha256 = ""

    @property
    def sha256(self) -> str:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return self._sha256
        seen = stat.st_ino, stat.st_mtime_ns
        if seen != self._seen:
            try:
                self._sha256 = study_sha256(read_manifest_file(self._path).get("study", {}))
                self._seen = seen
            except (DamagedFile, RecordsError, FileNotFoundError):
                pass  # damaged while the sweep runs: the study that runs is still the one before
        return self._sha256


class _TableWriter:
    def __init__(self, table: Table, sweep_dir: Path, study: _RecordedStudy) -> None:
        self.table = table
        self._dir = sweep_dir
        self._folder = sweep_dir / RECORDS / table.name
        self._study = study
        self._rows: list[dict[str, Any]] = []
        self._names = set(table.columns.names)
        self._folder.mkdir(parents=True, exist_ok=True)
        parts = live_parts(self._folder)
        self.n_written = parts[-1].last + 1 if parts else 0
        self._n_parts = len(parts)

    def add(self, row: Mapping[str, Any]) -> None:
        if unknown := set(row) - self._names:
            raise KeyError(f"table {self.table.name!r} has no column {sorted(unknown)}")
        self._rows.append({"seq": self.n_written + len(self._rows), **row})

    def flush(self) -> Part | None:
        """Write the buffered rows and return their part; None if there were none."""
        if not self._rows:
            return None
        rows = pa.Table.from_pylist(self._rows, schema=self.table.schema)
        content = PartContent(rows, self._study.sha256)
        part = write_part(self._folder, content, self.table, self._rows[0]["seq"], self._rows[-1]["seq"])
        self.n_written += len(self._rows)
        self._rows = []
        self._n_parts += 1
        return part

    def merge_if_many(self) -> None:
        """Merge the parts if there are many."""
        if self._n_parts < MERGE_PARTS:
            return
        try:
            merge_parts(self._dir, self.table, self._study.sha256, from_row=_first_to_merge(live_parts(self._folder)))
        except DamagedRecords as error:
            warn_once(f"{error}; the sweep continues, but its records are not merged")
            self._n_parts = 0  # the next attempt comes after as many parts
        else:
            self._n_parts = 1


def _first_to_merge(parts: Sequence[Part]) -> int:
    """Return the first row of the parts that are merged: the new ones, and those before them that are not much larger.

    A row is written again only into a part that is at least 1.5 times as large. Otherwise, each merge of a long sweep
    would write all its rows.

    Examples:
        >>> new = [Part(row, row, "", Path()) for row in range(790, 853)]
        >>> _first_to_merge([Part(0, 699, "", Path()), Part(700, 789, "", Path()), *new])
        700
    """
    first = n_rows = 0  # without parts, for example in a folder that was just deleted, nothing is left out
    for n_taken, part in enumerate(reversed(parts)):
        if n_taken >= MERGE_PARTS - 1 and part.n_rows >= 2 * n_rows:
            break
        first, n_rows = part.first, n_rows + part.n_rows
    return first
