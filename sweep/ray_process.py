"""The process that holds a Ray on this machine: started, watched while it starts, and ended with all its parts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import psutil

from sweep import ray_head
from sweep.ray_folder import temporary_variables

_NEEDED = ("gcs_server", "raylet")
"""Parts without which a start cannot succeed."""

_LOST_S = 5
"""Time in which Ray itself may report that it has lost a part."""

_END_S = 20
"""Longest wait for the parts of a Ray that is stopped."""


_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Variable with which a node of Ray has the address 127.0.0.1, as always on Windows and macOS.

All its parts then listen on the loopback alone: a sweep on one machine needs no port that others can reach. The
argument ``_node_ip_address`` of ``ray.init`` cannot do it: Ray replaces 127.0.0.1 by an address for other machines.
"""


class StartError(Exception):
    """Ray could not be started or joined; the text is Ray's."""

    def __init__(self, error: str, logs: Path | None = None) -> None:
        """Keep Ray's text, and the folder of its logs if there is one."""
        super().__init__(error)
        self.logs = logs


class RayProcess:
    """A Ray on this machine, in a process of its own.

    Attributes:
        address: address of the running Ray.
        dashboard_url: address of its dashboard; "" without one.
    """

    address: str
    dashboard_url: str

    def __init__(self, folder: Path, *, patience_s: float, **arguments: Any) -> None:
        """Start the process, which calls ``ray.init`` with these arguments.

        Args:
            folder: folder of Ray's files.
            patience_s: longest wait for each part of Ray, in seconds; the whole start may take twice as long.
            arguments: arguments of ``ray.init``.

        Raises:
            StartError: the process cannot be started.
        """
        self._folder, self._limit_s = folder, 2 * patience_s
        self._parts: dict[int, psutil.Process] = {}
        self._needed: dict[psutil.Process, str] = {}
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", ray_head.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                # what the user has set stays
                env=_waits(patience_s) | _LOOPBACK | os.environ | temporary_variables(folder),
                start_new_session=True,  # Ctrl-C is for the sweep, which then stops Ray
            )
        except OSError as error:  # a limit on processes or memory
            self._errors.close()
            raise StartError(str(error)) from None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"_temp_dir": str(folder), **arguments}).encode() + b"\n")
        self._process.stdin.flush()

    @property
    def logs(self) -> Path | None:
        """Folder of Ray's logs; None if Ray has not made it."""
        return max(self._folder.glob(f"session_*_{self._process.pid}/logs"), default=None)

    def wait(self) -> None:
        """Wait until Ray has started.

        Raises:
            StartError: Ray reports an error, loses a part, or needs too long; it has been ended then.
        """
        try:
            reply = self._reply()
            if "error" in reply:
                raise StartError(reply["error"], self.logs)
        except BaseException:  # Ctrl-C too
            self.stop(kill=True)
            raise
        self.address, self.dashboard_url = reply["address"], reply["dashboard_url"]
        self._note_parts()

    def lost_part(self) -> str:
        """Return the name of a part without which Ray cannot continue and that has ended; "" if there is none."""
        return next((name for part, name in self._needed.items() if not _lives(part)), "")

    def stop(self, *, kill: bool = False) -> None:
        """End Ray and wait until all its processes have ended.

        Args:
            kill: end it at once; otherwise it may end its parts itself.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._note_parts()
            if not kill:
                with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError):
                    self._process.stdin.close()
                    self._process.wait(_END_S)
        finally:
            for process in (self._process, *self._parts.values()):
                with contextlib.suppress(psutil.Error, OSError):
                    process.kill()
            self._process.wait()
            ends_at = time.monotonic() + _END_S
            while any(map(_lives, self._parts.values())) and time.monotonic() < ends_at:
                time.sleep(0.05)
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.stdout.close()
            self._errors.close()

    def _reply(self) -> dict[str, str]:
        assert self._process.stdout is not None
        ends_at = time.monotonic() + self._limit_s
        lost_since: float | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while True:
                if selector.select(timeout=0.5):
                    line = self._process.stdout.readline()
                    if line:
                        reply: dict[str, str] = json.loads(line)
                        return reply
                    raise StartError(self._last_words(), self.logs)
                if self._process.poll() is not None:  # though one of its parts still holds the pipe
                    raise StartError(self._last_words(), self.logs)
                now = time.monotonic()
                self._note_parts()
                lost = self.lost_part()
                lost_since = (lost_since or now) if lost else None
                if lost_since is not None and now - lost_since > _LOST_S:
                    raise StartError(f"{lost} ended during the start{_last_error(self.logs)}", self.logs)
                if now > ends_at:
                    raise StartError(f"time limit of {self._limit_s:.0f} s reached", self.logs)

    def _last_words(self) -> str:
        """Return how the process ended without an answer."""
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        return f"its process {how}" + (f": {lines[-1]}" if lines else "")

    def _note_parts(self) -> None:
        """Remember the processes that Ray has started: all are in the session of its first one.

        The parent of a part may have ended: the agents of a raylet outlive it for seconds.
        """
        for part in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if os.getsid(part.pid) == self._process.pid != part.pid:
                    self._parts.setdefault(part.pid, part)
                    if part.name() in _NEEDED:
                        self._needed[part] = part.name()


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _waits(patience_s: float) -> dict[str, str]:
    """Return Ray's variables for its waits, each ``patience_s`` seconds long."""
    seconds = str(round(patience_s))
    return {
        "RAY_gcs_server_port_wait_time_s": seconds,
        "RAY_raylet_start_wait_time_s": seconds,
        "RAY_agent_register_timeout_ms": f"{seconds}000",
        "RAY_worker_register_timeout_seconds": seconds,
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": seconds,
        "RAY_prestart_worker_first_driver": "0",  # the first driver is the process that holds Ray, which runs no trial
    }


def _last_error(logs: Path | None) -> str:
    """Return the last error in the logs of the needed parts, after a colon; "" if there is none."""
    if logs is not None:
        for name in ("raylet.err", "raylet.out", "gcs_server.err", "gcs_server.out"):
            with contextlib.suppress(OSError):
                lines = (logs / name).read_text(encoding="utf-8", errors="replace").splitlines()
                errors = [line for line in lines if re.match(r"\[[^]]* [CE] \d+ \d+\]", line)]
                if errors:
                    text = re.sub(r"^\[[^]]*\]( \([^)]*\))? (\S+:\d+: )?", "", errors[-1])
                    return ": " + text.rpartition("Check failed: ")[2].strip()
    return ""
