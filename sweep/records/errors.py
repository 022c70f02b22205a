"""Errors of the reader and the writer of records, and warnings about damage that costs nothing."""

from __future__ import annotations

import functools
import logging
import shlex
from pathlib import Path

from sweep.mirrored import shown
from trainables.errors import OneLineError
from trainables.intact import DamagedFile


class RecordsError(OneLineError, ValueError):
    """The records cannot be read or continued; the message names the file or folder and the reason."""


class DamagedRecords(DamagedFile, RecordsError):
    """A file of the records is not as it was written, and no intact copy is there."""

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        """Describe what is wrong with ``path``, and how to continue."""
        super().__init__(path, f"{reason}; {remedy}")


def repair_command(sweep_dir: Path) -> str:
    """Return the command that repairs a sweep, as it can be pasted into a shell.

    Examples:
        >>> repair_command(Path("my sweeps/box"))
        "cutmix-sweep check 'my sweeps/box' --repair"
    """
    return shlex.join(["cutmix-sweep", "check", str(sweep_dir), "--repair"])


def describe_repair(sweep_dir: Path) -> str:
    """Return the end of a message about damage that a repair removes."""
    return f"to restore what can be restored: {repair_command(sweep_dir)}"


@functools.cache
def warn_once(text: str) -> None:
    """Log a warning, once per process; without a handler, logging prints the line to standard error.

    The readers have no display: notebooks and other programs use them too.
    """
    logging.getLogger("cutmix_sweep.records").warning(shown(text))
