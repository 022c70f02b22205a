"""The log of one trial: what its code prints, and one line per epoch. It is for people; no program reads it."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from trainables.whole_file import write_whole

MAX_BYTES = 1_000_000
"""Largest size of a log; the older half is dropped then."""

SHOWN = ("train_loss", "val_top1_error", "val_nll", "seconds")
"""Values of an epoch in its line."""


class TrialLog:
    """Log of one trial; if it cannot be written, the trial continues.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "logs" / "off-0000.txt"
        >>> log = TrialLog(path)
        >>> with log.capture():
        ...     print("32 images")
        32 images
        >>> path.read_text().endswith("32 images\\n")
        True
    """

    def __init__(self, path: Path | None) -> None:
        """Append to ``path``, whose folder is made if the folder above exists; None: write nothing."""
        self._path = path

    @contextlib.contextmanager
    def capture(self) -> Iterator[None]:
        """Append what is printed meanwhile; it is also printed."""
        output = _Tee(sys.stdout)
        errors = _Tee(sys.stderr, output.text)
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
                yield
        finally:
            self._write(output.text.getvalue())

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Append one line about a report of the trial: an epoch, or why it failed."""
        if "failed" in report:
            self.write_line(f"failed: {report['failed']}")
        elif "out_of_memory" in report:
            self.write_line(f"ran out of GPU memory: {report['out_of_memory']}")
        elif "epoch" in report:
            values = ", ".join(f"{name} {report[name]:.4g}" for name in SHOWN if name in report)
            self.write_line(f"epoch {report['epoch']}: {values}")

    def write_line(self, text: str) -> None:
        """Append one line with time and node."""
        self._write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {socket.gethostname()} {text}\n")

    def _write(self, text: str) -> None:
        if not text or self._path is None:
            return
        with contextlib.suppress(OSError):
            self._append(self._path, text.encode(errors="replace"))

    def _append(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        with os.fdopen(file, "ab") as opened:
            opened.write(content[-MAX_BYTES:])
            size = opened.tell()
        if size > MAX_BYTES:
            kept = path.read_bytes()[-MAX_BYTES // 2 :].partition(b"\n")[2]
            write_whole(path, b"(older lines were dropped)\n" + kept, durable=False)


class _Tee(io.TextIOBase):
    """Text stream that passes everything on and keeps a copy."""

    def __init__(self, stream: TextIO, text: io.StringIO | None = None) -> None:
        self.text = text or io.StringIO()
        self._stream = stream

    def write(self, text: str) -> int:
        self.text.write(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return False
