"""The results of a served sweep: the document of ``status --json``, computed again after a change."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from sweep.documents import status_document
from sweep.driver import Driver
from sweep.records.errors import RecordsError
from trainables.errors import UserError

QUICK_S = 0.5
"""Results that take longer are computed beside the requests, which get the former results meanwhile."""

PAUSE = 2.0
"""Pause between two computations beside the requests, as a multiple of the time that one takes."""


class Results:
    """Results of one sweep.

    Attributes:
        problem: why the last computation failed; "" if it did not.
    """

    def __init__(self, folder: Path, driver: Driver | None, version: Hashable) -> None:
        """Compute the results; ``driver`` and ``version`` are those of :meth:`get`.

        Raises:
            RecordsError: the records cannot be read.
        """
        self.problem = ""
        self._folder = folder
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._took_s = 0.0  # the first time, libraries are loaded
        self._document = status_document(folder, find=lambda _: driver)
        self._version = version
        self._at_s = time.monotonic()

    def get(self, driver: Driver | None, version: Hashable) -> tuple[dict[str, Any], float]:
        """Return the document and its age in seconds; 0 if it is that of the present version.

        Args:
            driver: process that runs the sweep.
            version: what changes when the results may have changed.
        """
        if version != self._version:
            if self._took_s <= QUICK_S:
                self._compute(driver, version)
            elif self._thread is None and time.monotonic() - self._at_s >= PAUSE * self._took_s:
                self._thread = threading.Thread(target=self._compute, args=(driver, version), daemon=True)
                self._thread.start()
        with self._lock:
            return self._document, 0.0 if version == self._version else time.monotonic() - self._at_s

    def _compute(self, driver: Driver | None, version: Hashable) -> None:
        began_s, at_s = time.thread_time(), time.monotonic()
        try:
            document = status_document(self._folder, find=lambda _: driver)
            with self._lock:
                self._document, self._version, self._at_s, self.problem = document, version, at_s, ""
        except (RecordsError, UserError, OSError) as error:
            self.problem = str(error)
        finally:
            self._took_s = time.thread_time() - began_s
            self._thread = None
