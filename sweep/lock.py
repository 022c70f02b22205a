"""The lock of a sweep's folder: one process writes the records, and can tell when it no longer may.

Two locks are held together. ``flock`` on the file ``.lock`` ends with its process, but some file systems lack it or do
not pass it on to other machines. The lease ``.lock-N`` works everywhere: whoever creates the file with the next number
holds the sweep, and writes a heartbeat into it every few seconds. A lease may be taken over after another process has
seen no new heartbeat for ``EXPIRY_S`` on its own clock. A number is used once, and
``.lock`` keeps the last one: a driver that was stopped for long finds a higher number, and writes nothing more.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

from sweep import driver
from sweep.driver import Driver, DriverObserver, Presence
from sweep.endings import REFUSED_CODE, EndedEarly
from sweep.lease import (
    LOCK,
    Flock,
    FolderSource,
    Lease,
    ShowStatus,
    create_lease,
    lease_numbers,
    lease_path,
    parse_lease,
    process_began,
    read_last_number,
    read_lease,
    remove_released,
    this_boot,
    try_flock,
    write_lease,
)
from sweep.mirrored import show_lease
from trainables.errors import UserError

CHECK_S = 1.0
"""Longest time between a check that the lease is still held and a write of the records."""

FLOCK_PATIENCE_S = 0.5
"""Time that a driver waits for ``flock``: a reader holds it for an instant."""

MAX_PAUSED = 100
"""Characters of a lease that tell who paused the sweep: the content of a lease has a fixed size."""


class LockLost(EndedEarly):
    """Another process has taken the sweep over, or its folder is gone: this process must not write any more."""

    exit_code = REFUSED_CODE


class Lock:
    """The lock that this process holds on a sweep.

    Attributes:
        news_at_s: time of the last report of a trial, on the monotonic clock; None before the trials begin.
        stall_after_s: time without a report after which the sweep is stalled; None if there is no pace yet.
        paused: who paused the sweep, and when; "" if it is not paused.
        takes_requests: whether this process reads the requests in the inbox.
        trials: how many trials run and wait for a worker, and for how many there is room, in words.
    """

    def __init__(self, sweep_dir: Path, number: int) -> None:
        """Write heartbeats into the lease ``number`` of ``sweep_dir``, which this process has created."""
        self.news_at_s: float | None = None
        self.stall_after_s: float | None = None
        self.paused = ""
        self.takes_requests = False
        self.trials = ""
        self._beats = threading.Lock()
        self._dir = sweep_dir
        self._number = number
        self._started_at = _now()
        self._n_beats = 0
        self._loss = ""
        self._ended = threading.Event()
        self._checked_at_s = time.monotonic()
        self._beat()
        self._thread = threading.Thread(target=self._beat_until_end, name="heartbeat", daemon=True)
        self._thread.start()

    @property
    def is_lost(self) -> bool:
        """Whether this process has noticed that it no longer holds the lock."""
        return bool(self._loss)

    def check(self) -> None:
        """Check that this process still holds the lock; after ``CHECK_S`` the folder is read again.

        Raises:
            LockLost: another process has taken the sweep over, or the folder is gone.
        """
        now_s = time.monotonic()
        if not self._loss and now_s - self._checked_at_s >= CHECK_S:
            self._look_for_loss()
            self._checked_at_s = now_s
        if self._loss:
            raise LockLost(self._loss)

    def release(self) -> None:
        """End the heartbeats and remove the lease, unless it is lost."""
        self._ended.set()
        self._thread.join(driver.HEARTBEAT_S)
        self._look_for_loss()
        if not self._loss:
            with contextlib.suppress(OSError):
                remove_released(self._dir, self._number)

    def show(self) -> None:
        """Write a heartbeat now: what has changed is seen by other processes."""
        with contextlib.suppress(OSError):
            self._beat()
        show_lease(self._dir)

    def _beat_until_end(self) -> None:
        while not self._loss and not self._ended.wait(driver.HEARTBEAT_S):
            self._look_for_loss()
            with contextlib.suppress(OSError):  # a slow server: the next heartbeat may succeed
                self._beat()

    def _beat(self) -> None:
        with self._beats:
            self._write_beat()

    def _write_beat(self) -> None:
        self._n_beats += 1
        now_s = time.monotonic()
        lease = Lease(
            host=socket.gethostname(),
            process=os.getpid(),
            process_began=process_began(os.getpid()),
            boot=this_boot(),
            started_at=self._started_at,
            heartbeat_at=_now(),
            heartbeat=self._n_beats,
            monotonic_s=now_s,
            quiet_s=None if self.news_at_s is None else now_s - self.news_at_s,
            stall_after_s=self.stall_after_s,
            paused=self.paused[:MAX_PAUSED],
            takes_requests=self.takes_requests,
            trials=self.trials,
        )
        write_lease(self._dir, self._number, lease)

    def _look_for_loss(self) -> None:
        try:
            newest = max(lease_numbers(self._dir), default=0)
        except FileNotFoundError:
            self._loss = (
                f"the folder '{self._dir}' was moved or deleted while it was in use, and nothing more is written: "
                "restore it, then resume"
            )
            return
        except OSError:
            return  # a server that does not answer: the write itself shows the error
        if max(newest, read_last_number(self._dir)) > self._number:
            lease = parse_lease(read_lease(self._dir, newest))
            successor = Driver(lease.host, lease.process) if lease else Driver()
            self._loss = (
                f"'{self._dir}' was taken over by {successor.describe()} while this process was stopped or cut off; "
                "this process ends and writes nothing more"
            )
        elif newest < self._number:
            path = lease_path(self._dir, self._number)
            self._loss = f"the lock '{path}' was deleted while it was in use, and nothing more is written: resume"


_held: dict[Path, Lock] = {}  # a process has at most one lock per folder


@contextlib.contextmanager
def locked(sweep_dir: Path, *, show_status: ShowStatus = lambda text: nullcontext()) -> Iterator[Lock]:
    """Lock the folder of a sweep: only one process may write its records.

    If a process on another machine has not released the lock, its next heartbeat is waited for first.

    Args:
        sweep_dir: folder of the sweep.
        show_status: returns a context that shows what is waited for.

    Raises:
        UserError: another process has locked it.
    """
    with flocked(sweep_dir) as flock:
        observer = DriverObserver(sweep_dir, source=FolderSource(sweep_dir))
        await_turn(sweep_dir, observer, lambda: flock, show_status)
        lock, place = _take(sweep_dir, max(observer.number, read_last_number(sweep_dir)) + 1), sweep_dir.resolve()
        _held[place] = lock
        try:
            yield lock
        finally:
            del _held[place]
            lock.release()


def await_turn(sweep_dir: Path, observer: DriverObserver, flock: Callable[[], Flock], show_status: ShowStatus) -> None:
    """Return when no process holds the lease of a sweep; wait for a heartbeat of a holder that may be alive.

    Args:
        sweep_dir: folder of the sweep.
        observer: observer of the lease.
        flock: returns whether this process has the lock of the kernel, after each look at the lease.
        show_status: returns a context that shows what is waited for.

    Raises:
        UserError: another process holds the lease.
    """
    presence = observer.look_as_successor(flock)
    if flock() is Flock.HELD:
        refuse(sweep_dir, observer.describe())
    if presence is Presence.UNCLEAR:
        holder = observer.describe().describe()
        with show_status(f"waiting up to {driver.EXPIRY_S:.0f} s for a heartbeat of {holder}"):
            while (presence := observer.look_as_successor(flock)) is Presence.UNCLEAR:
                time.sleep(observer.look_s)
    if presence is Presence.ALIVE:
        refuse(sweep_dir, observer.describe())


def check_held(sweep_dir: Path) -> None:
    """Check, before a write, that this process has not lost the lock of a sweep; without a lock do nothing.

    Raises:
        LockLost: another process has taken the sweep over, or its folder is gone.

    Examples:
        >>> check_held(Path("box"))
    """
    if _held and (lock := _held.get(sweep_dir.resolve())) is not None:
        lock.check()


def is_lost(sweep_dir: Path) -> bool:
    """Return whether this process has noticed that it lost the lock of a sweep.

    Examples:
        >>> is_lost(Path("box"))
        False
    """
    lock = _held.get(sweep_dir.resolve()) if _held else None
    return lock is not None and lock.is_lost


def _take(sweep_dir: Path, number: int) -> Lock:
    """Create the lease with this number, of which exactly one process is capable, and remove the older ones.

    Raises:
        UserError: another process was faster.
    """
    try:
        create_lease(sweep_dir, number)
    except FileExistsError:
        refuse(sweep_dir, DriverObserver(sweep_dir).glance() or Driver())
    if max(lease_numbers(sweep_dir)) != number:  # meanwhile others have taken it over, and removed this number again
        lease_path(sweep_dir, number).unlink(missing_ok=True)
        refuse(sweep_dir, DriverObserver(sweep_dir).glance() or Driver())
    lock = Lock(sweep_dir, number)
    for old in lease_numbers(sweep_dir):
        if old < number:
            with contextlib.suppress(OSError):
                lease_path(sweep_dir, old).unlink()
    return lock


def refuse(sweep_dir: Path, holder: Driver) -> NoReturn:
    """Refuse to lock a sweep that another process holds.

    Raises:
        UserError: names the process, and what to do.
    """
    watch = shlex.join(["cutmix-sweep", "status", str(sweep_dir), "--follow"])
    advice = f"wait until it ends, interrupt it there, or watch it with: {watch}"
    if holder.paused:
        again = shlex.join(["cutmix-sweep", "resume", str(sweep_dir)])
        advice = f"it is paused {holder.paused}; continue it without options: {again}"
    raise UserError(f"'{sweep_dir}' is in use by {holder.describe()}: {holder.advice or advice}")


@contextlib.contextmanager
def flocked(sweep_dir: Path) -> Iterator[Flock]:
    """Lock ``.lock`` where the file system can do it; the value says whether it is ours now.

    Raises:
        UserError: the file is a link.
    """
    try:
        file = os.open(sweep_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError(f"'{sweep_dir / LOCK}' is a link: remove it, because it would be written through") from None
    try:
        deadline_s = time.monotonic() + FLOCK_PATIENCE_S
        while (result := try_flock(file)) is Flock.HELD and time.monotonic() < deadline_s:
            time.sleep(0.02)
        yield result
    finally:
        os.close(file)  # which also unlocks it


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
