"""Whether processes of a test run."""

import time

import psutil


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs and is no zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def has_ended(pid: int, *, within_s: float = 5.0) -> bool:
    """Return whether the process with this number ends: a busy kernel needs a moment after SIGKILL."""
    until_s = time.monotonic() + within_s
    while True:
        try:
            if not is_alive(psutil.Process(pid)):
                return True
        except psutil.NoSuchProcess:
            return True
        if time.monotonic() > until_s:
            return False
        time.sleep(0.01)
