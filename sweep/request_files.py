"""The files of an inbox: in the folder of a sweep, or elsewhere."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path

from trainables.errors import UserError
from trainables.whole_file import write_whole

INBOX = "inbox"
"""Folder of the requests in the folder of a sweep."""

SUFFIX = ".json"
"""Ending of the name of a request."""

MAX_BYTES = 65_536
"""Largest size of a request."""

MAX_READ = 4 * MAX_BYTES
"""Largest part of a file that is read: a result contains its request."""


class RequestFiles(ABC):
    """The files of an inbox by name; the results have names in ``done/``.

    Attributes:
        look_s: pause between two looks for requests.
        answer_s: pause between two looks for an answer.
    """

    look_s: float
    answer_s: float

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of the requests, in their order."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return whether there is such a file."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be read, is no regular file, or is too long.
        """

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a whole file."""

    @abstractmethod
    def remove(self, name: str) -> bool:
        """Remove a file; return whether it was there."""


class FolderFiles(RequestFiles):
    """The files in the folder of a sweep."""

    look_s, answer_s = 1.0, 0.1

    def __init__(self, folder: Path) -> None:
        """Use the files in ``folder``, which is made with the first request."""
        self._folder = folder

    def names(self) -> list[str]:
        """Return the names of the requests, in their order; this lists the folder once."""
        try:
            return sorted(name for name in os.listdir(self._folder) if name.endswith(SUFFIX))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []

    def has(self, name: str) -> bool:
        """Return whether there is such a file."""
        return (self._folder / name).exists()

    def read(self, name: str) -> bytes:
        """Return the content of a file; links and devices are not read."""
        file = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(file, "rb") as opened:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError("it is no regular file")
            return opened.read(MAX_READ)

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file.

        Raises:
            UserError: the folder is a link.
        """
        if self._folder.is_symlink():
            raise UserError(f"'{self._folder}' is a link: remove it, because it would be written through")
        path = self._folder / name
        if path.parent != self._folder:
            path.parent.mkdir(exist_ok=True)
        write_whole(path, content, parents=False)

    def remove(self, name: str) -> bool:
        """Remove a file; return whether it was there."""
        try:
            (self._folder / name).unlink()
        except FileNotFoundError:
            return False
        return True
