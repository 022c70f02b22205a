"""Names of a table's Parquet parts, and the parts that contain each row once.

A name contains the row numbers, so that parts can be merged while others read, and the checksum of the file. Each part
has a second copy of the same name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

COPIES = "copies"
"""Folder below ``records/`` with the second copies, one folder per table."""

DIGEST_CHARS = 16
"""Number of hexadecimal digits of a file's SHA-256 that its name contains."""

_NAME = re.compile(rf"part-(\d{{12}})-(\d{{12}})(?:-([0-9a-f]{{{DIGEST_CHARS}}}))?\.parquet")


class Part(NamedTuple):
    """One Parquet file with the rows ``first`` to ``last``, both included.

    Attributes:
        first: number of its first row.
        last: number of its last row.
        digest: beginning of the SHA-256 of the file; "" in records of an older version.
        path: the file; it may be missing while its copy is there.
    """

    first: int
    last: int
    digest: str
    path: Path

    @property
    def n_rows(self) -> int:
        """Number of rows in the range."""
        return self.last - self.first + 1

    @property
    def copy(self) -> Path:
        """Second copy of the file."""
        return copies_of(self.path.parent) / self.path.name

    def contains(self, other: Part) -> bool:
        """Return whether the range of another part lies in the range of this part, and is smaller.

        A part without a checksum, of an older version, may have the same range.
        """
        is_within = self.first <= other.first and other.last <= self.last
        return is_within and (self.n_rows > other.n_rows or bool(self.digest) > bool(other.digest))


def part_path(folder: Path, first: int, last: int, digest: str) -> Path:
    """Return the file of the rows ``first`` to ``last``, both included.

    Example:
        >>> part_path(Path("epochs"), 0, 9, "0123456789abcdef").name
        'part-000000000000-000000000009-0123456789abcdef.parquet'
    """
    return folder / f"part-{first:012d}-{last:012d}-{digest}.parquet"


def copies_of(folder: Path) -> Path:
    """Return the folder with the second copies of a table's folder."""
    return folder.parent / COPIES / folder.name


def list_parts(folder: Path) -> list[Part]:
    """Return all parts of a table, sorted by first row, larger parts first; of some, only the copy may be there.

    The files are listed before the copies: the writer makes them in this order.
    """
    paths = [*_names(folder), *_names(copies_of(folder))]
    parts = {part for name in paths if (part := part_of(folder / name)) is not None}
    return sorted(parts, key=lambda part: (part.first, -part.last, not part.digest, part.digest))


def _names(folder: Path) -> Iterator[str]:
    return (path.name for path in folder.glob("part-*.parquet"))


def part_of(path: Path) -> Part | None:
    """Return the part that a file is by its name; None if it is no part.

    Examples:
        >>> part_of(Path("epochs/part-000000000003-000000000009.parquet")).n_rows
        7
        >>> part_of(Path("epochs/notes.txt"))
    """
    match = _NAME.fullmatch(path.name)
    if match is None or int(match[1]) > int(match[2]):
        return None
    return Part(int(match[1]), int(match[2]), match[3] or "", path)


def valid_parts(parts: Iterable[Part], *, without: Collection[Part] = ()) -> list[Part]:
    """Return the parts that contain each row at most once: those that no larger part contains.

    A merge writes the larger part before it deletes the smaller ones. A kill in between leaves both.

    Args:
        parts: the result of :func:`list_parts`.
        without: damaged parts, which are left out.
    """
    valid: list[Part] = []
    for part in parts:
        if part not in without and (not valid or part.first > valid[-1].last):
            valid.append(part)
    return valid


def live_parts(folder: Path) -> list[Part]:
    """Return the valid parts of a folder by their names alone, in the order of their rows."""
    return valid_parts(list_parts(folder))


def gaps_of(parts: Iterable[Part], n_rows: int = 0) -> list[tuple[int, int]]:
    """Return the first and last row of each gap in ``parts``, the result of ``valid_parts``.

    Listing a folder is not atomic: a list made during a merge may lack the larger part and some of the smaller ones.

    Args:
        parts: valid parts.
        n_rows: number of rows that are certainly on disk: a gap may be at the end.

    Examples:
        >>> gaps_of([Part(2, 4, "", Path("a")), Part(5, 5, "", Path("b"))], n_rows=8)
        [(0, 1), (6, 7)]
    """
    gaps, expected = [], 0
    for part in parts:
        if part.first > expected:
            gaps.append((expected, part.first - 1))
        expected = part.last + 1
    if expected < n_rows:
        gaps.append((expected, n_rows - 1))
    return gaps
