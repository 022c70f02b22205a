"""Merging parts of a table: the smaller ones are deleted after the larger one was read back."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from sweep.records.part_file import PartContent, digest_of, read_part, write_part
from sweep.records.parts import Part
from sweep.records.schema import RECORDS, Table
from sweep.records.table_files import read_parts
from trainables.intact import DamagedFile, set_aside


def merge_parts(sweep_dir: Path, table: Table, study_sha256: str, *, from_row: int = 0) -> None:
    """Merge the parts of a table into one, with a copy; a kill in between leaves rows twice, never a gap.

    Args:
        sweep_dir: folder of the sweep.
        table: the table.
        study_sha256: checksum of the study that the sweep has now.
        from_row: first row of the first part that is merged; earlier parts stay as they are.

    Raises:
        DamagedRecords: rows are missing or damaged; nothing was written.
        OSError: the merged part cannot be written or read back; nothing was deleted.
    """
    read = read_parts(sweep_dir, table, from_row=from_row)
    # parts of an older version lack newer columns
    rows = pa.concat_tables([table.schema.empty_table(), *read.rows], promote_options="default")
    content = PartContent(rows, study_sha256, tuple(read.lost))
    parts = [each.part for each in read.parts]
    merged = write_part(sweep_dir / RECORDS / table.name, content, table, parts[0].first, parts[-1].last)
    _read_back(merged, table)
    remove_superseded(part for part in parts if part != merged)


def _read_back(part: Part, table: Table) -> None:
    """Check that a part and its copy are on disk as they were written: their names have the checksum.

    Raises:
        OSError: they are not; nothing may be deleted then.
    """
    try:
        for path in (part.path, part.copy):
            read_part(path, part, table)
    except DamagedFile as error:
        reason = f"{error.reason}, although it was written just now"
        raise OSError(errno.EIO, reason, str(error.path)) from None


def remove_superseded(parts: Iterable[Part]) -> None:
    """Delete parts that a larger, verified part contains: the copy before the file; a damaged file is set aside."""
    for part in parts:
        for path in (part.copy, part.path):
            try:
                is_intact = not part.digest or digest_of(path.read_bytes()) == part.digest
            except FileNotFoundError:
                continue
            except OSError:  # for example a folder of that name
                is_intact = False
            if is_intact:
                path.unlink(missing_ok=True)
            else:
                set_aside(path)
