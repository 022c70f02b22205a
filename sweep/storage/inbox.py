"""The inbox of a sweep in an object store: requests and results are objects, which are written and read at once."""

from __future__ import annotations

from sweep.request_files import INBOX, MAX_READ, SUFFIX, RequestFiles
from trainables.object_store import ObjectStore


class StoredRequests(RequestFiles):
    """The objects below ``inbox/``; a look of the driver is one request."""

    look_s, answer_s = 5.0, 1.0

    def __init__(self, store: ObjectStore) -> None:
        """Use the objects of ``store``."""
        self._store = store
        self._sizes: dict[str, int] = {}

    def names(self) -> list[str]:
        """Return the names of the requests, in their order."""
        found = {name.rpartition("/")[2]: stored.size for name, stored in self._store.list_top(INBOX).items()}
        self._sizes = {name: size for name, size in found.items() if name.endswith(SUFFIX)}
        return sorted(self._sizes)

    def has(self, name: str) -> bool:
        """Return whether there is such an object."""
        return self._store.describe(f"{INBOX}/{name}") is not None

    def read(self, name: str) -> bytes:
        """Return the content of an object."""
        if self._sizes.get(name, 0) > MAX_READ:
            raise OSError("it is not a request")
        return self._store.read(f"{INBOX}/{name}")[0]

    def write(self, name: str, content: bytes) -> None:
        """Write a whole object."""
        self._store.write(f"{INBOX}/{name}", content)

    def remove(self, name: str) -> bool:
        """Remove an object; return whether it was there."""
        was_there = self.has(name)
        if was_there:
            self._store.delete([f"{INBOX}/{name}"])
        return was_there
