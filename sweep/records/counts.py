"""The file ``records/counts.json``: the rows per table that are certainly on disk, so that a lost end is noticed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sweep.records.errors import DamagedRecords, describe_repair, repair_command, warn_once
from sweep.records.parts import COPIES
from sweep.records.schema import MANIFEST, RECORDS, TABLES
from trainables.intact import DamagedFile, read_checked_json, write_checked_json

COUNTS = "counts.json"

_COUNTED_SINCE = 4
"""First schema version with counts."""


def counts_paths(sweep_dir: Path) -> tuple[Path, Path]:
    """Return the file with the counts, and its second copy."""
    return sweep_dir / RECORDS / COUNTS, sweep_dir / RECORDS / COPIES / COUNTS


def start_counts(sweep_dir: Path) -> None:
    """Write counts of zero, unless counts are there."""
    path, _ = counts_paths(sweep_dir)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_counts(sweep_dir, dict.fromkeys(TABLES, 0))


def write_counts(sweep_dir: Path, counts: Mapping[str, int]) -> None:
    """Write the number of rows per table, which must be on disk already.

    The second copy need not survive a crash of the machine: the file does.
    """
    path, copy = counts_paths(sweep_dir)
    write_checked_json(path, counts, parents=False)
    write_checked_json(copy, counts, parents=False, durable=False)


def read_counts_file(path: Path) -> dict[str, int]:
    """Read the counts from their file or its copy.

    Raises:
        DamagedFile: the file differs from its checksum, or does not hold counts.
        FileNotFoundError: there is no such file.
    """
    counts = read_checked_json(path)
    if counts.keys() != TABLES.keys() or not all(type(count) is int and count >= 0 for count in counts.values()):
        raise DamagedFile(path, "it does not hold one number of rows per table")
    return counts


def read_counts(sweep_dir: Path) -> dict[str, int]:
    """Return the number of rows per table that are certainly on disk; zero for a sweep of a version without counts.

    Raises:
        DamagedRecords: the file and its copy are damaged or missing.
    """
    path, copy = counts_paths(sweep_dir)
    problem = ""
    for file in (path, copy):
        try:
            counts = read_counts_file(file)
        except DamagedFile as error:
            problem = problem or error.reason
        except FileNotFoundError:
            continue
        else:
            if file == copy:
                warn_once(
                    f"'{path}' is damaged or missing; its copy is read instead; to restore it: "
                    f"{repair_command(sweep_dir)}"
                )
            return counts
    if problem or are_expected(sweep_dir):
        raise DamagedRecords(path, problem or "the file is missing", describe_repair(sweep_dir))
    return dict.fromkeys(TABLES, 0)


def are_expected(sweep_dir: Path) -> bool:
    """Return whether the manifest says that this version, or a newer one, wrote the records."""
    try:
        manifest = json.loads((sweep_dir / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False  # the reader of the manifest says what is wrong
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    return isinstance(version, int) and version >= _COUNTED_SINCE
