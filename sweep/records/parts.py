"""Names of the Parquet parts of a table: each says which rows it holds, so that parts can be merged while being read."""

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
