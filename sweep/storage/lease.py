"""The lease of a sweep in an object store: one object, ``lock``, that exactly one process can write.

The store refuses a conditional write of a process that has not seen the last content. The holder writes the object
again every ``RENEW_S``. Another process may take it over after it has seen no new content for ``EXPIRY_S`` on its own
clock.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sweep import driver
from sweep.driver import DriverObserver
from sweep.lease import (
    Flock,
    Lease,
    LeaseSource,
    ShowStatus,
    encode_lease,
    lease_numbers,
    parse_lease,
    probe_flock,
    process_began,
    read_lease,
    this_boot,
)
from sweep.lock import LockLost, await_turn, refuse
from sweep.storage.names import LOCK
from trainables.object_store import Conflict, ObjectStore, StorageError, StoredObject

RENEW_S = 10.0
"""Pause between two heartbeats."""

CONFIRM_S = 15.0
"""Age of the last heartbeat from which a new one is written before anything else."""

LOOK_S = 2.0
"""Pause between two looks at the object while its next heartbeat is waited for."""


class Held(NamedTuple):
    """Content of the object.

    Attributes:
        owner: text that differs between any two holders.
        place: text that names the working folder of the holder on its machine.
        lease: who holds the sweep, and the last heartbeat, as in a file ``.lock-N``.
    """

    owner: str
    place: str
    lease: bytes

    def encode(self) -> bytes:
        """Return the bytes of the object."""
        return json.dumps({"owner": self.owner, "place": self.place, "lease": self.lease.decode()}).encode()


def parse_held(content: bytes) -> Held:
    """Return the content of the object; an empty one if it was not written by this program.

    Examples:
        >>> parse_held(Held("a", "b", b"{}").encode())
        Held(owner='a', place='b', lease=b'{}')
        >>> parse_held(b"[]").owner
        ''
    """
    try:
        values = json.loads(content)
        return Held(str(values["owner"]), str(values["place"]), str(values["lease"]).encode())
    except (ValueError, KeyError, TypeError):
        return Held("", "", content)


class BucketSource(LeaseSource):
    """The object as an observer of the driver reads it.

    Attributes:
        stored: the object that was read last; None if there was none.
    """

    look_s = LOOK_S

    def __init__(self, store: ObjectStore, home: Path) -> None:
        """Read the object of ``store``; ``home`` is what a driver on this machine locks."""
        self.stored: StoredObject | None = None
        self._store = store
        self._home = self.place = home
        self._place = ""

    def read(self) -> tuple[int, bytes]:
        """Return 1 and the lease; 0 without an object."""
        try:
            content, self.stored = self._store.read(LOCK)
        except FileNotFoundError:
            self.stored, self._place = None, ""
            return 0, b""
        held = parse_held(content)
        self._place = held.place
        return 1, held.lease

    def flock(self) -> Flock:
        """Return whether the holder's process runs, if it uses the working folder of this machine."""
        return probe_flock(self._home) if self.is_here else Flock.UNSUPPORTED

    @property
    def is_here(self) -> bool:
        """Whether the holder uses the working folder of this machine."""
        return bool(self._place) and self._place == place_of(self._home)


def place_of(home: Path) -> str:
    """Return the text that names a folder on a machine: its device, inode and the machine's last start."""
    try:
        status = home.stat()
    except OSError:
        return ""
    return f"{this_boot()}:{status.st_dev}:{status.st_ino}"


