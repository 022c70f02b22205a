"""Watching a cluster that was joined: its head, and the raylet of this machine.

Ray itself ends the driver without words, a minute after the loss of the head, and at any time after that of the raylet.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import psutil

from sweep import gcs

HEAD_LOOK_S = 5.0
"""Pause between two questions to the head, seconds."""

ANSWER_S = 2.0
"""Longest wait for an answer, seconds."""

LOST_AFTER_S = 9.0
"""Time without an answer after which the head is lost, seconds: one answer may be late."""


class HeadWatch:
    """Watcher of the head of a cluster.

    Examples:
        >>> def ask(target: str, token: str | None, *, timeout_s: float) -> str:
        ...     if not answers:
        ...         raise gcs.NotRay("connection refused")
        ...     return answers.pop(0)
        >>> answers, times = ["5f"], iter((0.0, 5.0, 10.0, 15.0))
        >>> head = HeadWatch("10.0.0.5:6379", None, ask=ask, clock=lambda: next(times))
        >>> [bool(head.find_loss()) for _ in range(4)]
        [False, False, False, True]
    """

    def __init__(
        self,
        target: str,
        token: str | None,
        *,
        raylet: psutil.Process | None = None,
        ask: Callable[..., str] = gcs.ask_cluster_id,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch a cluster.

        Args:
            target: ``HOST:PORT`` of its head.
            token: its token; None: none is sent.
            raylet: raylet of this machine; None: it is not watched.
            ask: asks the head for the id of the cluster.
            clock: monotonic clock, seconds.
        """
        self._target, self._token, self._raylet, self._ask, self._clock = target, token, raylet, ask, clock
        self._cluster_id = ""
        self._asked_at_s = float("-inf")
        self._silent_since_s: float | None = None

    def find_loss(self) -> str:
        """Return what is lost, as a sentence; "" if nothing is known to be lost. The head is asked every 5 s.

        A head that has never answered is not watched: only Ray can talk to it, for example with certificates.
        """
        if self._raylet is not None and not _lives(self._raylet):
            return "Ray has lost its process raylet on this machine"
        now_s = self._clock()
        if now_s - self._asked_at_s < HEAD_LOOK_S:
            return ""
        self._asked_at_s = now_s
        try:
            cluster_id = self._ask(self._target, self._token, timeout_s=ANSWER_S)
        except (gcs.NoAnswer, gcs.NotRay):
            if not self._cluster_id:
                return ""
            self._silent_since_s = now_s if self._silent_since_s is None else self._silent_since_s
            if now_s - self._silent_since_s < LOST_AFTER_S:
                return ""
            return f"the head of the Ray cluster at {self._target} does not answer any more"
        except (gcs.Unauthenticated, gcs.UnknownAnswer):  # it is there
            self._silent_since_s = None
            return ""
        self._silent_since_s = None
        self._cluster_id = self._cluster_id or cluster_id
        if cluster_id != self._cluster_id:
            return f"the Ray cluster at {self._target} has been started anew"
        return ""


def find_raylet() -> psutil.Process | None:
    """Return the raylet of this machine that this process has joined; None if it cannot be found."""
    with contextlib.suppress(Exception):  # private to Ray: another version may not have it
        from ray._private.worker import _global_node

        socket_name = str(_global_node.raylet_socket_name)
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or [""]
            if words[0].endswith("raylet") and any(socket_name in word for word in words):
                return process
    return None


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
