"""The parts of one table, read and checked: each row once, from the file of its part or from the second copy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from sweep.records.counts import read_counts
from sweep.records.errors import DamagedRecords, describe_repair, repair_command, warn_once
from sweep.records.part_file import PartContent, read_part
from sweep.records.parts import Part, gaps_of, list_parts, valid_parts
from sweep.records.schema import RECORDS, TABLES, Table
from trainables.intact import DamagedFile

ATTEMPTS, PAUSE_S = 100, 0.02
"""Attempts to read a table during a merge of its parts: it takes milliseconds, on a slow network disk seconds."""

_READERS = 4


@dataclass(frozen=True)
class ReadPart:
    """A part that was read.

    Attributes:
        part: the part.
        content: its rows.
        damage: what is wrong with the file, if the rows come from the copy; "" if they come from the file.
    """

    part: Part
    content: PartContent
    damage: str = ""


@dataclass(frozen=True)
class ReadTable:
    """The parts of a table that could be read.

    Attributes:
        parts: the parts, in the order of their rows; a row is in one part at most.
        damaged: what is wrong with parts of which neither the file nor the copy could be read.
    """

    parts: Sequence[ReadPart]
    damaged: Mapping[Part, DamagedFile]

    @property
    def rows(self) -> list[pa.Table]:
        """Rows of each part."""
        return [each.content.rows for each in self.parts]

    @property
    def lost(self) -> list[tuple[int, int]]:
        """Ranges of rows that were lost and given up."""
        return [each for part in self.parts for each in part.content.lost]


def table_folder(sweep_dir: Path, table: Table) -> Path:
    """Return the folder of a table; in records of an older version it may have another name."""
    folder = sweep_dir / RECORDS / table.name
    if table.old_name and (old := folder.with_name(table.old_name)).is_dir() and not list_parts(folder):
        return old
    return folder


def read_parts(sweep_dir: Path, table: Table, *, from_row: int = 0) -> ReadTable:
    """Read the parts of a table that have rows from ``from_row`` on; all rows before the end are there.

    They are read again if the writer merges parts at the same time. The counts are read before the files are listed: a
    running writer can only have more rows than counted.

    Raises:
        DamagedRecords: rows are missing; the message names the damaged file, or the folder if the file is gone.
    """
    gaps: list[tuple[int, int]] = []
    for _ in range(ATTEMPTS):
        n_rows = read_counts(sweep_dir)[table.name]
        # the old folder is looked for first: a writer that renames it in between hides no part
        folder = table_folder(sweep_dir, table)
        try:
            parts, result = _read_valid(folder, table, from_row)
        except FileNotFoundError:  # deleted by a merge
            time.sleep(PAUSE_S)
            continue
        # records of an older version have no counts: the name of a damaged last part says that its rows were there
        gaps = gaps_of(parts, max([n_rows, *(part.last + 1 for part in result.damaged)]))
        if not gaps:
            _warn_of_copies(result, sweep_dir)
            return result
        for part, error in result.damaged.items():
            if any(part.first <= last and first <= part.last for first, last in gaps):
                raise DamagedRecords(error.path, error.reason, describe_repair(sweep_dir))
        time.sleep(PAUSE_S)
    missing = ", ".join(f"{first} to {last}" for first, last in gaps[:3])
    reason = f"a part is missing (rows {missing or 'unknown'} of '{table.name}')"
    raise DamagedRecords(folder, reason, describe_repair(sweep_dir))


def read_what_is_there(sweep_dir: Path, table: Table) -> ReadTable:
    """Read the parts of a table that are intact, although rows may be missing; nothing may be written meanwhile."""
    return _read_valid(table_folder(sweep_dir, table), table, 0)[1]


def _read_valid(folder: Path, table: Table, from_row: int) -> tuple[list[Part], ReadTable]:
    """Return the valid parts that are not damaged, and the content of those with rows from ``from_row`` on.

    A damaged part that a merge wrote is replaced by the smaller parts, as long as these are there.

    Raises:
        FileNotFoundError: a part and its copy were deleted after they were listed.
    """
    listed = list_parts(folder)
    damaged: dict[Part, DamagedFile] = {}
    read: dict[Part, ReadPart] = {}
    while True:
        valid = valid_parts(listed, without=damaged)
        new = [part for part in valid if part.last >= from_row and part not in read]
        if not new:
            return valid, ReadTable([read[part] for part in valid if part in read], damaged)
        for part, result in zip(new, _map(lambda part: _read_file_or_copy(part, table), new), strict=True):
            if isinstance(result, DamagedFile):
                damaged[part] = result
            else:
                read[part] = result


def _map(function: Callable[[Part], ReadPart | DamagedFile], parts: Sequence[Part]) -> list[ReadPart | DamagedFile]:
    if len(parts) < 2:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(_READERS) as pool:  # with many small parts, most of the time is latency
        return list(pool.map(function, parts))


def _read_file_or_copy(part: Part, table: Table) -> ReadPart | DamagedFile:
    """Return the part, or what is wrong with its file if the copy is not intact either.

    Raises:
        FileNotFoundError: neither is there.
        PermissionError: the file may not be read.
    """
    missing: FileNotFoundError | None = None
    damage: DamagedFile | None = None
    for path in (part.path, part.copy):
        try:
            content = read_part(path, part, table)
        except FileNotFoundError as error:
            missing = error
        except DamagedFile as error:
            damage = damage or error
        else:
            return ReadPart(part, content, "" if path == part.path else damage.reason if damage else "it is missing")
    if damage is not None:
        return damage
    assert missing is not None
    raise missing


def _warn_of_copies(result: ReadTable, sweep_dir: Path) -> None:
    damaged = [each for each in result.parts if each.damage]
    if not damaged:
        return
    others = f" (and {len(damaged) - 1} more parts of this table)" if len(damaged) > 1 else ""
    warn_once(
        f"'{damaged[0].part.path}'{others} is damaged: {damaged[0].damage}; its copy is read instead; to restore it: "
        f"{repair_command(sweep_dir)}"
    )


def lost_rows(sweep_dir: Path) -> dict[str, int]:
    """Return the number of rows of each table that were lost and given up by a repair.

    The rows may have been recorded again since: the numbers never fall.

    Raises:
        DamagedRecords: rows are missing that no repair has given up yet.
    """
    return {
        name: sum(last - first + 1 for first, last in read_parts(sweep_dir, table).lost)
        for name, table in TABLES.items()
    }
