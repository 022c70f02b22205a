"""Names of a table's Parquet parts: each says which rows it holds, so that they can be merged while read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_NAME = re.compile(r"part-(\d{12})-(\d{12})\.parquet")


class Part(NamedTuple):
    """One Parquet file that holds the rows ``first`` to ``last``, both included."""

    first: int
    last: int
    path: Path


def part_path(folder: Path, first: int, last: int) -> Path:
    """Return where the rows ``first`` to ``last`` are stored."""
    return folder / f"part-{first:012d}-{last:012d}.parquet"


def live_parts(folder: Path) -> list[Part]:
    """List the parts that count, in order: those whose rows no larger part holds as well.

    A merge writes the larger part before it deletes the smaller ones; a kill in between leaves both.
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
    """Whether ``parts``, as from ``live_parts``, hold every row from the first on.

    Listing a folder is not atomic: one listed in the middle of a merge may lack the larger part and some of
    the smaller ones.
    """
    expected = [0, *(part.last + 1 for part in parts[:-1])]
    return all(part.first == first for part, first in zip(parts, expected, strict=False))
