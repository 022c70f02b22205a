"""Messages of a command that ends before its work is done; light enough for every command to import."""

from __future__ import annotations

import errno
import shlex
from pathlib import Path

from trainables.errors import OneLineError

MAX_REASON = 200
"""Characters of another program's error that a message quotes; the whole message then fits into 500."""


class Interrupted(OneLineError):
    """A sweep was interrupted before all its trials had ended."""

    def __init__(self, sweep_dir: Path, address: str | None, n_ended: int, n_trials: int) -> None:
        """Describe the progress, and the command that continues the sweep.

        Examples:
            >>> print(Interrupted(Path("my sweeps/box"), None, 3, 8))
            interrupted after 3 of 8 trials; resume with: cutmix-sweep resume 'my sweeps/box'
        """
        self.sweep_dir, self.address = sweep_dir, address
        command = ["cutmix-sweep", "resume", str(sweep_dir), *(["--address", address] if address else [])]
        super().__init__(f"interrupted after {n_ended} of {n_trials} trials; resume with: {shlex.join(command)}")


class EvaluationInterrupted(OneLineError):
    """An evaluation was interrupted."""

    def __init__(self, n_done: int, n_tasks: int) -> None:
        """Describe the progress, and how to continue."""
        super().__init__(
            f"interrupted after {n_done} of {n_tasks} measurements, which are recorded; "
            "run the same command again for the others"
        )


def user_message(error: OSError) -> str | None:
    """Return a message for a full, read-only or protected disk; None for other errors.

    Examples:
        >>> user_message(OSError(errno.ENOSPC, "No space left on device", "records/part-0"))
        "cannot write to 'records/part-0': No space left on device"
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        return f"cannot write to '{error.filename or '?'}': {error.strerror}"
    return None


def reason_of(error: BaseException) -> str:
    """Return another program's error in one line of at most ``MAX_REASON`` characters.

    Examples:
        >>> reason_of(RuntimeError("no such server:\\n  connection refused"))
        'no such server: connection refused'
    """
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= MAX_REASON else f"{line[: MAX_REASON - 3]}..."
