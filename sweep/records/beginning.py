"""What a process that was killed may have left before there was a sweep."""

from __future__ import annotations

from pathlib import Path

from sweep.lease import is_lock_file
from sweep.records.counts import COUNTS
from sweep.records.parts import COPIES
from sweep.records.schema import MANIFEST, RECORDS
from trainables.whole_file import UNFINISHED

SIGN = ".node-check-"
"""Begin of the names of the files by which a driver and a node recognise one folder."""


def precedes_manifest(path: Path, sweep_dir: Path) -> bool:
    """Return whether a kill before the manifest was written may have left a file or folder: the lock, or no rows."""
    names = path.relative_to(sweep_dir).parts
    return (
        is_lock_file(Path(names[0]))
        or names[0].startswith(SIGN)
        or names in ((RECORDS,), (RECORDS, COPIES))
        or (names[0] == RECORDS and path.name.startswith(COUNTS))
        or (path.name.startswith(MANIFEST) and path.name.endswith(UNFINISHED))
    )
