"""Names of a table's Parquet parts. A name contains the row numbers, so that parts can be merged while others read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_NAME = re.compile(r"part-(\d{12})-(\d{12})\.parquet")


class Part(NamedTuple):
    """One Parquet file with the rows ``first`` to ``last``, both included."""

    first: int
    last: int
    path: Path


def part_path(folder: Path, first: int, last: int) -> Path:
    """Return the file of the rows ``first`` to ``last``, both included.

    Example:
        >>> part_path(Path("epochs"), 0, 9).name
        'part-000000000000-000000000009.parquet'
    """
    return folder / f"part-{first:012d}-{last:012d}.parquet"


def live_parts(folder: Path) -> list[Part]:
    """Return the valid parts in the order of their rows: the parts that no larger part contains.

    A merge writes the larger part before it deletes the smaller ones. A kill in between leaves both.
    """
    matches = ((path, _NAME.fullmatch(path.name)) for path in folder.glob("part-*.parquet"))
    parts = [Part(int(match[1]), int(match[2]), path) for path, match in matches if match]
    parts.sort(key=lambda part: (part.first, -part.last))
    live: list[Part] = []
    for part in parts:
        if not live or part.first > live[-1].last:
            live.append(part)
    return live


def is_gapless(parts: list[Part]) -> bool:
    """Return whether ``parts``, the result of ``live_parts``, contain every row from row 0 to their last.

    Listing a folder is not atomic: a list made during a merge may lack the larger part and some of the smaller ones.
    """
    expected = [0, *(part.last + 1 for part in parts[:-1])]
    return all(part.first == first for part, first in zip(parts, expected, strict=False))
