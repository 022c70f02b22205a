"""Commands of cutmix-sweep on a real Ray, in a process of their own, and the processes that Ray starts for them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tests.faults.one_slot import die_with_parent
from tests.processes import WORKER_TITLE, is_alive

ROOT = Path(__file__).parents[2]

PATIENCE_S = 240.0
"""A command on Ray that runs longer than this hangs."""

END_S = 40.0
"""Time in which the processes of a Ray end whose driver was killed."""


class RayRun:
    """One command on a Ray of its own.

    Attributes:
        argv: arguments of the command.
        log: file with all that it printed.
        status: exit status; None while it runs.
    """

    def __init__(self, argv: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None) -> None:
        """Start the command."""
        self.argv, self.log = argv, log
        self.status: int | None = None
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(environment or {})}
        command = [sys.executable, "-c", "from sweep.cli import main; main()", *argv]
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=variables,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )
        self.pid = self._process.pid
        self._seen: dict[int, psutil.Process] = {}

    @property
    def output(self) -> str:
        """All that the command has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout_s: float = PATIENCE_S, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait for the end of the command, or until ``until`` holds; return whether either came in time."""
        until_s = time.monotonic() + timeout_s
        while not self.has_ended() and not until():
            self.processes()
            if time.monotonic() > until_s:
                return False
            time.sleep(0.05)
        return True

    def has_ended(self) -> bool:
        """Return whether the command has ended; its status is known then."""
        self.status = self._process.poll()
        return self.status is not None

    def processes(self) -> list[psutil.Process]:
        """Return the processes below the command: Ray's, with the workers."""
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self.pid).children(recursive=True):
                self._seen.setdefault(process.pid, process)
        return [process for process in self._seen.values() if is_alive(process)]

    def part(self, name: str) -> psutil.Process | None:
        """Return a part of Ray, for example ``raylet``."""
        return next((process for process in self.processes() if _name(process) == name), None)

    def workers(self) -> list[psutil.Process]:
        """Return the workers that train trials."""
        return [process for process in self.processes() if WORKER_TITLE.search(_command(process))]

    def send(self, signum: int) -> None:
        """Send a signal to the driver, if it still runs."""
        if not self.has_ended():
            self._process.send_signal(signum)

    def left(self, timeout_s: float = END_S) -> list[str]:
        """Return the processes that are left ``timeout_s`` after the end of the command; they are killed then."""
        until_s = time.monotonic() + timeout_s
        while (alive := self.processes()) and time.monotonic() < until_s:
            time.sleep(0.2)
        names = [_name(process) for process in alive]
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return names

    def kill(self) -> None:
        """End the command and all its processes."""
        self.processes()
        self.send(signal.SIGKILL)
        self._process.wait()
        self.status = self._process.returncode
        self.left(0)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def _command(process: psutil.Process) -> str:
    try:
        return f"{process.name()} {' '.join(process.cmdline())}"
    except psutil.Error:
        return ""
