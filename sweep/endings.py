"""How a command ends other than well: light enough to be imported by every one."""

from __future__ import annotations

import errno
import shlex
from pathlib import Path


class Interrupted(Exception):
    """The sweep was interrupted before all its trials had ended."""

    def __init__(self, sweep_dir: Path, address: str | None, n_ended: int, n_trials: int) -> None:
        """Say how far it came and how to go on."""
        words = ["cutmix-sweep", "resume", str(sweep_dir), *(["--address", address] if address else [])]
        super().__init__(f"interrupted after {n_ended} of {n_trials} trials; go on with: {shlex.join(words)}")


class EvaluationInterrupted(Exception):
    """An evaluation was interrupted."""

    def __init__(self, n_done: int, n_tasks: int) -> None:
        """Say how far it came and how to go on."""
        super().__init__(
            f"interrupted after {n_done} of {n_tasks} measurements, which are recorded; the same command goes on"
        )


def user_message(error: OSError) -> str | None:
    """Put a full or read-only disk into words; None for other faults."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        return f"cannot write to '{error.filename or '?'}': {error.strerror}"
    return None
