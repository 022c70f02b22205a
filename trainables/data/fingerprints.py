"""Fingerprints of a split's files: by content, and a quick key that shows whether the content must be read again."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from trainables.cores import usable_cores
from trainables.errors import UserError

MAX_THREADS = 8
FILES_PER_TASK = 64

CLOCK_S = 0.05
"""Longest step of the clock that stamps changes of files; a later change gets another time."""


@dataclass(frozen=True)
class SplitFiles:
    """Files that a source reads for one split.

    Attributes:
        root: folder of the files.
        names: names of the files relative to ``root``, in the order of the reader.
        class_of: returns the class of an image by its name: "" if the name does not show it, None for a file that is
            no image, for example an annotation.

    Examples:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("b.txt", "a.txt"):
        ...     _ = (root / name).write_text(name)
        >>> files = SplitFiles(root, ["b.txt", "a.txt"])
        >>> sorted(files.digests())
        ['a.txt', 'b.txt']
    """

    root: Path
    names: Sequence[str]
    class_of: Callable[[str], str | None] = lambda _: None

    def digests(self, known: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the SHA-256 of each file by its name, 64 hexadecimal digits.

        Args:
            known: digests of files that were read already, by path.

        Raises:
            UserError: a file cannot be read.
        """
        known, root = known or {}, f"{self.root}{os.sep}"
        digests = {name: known[root + name] for name in self.names if root + name in known}
        unread = [name for name in self.names if name not in digests]
        digests.update(zip(unread, _digests([root + name for name in unread]), strict=True))
        return digests

    def fingerprint_by_times(self) -> str:
        """Return the fingerprint in records of schema version 3 and older: of names, sizes and modification times.

        Raises:
            UserError: a file cannot be found.
        """
        digest = hashlib.sha256()
        for name, status in self._statuses():
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def snapshot(self) -> Snapshot:
        """Return the present state of the files, from one ``stat`` per file; contents are not read.

        Raises:
            UserError: a file cannot be found.
        """
        stamps, inodes, listing = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        n_bytes = newest_ns = 0
        for name, status in self._statuses():
            size, changed_ns = status.st_size, status.st_ctime_ns
            line = f"{name}\0{size}\n".encode(errors="surrogateescape")
            listing.update(line)
            stamps.update(line + f"{status.st_mtime_ns}\0{changed_ns}\n".encode())
            inodes.update(f"{status.st_ino}\n".encode())
            n_bytes += size
            newest_ns = max(newest_ns, changed_ns)
        root = str(self.root.absolute()).encode(errors="surrogateescape")
        state = hashlib.sha256(b"\0".join([root, stamps.digest(), inodes.digest()])).hexdigest()
        return Snapshot(state, stamps.hexdigest(), listing.hexdigest(), n_bytes, newest_ns)

    def settled_snapshot(self) -> Snapshot:
        """Return the state of the files when each later change must give another state.

        A file that was changed within the present step of the clock could change again and keep its time.

        Raises:
            UserError: a file cannot be found.
        """
        snapshot = self.snapshot()
        age_s = time.time() - snapshot.newest_ns / 1e9
        if age_s < CLOCK_S:
            time.sleep(min(CLOCK_S, CLOCK_S - age_s))
            snapshot = self.snapshot()
        return snapshot

    def _statuses(self) -> Iterable[tuple[str, os.stat_result]]:
        root = f"{self.root}{os.sep}"
        for name in self.names:
            try:
                yield name, os.stat(root + name)  # noqa: PTH116 (making a million Paths costs more than the stat)
            except OSError as error:
                raise _unreadable(root + name, error) from error


@dataclass(frozen=True)
class Snapshot:
    """State of files at one moment.

    Attributes:
        state: hash of folder, names, sizes, times of modification and of change, and inodes. Equal states mean equal
            contents; different states mean nothing, because some file systems number their files anew.
        stamps: hash of names, sizes and times. It stays the same while nothing writes to the files.
        listing: hash of names and sizes. Different listings mean different contents.
        n_bytes: size of all files.
        newest_ns: latest change of a file, nanoseconds since 1970.
    """

    state: str
    stamps: str
    listing: str
    n_bytes: int = 0
    newest_ns: int = 0


def content_listing(digests: Mapping[str, str]) -> bytes:
    r"""Return one line per file, sorted by name, as the program ``sha256sum`` prints them.

    Examples:
        >>> content_listing({"b.png": "0" * 64, "a.png": "f" * 64}).decode().splitlines()[0][-8:]
        'f  a.png'
    """
    return "".join(_line(name, digests[name]) for name in sorted(digests)).encode(errors="surrogateescape")


def parse_listing(listing: bytes) -> dict[str, str]:
    """Return the SHA-256 of each file by its name, from :func:`content_listing`.

    Examples:
        >>> parse_listing(content_listing({"a.png": "f" * 64})) == {"a.png": "f" * 64}
        True
    """
    lines = listing.decode(errors="surrogateescape").split("\n")[:-1]
    return dict(_parse_line(line) for line in lines)


def fingerprint_of(listing: bytes) -> str:
    """Return the fingerprint of a split by content: the SHA-256 of its :func:`content_listing`."""
    return hashlib.sha256(listing).hexdigest()


def _line(name: str, digest: str) -> str:
    if "\n" in name or "\\" in name:  # as sha256sum does it
        name = name.replace("\\", "\\\\").replace("\n", "\\n")
        return f"\\{digest}  {name}\n"
    return f"{digest}  {name}\n"


def _parse_line(line: str) -> tuple[str, str]:
    if not line.startswith("\\"):
        return line[66:], line[:64]
    parts = line[67:].split("\\\\")
    return "\\".join(part.replace("\\n", "\n") for part in parts), line[1:65]


def _digests(paths: Sequence[str]) -> list[str]:
    """Return the SHA-256 of files, read on up to 8 threads."""

    def some(start: int) -> list[str]:
        return [_digest(path) for path in paths[start : start + FILES_PER_TASK]]

    starts = range(0, len(paths), FILES_PER_TASK)
    pool = ThreadPoolExecutor(min(MAX_THREADS, usable_cores()))
    try:
        return [digest for digests in pool.map(some, starts) for digest in digests]
    finally:  # after a file that cannot be read the others need not be read
        pool.shutdown(cancel_futures=True)


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (making a million Paths costs more)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> UserError:
    return UserError(f"cannot read the file {path}: {error.strerror}; repair or remove it")
