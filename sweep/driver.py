"""The driver of a sweep, the process that writes its records, seen by other processes; nothing is written."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sweep.formats import format_duration
from sweep.lease import Flock, FolderSource, Lease, LeaseSource, parse_lease
from sweep.mirrored import mirror_of

HEARTBEAT_S = 5.0
"""Pause between two heartbeats of a driver."""

EXPIRY_S = 30.0
"""Time without a new heartbeat after which a lease may be taken over."""

_expired: dict[Path, tuple[int, bytes]] = {}  # leases that this process has seen expire: it need not wait once more


@dataclass(frozen=True)
class Driver:
    """The process that has locked a sweep.

    Attributes:
        host: name of its machine; None for a driver of an older version, which wrote no lease.
        process: its process id; None if it is not known.
        started_at: when it locked the folder, by the clock of its machine, as ISO 8601; None if it is not known.
        heartbeat_age_s: seconds since its last heartbeat; None if it is not known.
        quiet_s: seconds since a trial had reported; None before the trials begin.
        stall_after_s: seconds without a report after which the sweep is stalled; None if there is no pace yet.
        paused: who paused the sweep, and when; "" if it is not paused.
        takes_requests: whether it reads the requests in the inbox: an older version does not, nor does ``evaluate``.
        trials: how many trials run and wait for a worker, and for how many there is room, in words; "" if not known.
    """

    host: str | None = None
    process: int | None = None
    started_at: str | None = None
    heartbeat_age_s: float | None = None
    quiet_s: float | None = None
    stall_after_s: float | None = None
    paused: str = ""
    takes_requests: bool = False
    trials: str = ""

    @property
    def is_stopped(self) -> bool:
        """Whether the process has the lock, but writes no heartbeats."""
        return self.heartbeat_age_s is not None and self.heartbeat_age_s >= EXPIRY_S

    @property
    def stalled(self) -> str:
        """Why the sweep does not proceed although its driver has the lock; "" if it does.

        Examples:
            >>> Driver("node-a", 4711, heartbeat_age_s=1.0, quiet_s=300.0, stall_after_s=120.0).stalled
            'no epoch has ended for 5 min 0 s, expected one within 2 min 0 s'
        """
        if self.is_stopped:
            return f"the driver has written no heartbeat for {format_duration(self.heartbeat_age_s or 0.0)}"
        if self.paused or self.quiet_s is None or self.stall_after_s is None:
            return ""
        if self.quiet_s >= self.stall_after_s:
            quiet, allowed = format_duration(self.quiet_s), format_duration(self.stall_after_s)
            return f"no epoch has ended for {quiet}, expected one within {allowed}"
        return ""

    @property
    def advice(self) -> str:
        """What to do about a process of this machine that is stopped; "" for all others."""
        if not self.is_stopped or self.host != socket.gethostname():
            return ""
        return f"continue it with: kill -CONT {self.process}; or end it with: kill -KILL {self.process}"

    def describe(self) -> str:
        """Return which process it is, since when, and how old its last heartbeat is.

        Examples:
            >>> Driver("node-a", 4711, "2026-11-28T07:30:00+00:00", 2.0).describe()
            'process 4711 on node-a since 2026-11-28 07:30:00+00:00, last heartbeat 2 s ago'
            >>> Driver().describe()
            'another cutmix-sweep'
        """
        if self.host is None:
            return "another cutmix-sweep"
        since = f" since {self.started_at.replace('T', ' ')}" if self.started_at else ""
        age_s = self.heartbeat_age_s
        heartbeat = "" if age_s is None else f", last heartbeat {format_duration(age_s)} ago"
        return f"process {self.process} on {self.host}{since}{heartbeat}"


class Presence(Enum):
    """Whether a sweep has a driver: yes, no, or not known before its next heartbeat is due."""

    ALIVE, GONE, UNCLEAR = range(3)


class DriverObserver:
    """Observer of the driver of a sweep, from any process and any machine.

    A driver on this machine is judged at once: the kernel knows its lock, and the monotonic clock is shared. A driver
    elsewhere is alive if its heartbeat changes while it is observed; the clocks of two machines are never compared.

    Attributes:
        number: number of the newest lease; 0 if there is none.

    Examples:
        >>> import tempfile
        >>> DriverObserver(Path(tempfile.mkdtemp())).find() is None
        True
    """

    def __init__(
        self, sweep_dir: Path, *, source: LeaseSource | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Observe the driver of ``sweep_dir``; None: the lease is in the folder, or in the store behind it."""
        if source is None:
            mirror = mirror_of(sweep_dir)
            source = FolderSource(sweep_dir) if mirror is None else mirror.lease_source()
        self.number = 0
        self._source = source
        self._clock = clock
        self._content = b""
        self._lease: Lease | None = None
        self._has_changed = False
        self._changed_at_s = clock()

    def find(self) -> Driver | None:
        """Return the driver; None if there is none. One on another machine is waited for up to ``EXPIRY_S``."""
        while (presence := self.look()) is Presence.UNCLEAR:
            time.sleep(self.look_s)
        return None if presence is Presence.GONE else self.describe()

    def glance(self) -> Driver | None:
        """Return the driver without waiting: one on another machine counts as alive until its lease has expired."""
        return None if self.look() is Presence.GONE else self.describe()

    def look(self) -> Presence:
        """Read the lease and ``flock`` once more, and return what is known now."""
        self._read()
        flock = self._source.flock()
        if self._is_over(flock):
            return Presence.GONE
        if flock is Flock.HELD:
            is_known = self._lease is None or self._lease.is_here
            return Presence.ALIVE if is_known else self._observed(after_expiry=Presence.ALIVE)
        if self._lease is not None and self._lease.is_here:
            return Presence.ALIVE if self._age_s() < EXPIRY_S else Presence.GONE
        return self._observed(after_expiry=Presence.GONE)

    @property
    def look_s(self) -> float:
        """Pause between two looks while the next heartbeat is waited for."""
        return self._source.look_s

    def look_as_successor(self, flock: Callable[[], Flock]) -> Presence:
        """Return whether the lease may be taken over: what it says about its age is not enough for that.

        Args:
            flock: returns the result of this process's own attempt to get the lock of the kernel.
        """
        self._read()
        if self._is_over(flock()):
            return Presence.GONE
        return self._observed(after_expiry=Presence.GONE)

    def describe(self) -> Driver:
        """Return what the lease says about the driver."""
        lease = self._lease
        if lease is None:
            return Driver()
        age_s = self._age_s()
        quiet_s = None if lease.quiet_s is None else lease.quiet_s + age_s
        return Driver(
            lease.host,
            lease.process,
            lease.started_at,
            age_s,
            quiet_s,
            lease.stall_after_s,
            lease.paused,
            lease.takes_requests,
            lease.trials,
        )

    def _is_over(self, flock: Flock) -> bool:
        """Return whether no process can have the lease."""
        if flock is not Flock.HELD and not self.number:
            return True
        # the kernel gave the lock up; a living process may still be there if somebody has deleted `.lock`
        lease = self._lease
        return flock is Flock.FREE and lease is not None and lease.is_here and not lease.is_alive

    def _observed(self, *, after_expiry: Presence) -> Presence:
        seen = self.number, self._content
        if self._clock() - self._changed_at_s >= EXPIRY_S:
            _expired[self._source.place] = seen
        if _expired.get(self._source.place) == seen:
            return after_expiry
        return Presence.ALIVE if self._has_changed else Presence.UNCLEAR

    def _age_s(self) -> float:
        if self._lease is not None and self._lease.is_here:
            return max(0.0, self._clock() - self._lease.monotonic_s)
        return self._clock() - self._changed_at_s

    def _read(self) -> None:
        number, content = self._source.read()
        if (number, content) == (self.number, self._content):
            return
        self._has_changed = bool(self.number)
        self._changed_at_s = self._clock()
        lease = parse_lease(content)
        if lease is not None or number != self.number:  # otherwise it is being written
            self._lease = lease
        self.number, self._content = number, content


def find_driver(sweep_dir: Path) -> Driver | None:
    """Return the process that has locked a sweep, None if there is none; no lock file is made for that.

    Examples:
        >>> import tempfile
        >>> find_driver(Path(tempfile.mkdtemp())) is None
        True
    """
    return DriverObserver(sweep_dir).find()
