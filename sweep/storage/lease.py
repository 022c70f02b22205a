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
from pathlib import Path
from typing import NamedTuple

from sweep import driver
from sweep.driver import DriverObserver
from sweep.lease import (
    Flock,
    Lease,
    LeaseSource,
    encode_lease,
    lease_numbers,
    parse_lease,
    probe_flock,
    process_began,
    read_lease,
    this_boot,
)
from sweep.lock import LockLost, ShowStatus, await_turn, refuse
from sweep.storage.names import LOCK
from trainables.object_store import Conflict, ObjectStore, StorageError

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
        e_tag: e-tag of the content that was read last; "" if there was no object.
    """

    look_s = LOOK_S

    def __init__(self, store: ObjectStore, home: Path) -> None:
        """Read the object of ``store``; ``home`` is what a driver on this machine locks."""
        self.e_tag = ""
        self._store = store
        self._home = home
        self._place = ""

    def read(self) -> tuple[int, bytes]:
        """Return 1 and the lease; 0 without an object. A store that does not answer leaves what was read before."""
        try:
            content, self.e_tag = self._store.read(LOCK)
        except FileNotFoundError:
            self.e_tag, self._place = "", ""
            return 0, b""
        held = parse_held(content)
        self._place = held.place
        return 1, held.lease

    def flock(self) -> Flock:
        """Return whether the holder's process runs, if it uses the working folder of this machine."""
        return probe_flock(self._home) if self._is_here else Flock.UNSUPPORTED

    def flock_as_owner(self) -> Flock:
        """Return the same for a process that has locked the working folder of this machine itself."""
        return Flock.FREE if self._is_here else Flock.UNSUPPORTED

    @property
    def _is_here(self) -> bool:
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

    def __init__(self, store: ObjectStore, folder: Path, home: Path, *, e_tag: str, owner: str) -> None:
        """Begin the heartbeats of a lease that was just written with the e-tag ``e_tag``."""
        self._store = store
        self._folder, self._home = folder, home
        self._owner = owner
        self._e_tag = e_tag
        self._n_beats = 1
        self._started_at = _now()
        self._loss = ""
        self._renewed_at_s = time.monotonic()
        self._renewing = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_end, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, store: ObjectStore, folder: Path, home: Path, *, show_status: ShowStatus) -> BucketLease:
        """Take the lease of a sweep; if its holder may be alive, wait for its next heartbeat first.

        Args:
            store: the store.
            folder: working folder.
            home: folder that this process has locked.
            show_status: returns a context that shows what is waited for.

        Raises:
            UserError: another process holds it.
        """
        source = BucketSource(store, home)
        observer = DriverObserver(folder, source=source)
        await_turn(folder, observer, source.flock_as_owner, show_status)
        owner = uuid.uuid4().hex
        content = _held(owner, folder, home, _now(), 1)
        try:
            if source.e_tag:
                stored = store.write(LOCK, content, if_tag=source.e_tag)
            else:
                stored = store.write(LOCK, content, if_absent=True)
            e_tag = stored.e_tag
        except Conflict:
            e_tag = _own_tag(store, owner)
            if not e_tag:
                observer.look()
                refuse(folder, observer.describe())
        return cls(store, folder, home, e_tag=e_tag, owner=owner)

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
            self._renew()
            self.check()

    def release(self) -> None:
        """End the heartbeats and remove the object, unless the lease is lost."""
        self._ended.set()
        self._thread.join(driver.EXPIRY_S)
        with contextlib.suppress(StorageError, LockLost):
            self._renew()
            self.check()
            self._store.delete([LOCK])

    def _renew_until_end(self) -> None:
        while not self._loss and not self._ended.wait(RENEW_S):
            with contextlib.suppress(StorageError):  # a store that does not answer: the next heartbeat may succeed
                self._renew()

    def _renew(self) -> None:
        with self._renewing:
            if self._loss:
                return
            content = _held(self._owner, self._folder, self._home, self._started_at, self._n_beats + 1)
            began_s = time.monotonic()
            try:
                e_tag = self._store.write(LOCK, content, if_tag=self._e_tag).e_tag
            except Conflict:
                e_tag = _own_tag(self._store, self._owner)  # the answer to an earlier attempt may have been lost
                if not e_tag:
                    self._loss = _describe_loss(self._store, self._folder, self._home)
                    return
            self._e_tag, self._n_beats, self._renewed_at_s = e_tag, self._n_beats + 1, began_s


def _held(owner: str, folder: Path, home: Path, started_at: str, number: int) -> bytes:
    """Return the content of the object at one heartbeat, with what the local lease says about the trials."""
    quiet_s = stall_after_s = None
    with contextlib.suppress(OSError):
        newest = max(lease_numbers(folder), default=0)
        local = parse_lease(read_lease(folder, newest)) if newest else None
        if local is not None and local.process == os.getpid():
            quiet_s, stall_after_s = local.quiet_s, local.stall_after_s
    lease = Lease(
        host=socket.gethostname(),
        process=os.getpid(),
        process_began=process_began(os.getpid()),
        boot=this_boot(),
        started_at=started_at,
        heartbeat_at=_now(),
        heartbeat=number,
        monotonic_s=time.monotonic(),
        quiet_s=quiet_s,
        stall_after_s=stall_after_s,
    )
    return Held(owner, place_of(home), encode_lease(lease)).encode()


def _own_tag(store: ObjectStore, owner: str) -> str:
    """Return the e-tag of the object if this process wrote it; otherwise ""."""
    try:
        content, e_tag = store.read(LOCK)
    except FileNotFoundError:
        return ""
    return e_tag if parse_held(content).owner == owner else ""


def _describe_loss(store: ObjectStore, folder: Path, home: Path) -> str:
    observer = DriverObserver(folder, source=BucketSource(store, home))
    observer.look()
    return (
        f"'{store.url}' was taken over by {observer.describe().describe()} while this process was stopped or cut off; "
        "this process ends and writes nothing more"
    )


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
