"""The objects of a sweep in a store: which of them a process needs, and the order in which they are written."""

from __future__ import annotations

from enum import Enum

from sweep.records.beginning import SIGN
from sweep.records.counts import COUNTS
from sweep.records.parts import COPIES
from sweep.records.schema import MANIFEST, RECORDS, TABLES
from sweep.request_files import INBOX
from trainables.whole_file import UNFINISHED

LOCK = "lock"
"""Object with the lease of the driver."""

LOG = "sweep.log"

CHECKPOINTS = "checkpoints"

BY_WORKERS = ("models/", f"{CHECKPOINTS}/", "logs/")
"""Folders that workers write."""

_REQUESTS = f"{INBOX}/"
"""Requests to the driver and their results: each is written and read by itself."""

_COUNTS = (f"{RECORDS}/{COUNTS}", f"{RECORDS}/{COPIES}/{COUNTS}")
_MANIFESTS = (MANIFEST, f"{RECORDS}/{MANIFEST}")
_LAST = (*_COUNTS, *_MANIFESTS)
_HERE_ONLY = ("report/", "export/", "wandb/")
"""Folders that a command writes for the machine on which it runs."""


class Scope(Enum):
    """What of a sweep a process reads: its records; all that its driver appends to; every object."""

    RECORDS, DRIVER, ALL = range(3)


def is_wanted(name: str, scope: Scope) -> bool:
    """Return whether a process has a copy of an object in its working folder.

    Examples:
        >>> [is_wanted(name, Scope.DRIVER) for name in ("sweep.json", "pictures/off.png", "models/off-0000.pt", "lock")]
        [True, True, False, False]
    """
    if name == LOCK or name.startswith((SIGN, _REQUESTS)):
        return False
    if scope is Scope.RECORDS:
        return name == MANIFEST or name.startswith(f"{RECORDS}/")
    return scope is Scope.ALL or not name.startswith(BY_WORKERS)


def is_written(name: str, scope: Scope) -> bool:
    """Return whether a file of the working folder belongs to the sweep in the store."""
    return not (
        name.startswith((".lock", _REQUESTS, *_HERE_ONLY))
        or name.endswith(UNFINISHED)
        or name == LOCK
        or (scope is not Scope.ALL and name.startswith(BY_WORKERS))
    )


def stage_of(name: str) -> int:
    """Return the place of an object in the order of writing, which is safe after a kill at any instant.

    The parts of a table precede those of the next table, as in ``RecordsWriter``. The numbers of rows follow, then the
    manifest. All else has no order.

    Examples:
        >>> names = ["sweep.json", "records/counts.json", "records/trials/part-0.parquet", "sweep.log"]
        >>> sorted(names, key=stage_of)
        ['records/trials/part-0.parquet', 'records/counts.json', 'sweep.json', 'sweep.log']
    """
    if name in _LAST:
        return len(TABLES) + _LAST.index(name)
    steps = name.split("/")
    if steps[0] == RECORDS:
        table = steps[2] if steps[1] == COPIES and len(steps) > 3 else steps[1]
        if table in TABLES:
            return list(TABLES).index(table)
    return len(TABLES) + len(_LAST)


def is_json(name: str) -> bool:
    """Return whether an object says what the parts must contain: it is read before the parts are listed."""
    return name in _LAST


def primary_of(name: str) -> str | None:
    """Return the object of which another one is the second copy; None if it is no copy.

    Examples:
        >>> primary_of("records/copies/epochs/part-0.parquet"), primary_of("records/epochs/part-0.parquet")
        ('records/epochs/part-0.parquet', None)
    """
    begin = f"{RECORDS}/{COPIES}/"
    return f"{RECORDS}/{name.removeprefix(begin)}" if name.startswith(begin) else None
