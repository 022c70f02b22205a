"""Watching the head of a cluster that was joined: Ray itself ends the driver without words a minute after its loss."""

from __future__ import annotations

import time
from collections.abc import Callable

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
        ask: Callable[..., str] = gcs.ask_cluster_id,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch the head that listens at ``target``, with the token of its cluster."""
        self._target, self._token, self._ask, self._clock = target, token, ask, clock
        self._cluster_id = ""
        self._silent_since_s: float | None = None

    def find_loss(self) -> str:
        """Return what is lost, as a sentence, after one question to the head; "" if it is not known to be lost.

        A head that has never answered is not watched: only Ray can talk to it, for example with certificates.
        """
        now_s = self._clock()
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
