"""Kinds of failures of a trial, and the kind of an error that its own process has caught."""

from __future__ import annotations

import errno
import re

from trainables.errors import UserError

TRIAL, WORKER, MEMORY, DISK, NODE, STALLED = FAULTS = ("trial", "worker", "memory", "disk", "node", "stalled")
"""Kinds: own code, lost process, memory used up, a file that cannot be read, lost machine, no report for too long."""


class BrokenGroup(RuntimeError):
    """Another worker of the same trial was lost, or cannot be reached."""


_DISK_ERRORS = (errno.EIO, errno.ESTALE, errno.EREMOTEIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EUCLEAN)

_NO_MEMORY = re.compile(r"can(no|')t allocate memory|out of memory|not enough memory", re.IGNORECASE)


def fault_of(error: BaseException) -> str:
    """Return the kind of an error that was raised in a trial: ``memory``, ``disk``, otherwise ``trial``.

    Examples:
        >>> fault_of(ValueError("no such layer")), fault_of(MemoryError()), fault_of(OSError(errno.EIO, "I/O error"))
        ('trial', 'memory', 'disk')
    """
    if isinstance(error, UserError) and error.__cause__ is not None:  # for example an image cache without free space
        error = error.__cause__
    if isinstance(error, OSError) and error.errno != errno.ENOMEM:
        return DISK if error.errno in _DISK_ERRORS else TRIAL
    # torch.OutOfMemoryError is a RuntimeError, and so is what its allocator for the CPU raises
    is_memory = isinstance(error, MemoryError | OSError) or (
        isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None
    )
    return MEMORY if is_memory else TRIAL
