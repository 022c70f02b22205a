"""The log of one trial as an object, which the nodes write one after another."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from trainables.object_store import ObjectStore
from trainables.trial_log import MAX_BYTES

PAUSE_S = 60.0
"""Shortest pause between two logs that are sent while a trial runs."""


class StoredLog:
    """Log of one trial on this node, and in an object store after the lines of other nodes.

    Attributes:
        path: local file, which has the lines of this node.
    """

    def __init__(self, store: ObjectStore, name: str, path: Path) -> None:
        """Send ``path`` to ``store`` as ``name``; no request is sent yet."""
        self.path = path
        self._store, self._name = store, name
        self._before: bytes | None = None
        self._sent: tuple[int, int] | None = None
        self._sent_at_s = float("-inf")
        self._sending = threading.RLock()  # a signal may come while the log is sent

    @property
    def is_due(self) -> bool:
        """Whether it was not sent for a while."""
        return time.monotonic() - self._sent_at_s >= PAUSE_S

    def send(self) -> None:
        """Send the log if it has changed, after what other nodes have written of it.

        Raises:
            StorageError: the store does not answer, or refuses.
        """
        with self._sending:
            self._sent_at_s = time.monotonic()
            try:
                status, here = self.path.stat(), self.path.read_bytes()
            except FileNotFoundError:
                return
            if self._sent == (status.st_size, status.st_mtime_ns):
                return
            if self._before is None:
                self._before = self._read_before(here)
            self._store.write(self._name, (self._before + here)[-MAX_BYTES:])
            self._sent = status.st_size, status.st_mtime_ns

    def _read_before(self, here: bytes) -> bytes:
        """Return what the store has before the lines of this node, which a killed process may have sent already."""
        try:
            stored, _ = self._store.read(self._name)
        except FileNotFoundError:
            return b""
        first_line = here.partition(b"\n")[0]  # it has its time and node
        place = stored.find(first_line) if first_line else -1
        return stored if place < 0 else stored[:place]
