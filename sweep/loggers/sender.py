"""One thread per live logger: a slow or dead server never delays the driver of a sweep."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from sweep.endings import reason_of

MAX_WAITING = 10_000
"""Largest number of calls that wait; further ones are dropped and counted."""


class Sender:
    """Thread that makes calls one after another; after the first error it makes no further call.

    Attributes:
        problem: why calls are not made any more; "" as long as they are.
        n_dropped: number of calls that were dropped because too many waited.

    Examples:
        >>> sender, numbers = Sender("doctest"), []
        >>> for number in range(3):
        ...     sender.put(lambda number=number: numbers.append(number))
        >>> sender.wait(10), numbers
        (True, [0, 1, 2])
    """

    def __init__(self, name: str) -> None:
        """Begin without a thread, which the first call starts."""
        self.problem = ""
        self.n_dropped = 0
        self._name = name
        self._calls: queue.Queue[Callable[[], object]] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None

    def put(self, call: Callable[[], object]) -> None:
        """Make a call soon; this returns at once."""
        if self.problem:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self.n_dropped += 1

    def wait(self, timeout_s: float) -> bool:
        """Wait until all calls are made; return whether they were."""
        until_s = time.monotonic() + timeout_s
        while self._calls.unfinished_tasks and not self.problem:
            if time.monotonic() >= until_s:
                return False
            time.sleep(0.02)
        return not self.problem

    def _run(self) -> None:
        while True:
            call = self._calls.get()
            try:
                if not self.problem:
                    call()
            except Exception as error:  # no error of a logging package may end the sweep
                self.problem = reason_of(error)
            finally:
                self._calls.task_done()
