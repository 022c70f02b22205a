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


class EndingSignals:
    """State of the signals while a command runs.

    Attributes:
        signum: first signal that arrived; None without one.
    """

    def __init__(self, *, exit_at_second: bool = False) -> None:
        """Wait for signals; ``exit_at_second`` is for programs of their own, where a notebook's process must stay."""
        self.signum: int | None = None
        self._exit_at_second = exit_at_second
        self._arrived_at_s = 0.0
        self._deferred = False

    def defer(self) -> None:
        """From now on only note the first signal: the caller looks at :attr:`signum` where nothing is half done."""
        self._deferred = True

    def release(self) -> None:
        """From now on raise at the first signal again."""
        self._deferred = False

    @property
    def deferred(self) -> bool:
        """Whether signals are only noted."""
        return self._deferred

    def handle(self, signum: int, frame: FrameType | None = None) -> None:
        """Note a signal.

        Raises:
            KeyboardInterrupt: the signal is the first and is not deferred, or it is the second.
        """
        now_s = time.monotonic()
        if self.signum is None:
            self.signum, self._arrived_at_s = signum, now_s
            if not self._deferred:
                raise KeyboardInterrupt
        elif now_s - self._arrived_at_s >= SAME_SIGNAL_S:
            if self._exit_at_second:
                exit_at_once(self.signum)
            raise KeyboardInterrupt


_active: EndingSignals | None = None  # the handlers of signals belong to the process


@contextlib.contextmanager
def catch_signals(*, exit_at_second: bool = False) -> Iterator[EndingSignals]:
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
    _active = EndingSignals(exit_at_second=exit_at_second)
    # Tune replaces the handler of SIGUSR1
    previous: dict[int, Any] = {signum: signal.getsignal(signum) for signum in (*SIGNALS, signal.SIGUSR1)}
    try:
        for signum in SIGNALS:
            # a process under nohup ignores SIGHUP, and a job in the background of a script ignores Ctrl-C
            if previous[signum] is not signal.SIG_IGN:
                signal.signal(signum, _active.handle)
        yield _active
    finally:
        _active = None
        for signum, handler in previous.items():
            if handler is not None:  # None: not installed from Python, so it cannot be restored
                signal.signal(signum, handler)


def current_signals() -> EndingSignals:
    """Return the state of the signals of the innermost running command; one that no signal reaches without any."""
    return _active or EndingSignals()


@contextlib.contextmanager
def keep_handlers() -> Iterator[None]:
    """Start Ray inside this context: Ray would replace the handler of SIGTERM by one that ends in a stack dump.

    The processes that are started inside ignore SIGHUP: the driver ends them. Otherwise a terminal that closes would
    end them before the driver has written the records.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signum: signal.getsignal(signum) for signum in SIGNALS}
    from ray._private import utils

    replace = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        utils.set_sigterm_handler = replace
        for signum, handler in handlers.items():
            if handler is not None:
                signal.signal(signum, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


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
