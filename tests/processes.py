"""Whether processes of a test run, and waits for what another process or thread does.

No test may depend on the speed of the machine: it waits for a condition, with a bound that a machine under a heavy load
meets too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import psutil

PATIENCE_S = 60.0
"""Longest wait for another process or thread, in seconds."""

WORKER_TITLE = re.compile(r"\bray::(CutMix|cutmix-sweep )")
"""Title of each process that trains trials: it has the name of the trial while an epoch runs."""


def wait_until(condition: Callable[[], object], *, within_s: float = PATIENCE_S) -> bool:
    """Return whether a condition becomes true."""
    until_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until_s:
            return bool(condition())
        time.sleep(0.01)
    return True


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs and is no zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def has_ended(pid: int) -> bool:
    """Return whether the process with this number ends: a busy kernel needs a moment after SIGKILL."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return True
    return wait_until(lambda: not is_alive(process))
