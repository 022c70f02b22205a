"""Processes that measure at the same time, see :mod:`sweep.probe_worker`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from trainables.errors import UserError

PATIENCE_S = 900.0
"""Longest wait for an answer of a process, seconds."""


class Pool:
    """Processes of ``python -m sweep.probe_worker``, started when they are needed and ended on exit.

    Attributes:
        device: name of the device of the last answer that has one.

    Examples:
        >>> with Pool(threads=1) as pool:  # doctest: +SKIP
        ...     pool.ask(2, {"release": True})
        [{}, {}]
    """

    def __init__(self, *, threads: int, environment: Mapping[str, str] | None = None) -> None:
        """Start nothing yet.

        Args:
            threads: threads of each process.
            environment: variables beside the present ones.
        """
        self.device = ""
        self._threads = threads
        # a part of the user's own is importable there as it is here
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        self._environment = {**os.environ, "PYTHONPATH": path, **(environment or {})}
        self._processes: list[subprocess.Popen[str]] = []
        self._errors: list[IO[str]] = []
        self._files = contextlib.ExitStack()

    def __enter__(self) -> Pool:
        """Return the pool."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End all processes."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.communicate()
        self._files.close()

    def ask(self, count: int, order: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Send an order to ``count`` processes at once, and return their answers when all have answered.

        Raises:
            UserError: a process has ended.
        """
        while len(self._processes) < count:
            self._start()
        line = json.dumps(order) + "\n"
        asked = list(zip(self._processes[:count], self._errors, strict=False))
        for process, errors in asked:
            assert process.stdin is not None
            try:
                process.stdin.write(line)
                process.stdin.flush()
            except BrokenPipeError:
                raise _ended(process, errors) from None
        answers = [self._answer(process, errors) for process, errors in asked]
        self.device = next((answer["device"] for answer in answers if "device" in answer), self.device)
        return answers

    def _start(self) -> None:
        errors = tempfile.TemporaryFile(mode="w+", errors="replace")  # noqa: SIM115 - closed on exit
        self._errors.append(self._files.enter_context(errors))
        self._processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "sweep.probe_worker", str(self._threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=self._environment,
            )
        )

    def _answer(self, process: subprocess.Popen[str], errors: IO[str]) -> dict[str, Any]:
        assert process.stdout is not None
        with _killed_after(process, PATIENCE_S):
            line = process.stdout.readline()
        if not line:
            raise _ended(process, errors)
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def _killed_after(process: subprocess.Popen[str], seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _ended(process: subprocess.Popen[str], errors: IO[str]) -> UserError:
    """Return the error of a process that has ended: its last line, or its signal."""
    status = process.wait()
    errors.seek(0)
    lines = [line for line in errors.read().splitlines() if line.strip()]
    reason = lines[-1] if lines else f"exit status {status}"
    return UserError(f"a process that measures the speed has ended: {reason}")
