"""What a working folder has of a store: which files equal which objects."""

from __future__ import annotations

import contextlib
from pathlib import Path

from trainables.intact import DamagedFile, read_checked_json, write_checked_json
from trainables.object_store import StoredObject

INDEX = "index.json"
"""File beside a working folder."""


class Index:
    """Files of a working folder by name, each with the object that it equals as long as the file is not changed.

    A file is known by its size and its time of modification.
    """

    def __init__(self, folder: Path) -> None:
        """Read the index of ``folder``; without a readable file, nothing is known."""
        self._folder = folder
        self._path = folder.with_name(INDEX)
        self._known: dict[str, list[int | str]] = {}
        with contextlib.suppress(OSError, DamagedFile):
            self._known = read_checked_json(self._path)

    def add(self, name: str, stored: StoredObject) -> None:
        """Store that a file equals an object now."""
        self._known[name] = [stored.e_tag, *self._state(name)]

    def matches(self, name: str, stored: StoredObject) -> bool:
        """Return whether a file equals an object, as far as is known."""
        return self._known.get(name) == [stored.e_tag, *self._state(name)]

    def is_changed(self, name: str) -> bool:
        """Return whether a file differs from the object that it equalled, or is new."""
        known = self._known.get(name)
        return known is None or known[1:] != self._state(name)

    def forget(self, name: str) -> None:
        """Remove a file that is gone."""
        self._known.pop(name, None)

    def names(self) -> list[str]:
        """Return the names of the files that are known."""
        return list(self._known)

    def write(self) -> None:
        """Write the index; if that fails, files are read from the store again."""
        with contextlib.suppress(OSError):
            write_checked_json(self._path, self._known, durable=False)

    def _state(self, name: str) -> list[int]:
        try:
            status = (self._folder / name).stat()
        except OSError:
            return [-1, -1]
        return [status.st_size, status.st_mtime_ns]
