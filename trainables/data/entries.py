"""Entries of the image cache: folders with arrays, and the checksum of each array in ``meta.json``."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from trainables.data.cache_dir import CACHE_VARIABLE
from trainables.errors import DataWarning, UserError
from trainables.intact import DamagedFile, read_checked_json, sha256_of, write_checked_json

META = "meta.json"

LARGE_BYTES = 4 * 2**30
"""Size from which an array is verified once per day, not once per process: reading it takes seconds to minutes."""

DAY_S = 86_400.0

IMAGES_AT_ONCE = 64
"""Images that are copied or summed at once."""

_verified: set[tuple[str, int, int, int]] = set()
"""Files that this process has verified: path, inode, size, time of modification."""


@dataclass(frozen=True)
class Entry:
    """An intact entry.

    Attributes:
        path: its folder.
        content: fingerprint of the files that it was decoded from.
        meta: content of its ``meta.json``.
    """

    path: Path
    content: str
    meta: Mapping[str, Any]


def read_entry(path: Path) -> Entry | None:
    """Return the entry in a folder, after its arrays were verified once per process; None if there is no folder.

    Padded images are verified when they are opened.

    Raises:
        DamagedFile: a file is missing, unreadable or not as it was written.
    """
    if not path.is_dir():
        return None
    meta = read_meta(path)
    for name, facts in meta["arrays"].items():
        check_array(path / name, facts)
    return Entry(path, meta["content"], meta)


def read_meta(path: Path) -> dict[str, Any]:
    """Return the ``meta.json`` of an entry.

    Raises:
        DamagedFile: the file is missing, unreadable or not as it was written.
    """
    try:
        return read_checked_json(path / META)
    except OSError as error:
        raise DamagedFile(path / META, error.strerror or "it cannot be read") from None


def write_meta(path: Path, meta: Mapping[str, Any]) -> None:
    """Write the ``meta.json`` of an entry."""
    write_checked_json(path / META, meta)


def describe_array(path: Path) -> dict[str, Any]:
    """Return checksum, shape and type of the array in a file."""
    array = np.load(path, mmap_mode="r")
    return {"sha256": sha256_of(path), "shape": list(array.shape), "dtype": str(array.dtype)}


def check_array(path: Path, facts: Mapping[str, Any]) -> None:
    """Check the file of an array against its checksum, once per process and state of the file.

    Args:
        path: the file.
        facts: from :func:`describe_array`.

    Raises:
        DamagedFile: the file is missing, unreadable or not as it was written.
    """
    try:
        if _is_verified(path):
            return
        is_large = path.stat().st_size >= LARGE_BYTES
        with _one_at_a_time(path) if is_large else contextlib.nullcontext():
            if _is_verified(path):  # another process has read it while this one waited
                return
            key, digest = _key(path), sha256_of(path)
            if digest != facts["sha256"]:
                raise DamagedFile(path, "its content differs from its checksum")
            _verified.add(key)
            if is_large:
                with contextlib.suppress(OSError):
                    _stamp(path).touch()
    except OSError as error:
        raise DamagedFile(path, error.strerror or "it cannot be read") from None


def _key(path: Path) -> tuple[str, int, int, int]:
    status = path.stat()
    return str(path), status.st_ino, status.st_size, status.st_mtime_ns


def _stamp(path: Path) -> Path:
    """Return the file whose time says when a large array was last verified."""
    return path.with_name(f"{path.name}.verified")


def _is_verified(path: Path) -> bool:
    """Return whether this process has verified a file, or a process of this node has verified a large one today."""
    if _key(path) in _verified:
        return True
    try:
        verified_s = _stamp(path).stat().st_mtime
    except FileNotFoundError:  # also for each array that is not large
        return False
    return verified_s > path.stat().st_mtime and 0 <= time.time() - verified_s < DAY_S


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process of the node reads this large array; where no lock is possible, all read it at once.

    The lock is not the entry's: this process may hold that one.
    """
    lock = FileLock(path.with_name(f"{path.name}.verified.lock"))
    with contextlib.suppress(OSError, NotImplementedError):  # the cache of another user, or no locks in its file system
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def mapped(path: Path, shape: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    """Make a file-backed array whose space on the disk is reserved."""
    with blaming(path.parent.parent):
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        if sys.platform == "linux":  # writing to a mapped file on a full disk kills the process without a message
            with path.open("rb+") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


@contextlib.contextmanager
def locked(entry: Path) -> Iterator[None]:
    """Hold the entry's lock; the system releases the lock of a killed process."""
    lock = FileLock(entry.with_name(f"{entry.name}.lock"))
    with blaming(entry.parent):
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def blaming(folder: Path) -> Iterator[None]:
    """Turn errors of the file system into a UserError that names the cache folder."""
    try:
        yield
    except (OSError, NotImplementedError) as error:  # NotImplementedError: filelock, if the file system has no locks
        raise UserError(
            f"cannot write the image cache {folder}: {error}; set {CACHE_VARIABLE} to a writable folder with free "
            "space and support for locks, or choose a smaller data.image_size_px or data.stored_px"
        ) from error


def warn(text: str) -> None:
    """Warn the user about images."""
    warnings.warn(text, DataWarning, stacklevel=2)
