"""Signals that end a command: Ctrl-C, SIGTERM of a batch system, SIGHUP of a terminal that closes.

The first signal ends a sweep in order: the records are written, then the command says how to resume. A second signal
ends the command at once; the files are complete, because each is written under another name and renamed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a sweep in order."""

SAME_SIGNAL_S = 0.5
"""Signals that arrive together count as one: ``timeout`` and closing terminals send theirs twice."""

RAY_LOST_CODE = 5
"""Exit code of a command that has lost its Ray: the same command continues it on another one."""

TEARDOWN_S = 5.0
"""Time after a signal in which a command on Ray ends.

A batch system may signal all processes of a job, and so end Ray's processes as well. Ray then blocks the driver for
minutes, and Python does not even call the handler. Batch systems do not wait that long.
"""


class EndingSignals:
    """State of the signals while a command runs.

    Attributes:
        signum: first signal that arrived; None without one.
        announced: whether the message of the end is already printed.
        lost: what the command needs and has lost, as a sentence; "" if there is nothing.
    """

    def __init__(self, *, is_program: bool = False) -> None:
        """Wait for signals; a program of its own may end the process, where a notebook's process must stay."""
        self.signum: int | None = None
        self.announced = False
        self.lost = ""
        self._is_program = is_program
        self._arrived_at_s = 0.0
        self._deferred = False
        self._last_words: str | None = None

    def defer(self) -> None:
        """From now on only note the first signal: the caller looks at :attr:`signum` where nothing is half done."""
        self._deferred = True

    def bound(self, last_words: str) -> None:
        """End the program ``TEARDOWN_S`` after a signal; ``last_words`` are printed if nothing was announced."""
        self._last_words = last_words

    def release(self) -> None:
        """From now on raise at the first signal again, without a bound on the time after it."""
        self._deferred, self._last_words = False, None

    @property
    def deferred(self) -> bool:
        """Whether signals are only noted."""
        return self._deferred

    def handle(self, signum: int, frame: FrameType | None = None) -> None:
        """Receive a signal.

        Raises:
            KeyboardInterrupt: the signal is the first and is not deferred, or it is the second.
        """
        now_s = time.monotonic()
        if self.signum is None:
            self.signum, self._arrived_at_s = signum, now_s
            if not self._deferred:
                raise KeyboardInterrupt
        elif now_s - self._arrived_at_s >= SAME_SIGNAL_S:
            if self._is_program:
                exit_at_once(self.signum)
            raise KeyboardInterrupt

    def announce(self, message: str) -> None:
        """Print how the program ended, before Ray ends; a function in a notebook raises its message instead."""
        if self._is_program and (self.signum is not None or self.lost):
            with contextlib.suppress(OSError):  # the terminal may have closed
                print(message, file=sys.stderr, flush=True)  # noqa: T201
            self.announced = True

    def lose(self, reason: str) -> None:
        """Receive, in a thread of its own, that the command cannot continue; the caller looks at :attr:`lost`.

        A program that has set a bound ends ``TEARDOWN_S`` later, even if Ray blocks.
        """
        self.lost = reason
        if not self._is_program:
            return
        time.sleep(TEARDOWN_S)
        if self._last_words is not None:
            if not self.announced:
                with contextlib.suppress(OSError):
                    os.write(2, f"{reason}; {self._last_words}\n".encode())
            os._exit(RAY_LOST_CODE)

    def watch_pipe(self, pipe: int) -> None:
        """End the program in time after a signal; ``pipe`` receives the number of each, even while Ray blocks."""
        while numbers := os.read(pipe, 1):
            if numbers[0] not in SIGNALS:
                continue
            time.sleep(TEARDOWN_S)
            if self._last_words is not None:
                with contextlib.suppress(OSError):
                    if os.isatty(2):  # a live table may stand below what was announced
                        os.write(2, f"\n{self._last_words}\n".encode())
                    elif not self.announced:
                        os.write(2, f"{self._last_words}\n".encode())
                exit_at_once(numbers[0])
        os.close(pipe)


_active: EndingSignals | None = None  # the handlers of signals belong to the process


@contextlib.contextmanager
def catch_signals(*, is_program: bool = False) -> Iterator[EndingSignals]:
    """Catch the signals that end a command; restore the previous handlers afterwards.

    Inside another such context the outer one stays in charge. In a thread other than the main thread, Python allows no
    handlers: no signal is caught there.

    Examples:
        >>> with catch_signals() as signals:
        ...     signals.defer()
        ...     signal.raise_signal(signal.SIGTERM)
        ...     signal.Signals(signals.signum).name
        'SIGTERM'
    """
    global _active  # noqa: PLW0603
    if _active is not None or threading.current_thread() is not threading.main_thread():
        signals = _active or EndingSignals()
        try:
            yield signals
        finally:
            signals.release()
        return
    _active = EndingSignals(is_program=is_program)
    # Tune replaces the handler of SIGUSR1
    previous: dict[int, Any] = {signum: signal.getsignal(signum) for signum in (*SIGNALS, signal.SIGUSR1)}
    try:
        for each in SIGNALS:
            # a process under nohup ignores SIGHUP, and a job in the background of a script ignores Ctrl-C
            if previous[each] is not signal.SIG_IGN:
                signal.signal(each, _active.handle)
        with _watchdog(_active) if is_program else contextlib.nullcontext():
            yield _active
    finally:
        _active = None
        for signum, handler in previous.items():
            if handler is not None:  # None: not installed from Python, so it cannot be restored
                signal.signal(signum, handler)


@contextlib.contextmanager
def _watchdog(signals: EndingSignals) -> Iterator[None]:
    """Run a thread that learns of signals from the interpreter itself, while Ray's code does not return to Python."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    previous = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=signals.watch_pipe, args=[reading], name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        os.close(writing)


def current_signals() -> EndingSignals:
    """Return the state of the signals of the innermost running command; one that no signal reaches without any."""
    return _active or EndingSignals()


def exit_at_once(signum: int) -> NoReturn:
    """End this process without any cleanup, with the exit code of a signal; Ray's processes end with it."""
    with contextlib.suppress(OSError, ValueError):  # the terminal may have closed
        if sys.stdout.isatty():
            os.write(sys.stdout.fileno(), b"\x1b[?25h")  # a live table hides the cursor
    os._exit(exit_code(signum))


def exit_code(signum: int) -> int:
    """Return the exit code of a command that a signal ended, as in shells.

    Examples:
        >>> [exit_code(signum) for signum in SIGNALS]
        [130, 143, 129]
    """
    return 128 + signum
