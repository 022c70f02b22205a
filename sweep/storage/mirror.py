"""The working folder of a sweep in an object store: made equal to the store, and written back in a safe order."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from sweep.lease import Flock, ShowStatus
from sweep.lock import LockLost
from sweep.mirrored import Mirrored
from sweep.records.counts import COUNTS
from sweep.records.manifest_file import read_manifest
from sweep.records.part_file import digest_of
from sweep.records.parts import gaps_of, live_parts, part_of
from sweep.records.schema import RECORDS, TABLES
from sweep.storage.inbox import StoredRequests
from sweep.storage.index import Index
from sweep.storage.lease import BucketLease, BucketSource
from sweep.storage.names import CHECKPOINTS, LOG, Scope, is_json, is_wanted, is_written, primary_of, stage_of
from sweep.storage.places import driver_home
from trainables.intact import DamagedFile, read_checked_json
from trainables.object_store import ObjectStore, StorageError, StoredObject
from trainables.request_counts import RequestCounts
from trainables.whole_file import write_whole

SAVE_AFTER_S = 10.0
"""Pause between two writes to the store that nothing waits for."""

LOG_AFTER_S = 60.0
"""Pause between two writes of the log: the whole file is written each time."""

REFRESH_AFTER_S = 5.0
"""Pause between two looks for changes."""

ATTEMPTS = 5
"""Number of times that a sweep is read again because its parts were merged meanwhile."""

THREADS = 8

T = TypeVar("T")


class Mirror(Mirrored):
    """A sweep in an object store, with its working folder.

    The store is the truth: what a killed process has not written to it is lost, and computed again.

    Attributes:
        store: client of the store.
        by_workers: requests of the workers.
    """

    def __init__(self, store: ObjectStore, folder: Path, scope: Scope) -> None:
        """Prepare a mirror of ``store`` in ``folder``; without a lease it only reads."""
        self.folder, self.url, self.save_after_s = folder, str(store.url), SAVE_AFTER_S
        self.write = lambda show_status: nullcontext(folder)
        self.store = store
        self.by_workers = RequestCounts()
        self._scope = scope
        self._lease: BucketLease | None = None
        self._index = Index(folder)
        self._listed: dict[str, StoredObject] = {}  # the last listing, and what was written since
        self._expected: set[str] = set()
        self._to_remove: dict[str, None] = {}
        self._removed: set[str] = set()
        self._saved_at_s = self._logged_at_s = self._refreshed_at_s = float("-inf")

    @cached_property
    def sweep_key(self) -> str:
        """Text that differs between this sweep and an older one at the same address."""
        first_run = read_manifest(self.folder)["runs"][:1]
        return hashlib.sha256(json.dumps(first_run, sort_keys=True).encode()).hexdigest()[:16]

    def take_lease(self, flock: Flock, show_status: ShowStatus) -> None:
        """Take the lease of the sweep: from now on, changes are written.

        Args:
            flock: whether the kernel has granted the lock of ``driver_home``.
            show_status: returns a context that shows what is waited for.

        Raises:
            UserError: another process holds it.
        """
        home = driver_home(self.store.url)
        self._lease = BucketLease.take(self.store, self.folder, home, flock, show_status=show_status)

    def release_lease(self) -> None:
        """Release the lease, if it was taken and is not lost."""
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def pull(self) -> None:
        """Make the working folder equal to the store.

        Raises:
            StorageError: the store does not answer, or refuses.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._pull()
                if attempt == ATTEMPTS or not self._has_gap():
                    break
            except FileNotFoundError:  # deleted by a merge after it was listed
                if attempt == ATTEMPTS:
                    raise StorageError(self.url, "objects disappear while they are read", is_write=False) from None
            time.sleep(0.1 * attempt)
        self._index.write()
        self._saved_at_s = self._refreshed_at_s = time.monotonic()

    def _pull(self) -> None:
        """Read the numbers of rows before the parts are listed, and put them in place after the parts."""
        listed = self._list()
        changed = [name for name in listed if is_json(name) and not self._is_here(name, listed[name])]
        contents = dict(zip(changed, self._each(self.store.read, changed), strict=True))
        if changed:
            listed = self._list()
        self._listed = listed
        wanted = {name for name in listed if is_wanted(name, self._scope)}
        missing = [name for name in wanted if not is_json(name) and not self._is_here(name, listed[name])]
        for name in wanted.difference(missing, contents):
            if not self._index.matches(name, listed[name]):
                self._index.add(name, listed[name])
        for are_copies in (False, True):
            self._each(self._take, [name for name in missing if (primary_of(name) is not None) is are_copies])
        for name in sorted(contents, key=stage_of):
            content, stored = contents[name]
            write_whole(self.folder / name, content, durable=False)
            self._index.add(name, stored)
        for name in self._local_names():
            if name not in wanted:
                (self.folder / name).unlink(missing_ok=True)
                self._index.forget(name)

    def _list(self) -> dict[str, StoredObject]:
        if self._scope is Scope.RECORDS:
            return {**self.store.list_top(), **self.store.list(RECORDS)}
        return self.store.list()

    def _is_here(self, name: str, stored: StoredObject) -> bool:
        """Return whether the working folder has an object; the name of a part has the checksum of its content."""
        part = part_of(self.folder / name)
        if part is not None and part.digest and self._scope is not Scope.ALL:
            return _size_of(part.path) == stored.size
        return self._index.matches(name, stored)

    def _take(self, name: str) -> None:
        """Copy an object to the working folder; the second copy of a part is made from the part, if that is intact."""
        primary, part = primary_of(name), part_of(self.folder / name)
        if primary is not None and part is not None and part.digest and self._scope is not Scope.ALL:
            content = _content_of(self.folder / primary)
            if digest_of(content) == part.digest and len(content) == self._listed[name].size:
                write_whole(part.path, content, durable=False)
                self._index.add(name, self._listed[name])
                return
        self._index.add(name, self.store.fetch(name, self.folder / name))

    def _has_gap(self) -> bool:
        """Return whether parts are missing: a listing in several pages is not atomic."""
        try:
            counts = read_checked_json(self.folder / RECORDS / COUNTS)
        except (OSError, DamagedFile):
            return False
        folders = {name: self.folder / RECORDS / name for name in TABLES}
        return any(gaps_of(live_parts(folders[name]), int(counts.get(name, 0))) for name in TABLES)

    def _local_names(self) -> list[str]:
        """Return the names of the files that belong to the sweep in the store, with slashes."""
        names = []
        for folder, _, files in os.walk(self.folder):
            below = Path(folder).relative_to(self.folder).as_posix()
            names += [file if below == "." else f"{below}/{file}" for file in files]
        return [name for name in names if is_written(name, self._scope)]

    def refresh(self, *, now: bool) -> None:
        """Read from the store what has changed there, at most every ``REFRESH_AFTER_S`` or ``now``.

        A driver reads nothing: its working folder is ahead of the store.

        Raises:
            StorageError: the store does not answer, or refuses.
        """
        if self._lease is None and (now or time.monotonic() - self._refreshed_at_s >= REFRESH_AFTER_S):
            self.pull()

    def save(self, *, wait: bool) -> None:
        """Write to the store what has changed; without ``wait``, at most every ``SAVE_AFTER_S``."""
        if self._lease is None:
            return
        self._lease.check()
        now_s = time.monotonic()
        if not wait and now_s - self._saved_at_s < SAVE_AFTER_S:
            return
        names = self._local_names()
        changed = [name for name in names if self._index.is_changed(name)]
        if now_s - self._logged_at_s < LOG_AFTER_S:
            changed = [name for name in changed if name != LOG]
        elif LOG in changed:
            self._logged_at_s = now_s
        self._write(sorted(changed, key=stage_of))
        kept = set(names)
        gone = [name for name in self._index.names() if name not in kept and is_written(name, self._scope)]
        self._delete(dict.fromkeys([*gone, *self._to_remove]))
        self._saved_at_s = time.monotonic()

    def inbox_files(self) -> StoredRequests:
        """Return the requests to the driver, which any process may write."""
        return StoredRequests(self.store)

    def show_lease(self) -> None:
        """Write a heartbeat now, if this process holds the sweep."""
        if self._lease is not None:
            with contextlib.suppress(StorageError):  # a store that does not answer: the next heartbeat may succeed
                self._lease.renew()

    def close(self) -> None:
        """Write the last changes, the log included."""
        self._logged_at_s = float("-inf")
        self.save(wait=True)
        if self._removed:  # a worker may have sent the state of a trial after the trial had ended
            self.store.delete(name for name in self.store.list(CHECKPOINTS) if name in self._removed)
        self._index.write()

    def _write(self, names: list[str]) -> None:
        """Write files, one stage after another; what a driver without the lease has written is taken back."""
        assert self._lease is not None
        written: list[str] = []
        try:
            for _, stage in groupby(names, key=stage_of):
                self._lease.confirm()
                written += self._each(self._send, list(stage))
            if any(part_of(Path(name)) for name in written):
                self._lease.confirm()
        except LockLost:
            self.store.delete(name for name in written if part_of(Path(name)))
            raise

    def _send(self, name: str) -> str:
        path = self.folder / name
        # a log may grow while it is sent: its content is read at once
        stored = self.store.write(name, path.read_bytes() if name == LOG else path)
        self._listed[name] = stored
        self._index.add(name, stored)
        return name

    def _delete(self, names: Iterable[str]) -> None:
        names = [name for name in names if name in self._listed or name in self._expected]
        if names:
            self.store.delete(names)
        for name in names:
            self._listed.pop(name, None)
            self._index.forget(name)
        self._to_remove.clear()

    def lease_source(self) -> BucketSource:
        """Return where the lease of the driver is read; the lock of a driver on this machine is beside its folder."""
        return BucketSource(self.store, driver_home(self.store.url))

    def has(self, name: str) -> bool:
        """Return whether the store has an object."""
        if name in self._listed:
            return True
        if self._scope is not Scope.RECORDS and name not in self._expected:
            return False  # the listing was complete
        found = self.store.describe(name)
        if found is not None:
            self._listed[name] = found
        return found is not None

    def fetch(self, name: str) -> Path:
        """Copy an object to the working folder, unless it is there; return the file."""
        path, found = self.folder / name, self.store.describe(name)
        if found is None:
            raise FileNotFoundError(2, "no such object", self.store.url.child(name))
        if not self._index.matches(name, found):
            self._index.add(name, self.store.fetch(name, path))
            self._index.write()
        return path

    def expect(self, name: str) -> None:
        """Receive that a worker may write an object from now on."""
        self._expected.add(name)

    def may_have(self, name: str) -> bool:
        """Return whether the store may have an object, without a request."""
        return name in self._listed or name in self._expected

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects in a folder when the store was read, without a request."""
        return [name for name in self._listed if name.startswith(f"{folder}/")]

    def remove(self, name: str) -> None:
        """Remove an object with the next changes, after everything else was written."""
        self._to_remove[name] = None
        self._removed.add(name)

    def add_requests(self, numbers: Mapping[str, int]) -> None:
        """Count the requests that a worker has sent."""
        self.by_workers += RequestCounts(**numbers)

    def requests(self) -> dict[str, dict[str, int]]:
        """Return the requests of the driver and of the workers since the sweep was opened."""
        return {"driver": self.store.counts.as_record(), "workers": self.by_workers.as_record()}

    def _each(self, function: Callable[[str], T], names: list[str]) -> list[T]:
        if len(names) < 2:
            return [function(name) for name in names]
        with ThreadPoolExecutor(min(THREADS, len(names))) as pool:
            return list(pool.map(function, names))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