class BucketLease:
    """The lease that this process holds on a sweep in an object store."""

    def __init__(self, store: ObjectStore, folder: Path, home: Path, *, stored: StoredObject, owner: str) -> None:
        """Begin the heartbeats of a lease that was just written as ``stored``."""
        self._store = store
        self._folder, self._home = folder, home
        self._owner = owner
        self._stored = stored
        self._n_beats = 1
        self._started_at = _now()
        self._loss = ""
        self._renewed_at_s = time.monotonic()
        self._renewing = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_end, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(
        cls, store: ObjectStore, folder: Path, home: Path, flock: Flock, *, show_status: ShowStatus
    ) -> BucketLease:
        """Take the lease of a sweep; if its holder may be alive, wait for its next heartbeat first.

        Args:
            store: the store.
            folder: working folder.
            home: folder that this process has locked.
            flock: whether the kernel has granted this lock: the file system may not support it.
            show_status: returns a context that shows what is waited for.

        Raises:
            UserError: another process holds it.
        """
        source = BucketSource(store, home)
        observer = DriverObserver(folder, source=source)
        await_turn(folder, observer, lambda: flock if source.is_here else Flock.UNSUPPORTED, show_status)
        owner = uuid.uuid4().hex
        content = _held(owner, folder, home, _now(), 1)
        try:
            stored = store.write(LOCK, content, if_absent=source.stored is None, if_same=source.stored)
        except Conflict:
            own = _own(store, owner)
            if own is None:
                observer.look()
                refuse(folder, observer.describe())
            stored = own
        return cls(store, folder, home, stored=stored, owner=owner)

    def check(self) -> None:
        """Check that the lease is not lost, as far as this process has noticed.

        Raises:
            LockLost: another process has taken the sweep over.
        """
        if self._loss:
            raise LockLost(self._loss)

    def confirm(self) -> None:
        """Check that no other process may have taken the sweep over: write a heartbeat unless the last one is new.

        Raises:
            LockLost: another process has taken the sweep over.
            StorageError: the store does not answer, or refuses.
        """
        self.check()
        if time.monotonic() - self._renewed_at_s >= CONFIRM_S:
            self.renew()
            self.check()

    def release(self) -> None:
        """End the heartbeats and remove the object, unless the lease is lost."""
        self._ended.set()
        self._thread.join(driver.EXPIRY_S)
        with contextlib.suppress(StorageError, LockLost):
            self.renew()
            self.check()
            self._store.delete([LOCK])

    def _renew_until_end(self) -> None:
        while not self._loss and not self._ended.wait(RENEW_S):
            with contextlib.suppress(StorageError):  # a store that does not answer: the next heartbeat may succeed
                self.renew()

    def renew(self) -> None:
        """Write a heartbeat now; the loss of the lease is told by the next check.

        Raises:
            StorageError: the store does not answer, or refuses.
        """
        with self._renewing:
            if self._loss:
                return
            content = _held(self._owner, self._folder, self._home, self._started_at, self._n_beats + 1)
            began_s = time.monotonic()
            try:
                stored = self._store.write(LOCK, content, if_same=self._stored)
            except Conflict:
                own = _own(self._store, self._owner)  # the answer to an earlier attempt may have been lost
                if own is None:
                    self._loss = _describe_loss(self._store, self._folder, self._home)
                    return
                stored = own
            self._stored, self._n_beats, self._renewed_at_s = stored, self._n_beats + 1, began_s


def _held(owner: str, folder: Path, home: Path, started_at: str, number: int) -> bytes:
    """Return the content of the object at one heartbeat, with what the local lease says about the trials."""
    local = None
    with contextlib.suppress(OSError):
        newest = max(lease_numbers(folder), default=0)
        local = parse_lease(read_lease(folder, newest)) if newest else None
    lease = Lease(
        host=socket.gethostname(),
        process=os.getpid(),
        process_began=process_began(os.getpid()),
        boot=this_boot(),
        started_at=started_at,
        heartbeat_at=_now(),
        heartbeat=number,
        monotonic_s=time.monotonic(),
        quiet_s=None,
        stall_after_s=None,
    )
    if local is not None and local.process == lease.process:
        lease = replace(
            lease,
            quiet_s=local.quiet_s,
            stall_after_s=local.stall_after_s,
            paused=local.paused,
            takes_requests=local.takes_requests,
        )
    return Held(owner, place_of(home), encode_lease(lease)).encode()


def _own(store: ObjectStore, owner: str) -> StoredObject | None:
    """Return the object if this process wrote it; otherwise None."""
    try:
        content, stored = store.read(LOCK)
    except FileNotFoundError:
        return None
    return stored if parse_held(content).owner == owner else None


def _describe_loss(store: ObjectStore, folder: Path, home: Path) -> str:
    observer = DriverObserver(folder, source=BucketSource(store, home))
    observer.look()
    return (
        f"'{store.url}' was taken over by {observer.describe().describe()} while this process was stopped or cut off; "
        "this process ends and writes nothing more"
    )


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
