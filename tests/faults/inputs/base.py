"""What one bad input is, and what all of them are made from."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ACCEPTED, REFUSED, REPORTED = "accepted", "refused", "reported"
"""What an input comes to: it was harmless, it was refused, or a verb reported what is wrong."""


@dataclass(frozen=True)
class Input:
    """One bad input of the command line.

    Attributes:
        arguments: arguments of the program.
        label: what is wrong, in a few words.
        wanted: what the input has to come to; None: it may be harmless.
        may_write: whether the arguments name places outside the input's folder to write to.
    """

    arguments: list[str]
    label: str
    wanted: str | None = None
    may_write: bool = False


@dataclass(frozen=True)
class Supplies:
    """What inputs are made from.

    Attributes:
        sweeps: folders of finished and interrupted sweeps, to be copied.
        photos: folder of intact images in two classes.
        full: folder that is not empty, so that no sweep can be written to it.
        trap: file that code in an input would write.
        wide: texts and files that are costly to make, by name.
    """

    sweeps: list[Path]
    photos: Path
    full: Path
    trap: Path
    wide: dict[str, bytes] = field(default_factory=dict)


MakeInput = Callable[[Path, random.Random, int, Supplies], Input]
"""Writes the files of input ``number`` of a kind to an empty folder, and returns the input."""
