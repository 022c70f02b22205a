"""Words for every way in which Ray does not start or cannot be joined: cause, what to do, where the log is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sweep.endings import reason_of
from trainables.cores import usable_cores


@dataclass(frozen=True)
class Cause:
    """A cause of a failed start.

    Attributes:
        pattern: regular expression that the error of Ray matches.
        advice: what to do.
        passes: whether a second attempt may succeed.
    """

    pattern: str
    advice: str
    passes: bool = False


CAUSES = {
    "version": Cause(
        r"version mismatch|different versions? of (ray|python)",
        "install the Ray and Python versions of the cluster here, or start the cluster from this environment",
    ),
    "token": Cause(
        r"token|authenticat",
        "set RAY_AUTH_MODE=token and save the token in ~/.ray/auth_token (print it on the head node with: ray "
        "get-auth-token)",
    ),
    "path": Cause(
        r"af_unix|path length|filenotfound|no such file|not a directory|permission ?(error|denied)|read-only file",
        "set RAY_TMPDIR to a folder that exists, that you can write to, and whose path has at most 30 characters",
    ),
    "disk": Cause(r"no space left|disk quota", "free disk space, or set RAY_TMPDIR to a folder with free space"),
    "processes": Cause(
        r"resource temporarily unavailable|can't start new thread|too many open files|pthread_create",
        "raise the limits on processes and open files (ulimit -u, ulimit -n), or end other programs",
        passes=True,
    ),
    "shared memory": Cause(
        r"/dev/shm|plasma|object store|bus error",
        "free space in /dev/shm; in a container, start it with --shm-size=1g",
    ),
    "memory": Cause(
        r"cannot allocate memory|out of memory|memoryerror|bad_alloc|was killed",
        "free memory, or ask for more: Ray needs about 1 GiB",
        passes=True,
    ),
    "port": Cause(
        r"address already in use|eaddrinuse|already occupied|failed to bind",
        "end the other program, or unset the variable that sets the port, for example RAY_GCS_SERVER_PORT",
        passes=True,
    ),
    "package": Cause(r"importerror|modulenotfound|missing packages", "reinstall Ray: pip install 'ray[default,tune]'"),
    "load": Cause(
        r"timed? ?out|time limit|raylet|gcs|agent",
        "run fewer programs beside it or try again later, or use a cluster with --address",
        passes=True,
    ),
}
"""Causes by name; the first whose pattern matches is taken."""

UNKNOWN = Cause("", "check the machine with: cutmix-sweep doctor", passes=True)


def cause_of(error: str) -> Cause:
    """Return the cause of an error of Ray.

    Examples:
        >>> cause_of("Exception: The current node timed out during startup.").advice.split(",")[0]
        'run fewer programs beside it or try again later'
    """
    return next((cause for cause in CAUSES.values() if re.search(cause.pattern, error, re.IGNORECASE)), UNKNOWN)


def describe_start_error(error: str, logs: Path | None) -> str:
    """Return one line of at most 500 characters: why Ray does not start here, what to do, where its log is."""
    load = describe_load()
    log = f"; log: {logs}" if logs is not None and len(str(logs)) <= 110 else ""
    busy = f" ({load})" if load else ""
    reason = reason_of(RuntimeError(error))
    return f"Ray does not start on this machine{busy}: {reason[:170]}; {cause_of(error).advice}{log}"


def describe_join_error(address: str, error: str) -> str:
    """Return one line of at most 500 characters: why a cluster cannot be joined, and what to do.

    Examples:
        >>> describe_join_error("head:6379", "Connection refused").split(";")[0]
        "--address 'head:6379': cannot reach the cluster: Connection refused"
    """
    if cause_of(error) is CAUSES["version"]:
        advice = CAUSES["version"].advice
    else:  # Ray does not always say that a token is missing
        advice = f"check the address with: ray status; if the cluster needs a token, {CAUSES['token'].advice}"
    return f"--address '{address[:80]}': cannot reach the cluster: {reason_of(RuntimeError(error))[:150]}; {advice}"


def pressure() -> float:
    """Return the processes that run or wait for a core, per usable core; at least 1."""
    return max(1.0, _load() / usable_cores())


def describe_load() -> str:
    """Return a clause on the load of a busy machine, "" for one that is not busy.

    Examples:
        >>> describe_load() == "" or describe_load().startswith("the machine is busy: load ")
        True
    """
    if pressure() < 2:
        return ""
    return f"the machine is busy: load {_load():.1f} on {usable_cores()} cores"


def _load() -> float:
    """Return the load average of the last minute, or the number of running processes where that has just risen."""
    load = os.getloadavg()[0]
    try:
        running = Path("/proc/loadavg").read_text(encoding="utf-8").split()[3].partition("/")[0]
    except (OSError, IndexError):
        return load
    return max(load, float(running) - 1)  # without this process
