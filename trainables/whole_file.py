"""Files that a reader sees complete or not at all."""

from __future__ import annotations

import glob
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

UNFINISHED = ".unfinished"
"""Ending of the temporary name."""

_ABANDONED_AFTER_S = 3600.0


@contextmanager
def whole_file(path: Path, *, parents: bool = True, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file under a temporary name; rename it to ``path`` when the block ends without an error.

    A reader of ``path`` sees the old content or the new content. Two processes, also on two machines, may write the
    same file at once: the last rename is valid. Missing folders are made. After an error the temporary file is removed
    and the old content stays. A kill leaves the temporary file; a later write of the same file removes it.

    Args:
        path: the file.
        parents: whether all missing folders are made; otherwise only the file's own, so that a deleted sweep stays
            deleted.
        durable: whether the content survives a crash of the machine; False for a file that can be made again.

    Raises:
        OSError: the file cannot be written, for example because the disk is full; the error names ``path``.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "results" / "errors.csv"
        >>> with whole_file(path) as file:
        ...     _ = file.write(b"arm,top1_error")
        ...     path.exists()
        False
        >>> path.read_text()
        'arm,top1_error'
    """
    path.parent.mkdir(parents=parents, exist_ok=True)
    remove_abandoned(path.parent, name=glob.escape(path.name))
    # not the process id: two nodes of a cluster may write the same file with equal ids
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{UNFINISHED}")
    try:
        with unfinished.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())  # otherwise a crash of the machine may keep the new name and lose the content
        unfinished.replace(path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        # a full disk is noticed while bytes are written: the error then names no file
        if isinstance(error, OSError) and error.filename in (None, str(unfinished)):
            error.filename = str(path)
        raise


def write_whole(path: Path, content: bytes | memoryview | str, *, parents: bool = True, durable: bool = True) -> None:
    """Write a file with this content, as :func:`whole_file` does; text is encoded as UTF-8.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    with whole_file(path, parents=parents, durable=durable) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def remove_abandoned(folder: Path, *, name: str = "*", after_s: float = _ABANDONED_AFTER_S) -> None:
    """Remove temporary files of killed writers from a folder.

    Args:
        folder: folder to look into; it may be missing.
        name: pattern of the files that were to be written.
        after_s: age in seconds from which no writer can still be at work.
    """
    for unfinished in folder.glob(f"{name}.*{UNFINISHED}"):
        try:
            # a time in the future counts too: the clock was set back since
            if abs(time.time() - unfinished.stat().st_mtime) > after_s:
                unfinished.unlink()
        except FileNotFoundError:  # its writer has just renamed it
            continue
