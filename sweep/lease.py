"""The lease files of a sweep, ``.lock-N``, and ``flock`` on its file ``.lock``: what they say, without judgement."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from trainables.intact import CHECKSUM, checksum_of

LOCK = ".lock"
"""File that ``flock`` locks; the name of a lease is this name, a hyphen and its number."""

ShowStatus = Callable[[str], AbstractContextManager[object]]
"""Function that returns a context, which shows what the program waits for."""

_BYTES = 2048
_NO_FLOCK = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class Flock(Enum):
    """Result of ``flock``: free (or now ours), held by another process, not supported by the file system."""

    FREE, HELD, UNSUPPORTED = range(3)


@dataclass(frozen=True)
class Lease:
    """Content of a lease: who holds the sweep, and the last heartbeat.

    Attributes:
        host: name of the machine.
        process: process id.
        process_began: start of the process, in ticks since the start of its machine; "" if it is not known.
        boot: what identifies the machine since its last start.
        started_at: when the folder was locked, by the clock of the machine, as ISO 8601.
        heartbeat_at: when this was written, by the clock of the machine: for people.
        heartbeat: number of this heartbeat, from 1.
        monotonic_s: the same time on the monotonic clock, which all processes of the machine share.
        quiet_s: seconds since a trial had reported; None before the trials begin.
        stall_after_s: seconds without a report after which the sweep is stalled; None if there is no pace yet.
        paused: who paused the sweep, and when; "" if it is not paused.
        takes_requests: whether the holder reads the requests in the inbox.
        trials: how many trials run and wait for a worker, and for how many there is room, in words.
    """

    host: str
    process: int
    process_began: str
    boot: str
    started_at: str
    heartbeat_at: str
    heartbeat: int
    monotonic_s: float
    quiet_s: float | None
    stall_after_s: float | None
    paused: str = ""
    takes_requests: bool = False
    trials: str = ""

    @property
    def is_here(self) -> bool:
        """Whether the holder runs, or ran, on this machine since its last start."""
        return self.boot == this_boot()

    @property
    def is_alive(self) -> bool:
        """Whether its process exists on this machine; its id may have been given to another process since."""
        return bool(self.process_began) and process_began(self.process) == self.process_began


class LeaseSource(ABC):
    """Where the lease of a sweep is read: its newest number and content, and the lock of the kernel.

    Attributes:
        look_s: pause between two looks while the next heartbeat is waited for.
        place: folder that tells this lease from those of other sweeps.
    """

    look_s: float
    place: Path

    @abstractmethod
    def read(self) -> tuple[int, bytes]:
        """Return the number of the newest lease, 0 if there is none, and its content."""

    @abstractmethod
    def flock(self) -> Flock:
        """Return whether a process of this machine has the lock of the kernel."""


class FolderSource(LeaseSource):
    """The lease files of a folder."""

    look_s = 0.2

    def __init__(self, sweep_dir: Path) -> None:
        """Read the leases in ``sweep_dir``."""
        self._dir = self.place = sweep_dir

    def read(self) -> tuple[int, bytes]:
        """Return the number of the newest lease, 0 if there is none, and its content."""
        try:
            number = max(lease_numbers(self._dir), default=0)
        except OSError:
            number = 0
        return number, read_lease(self._dir, number) if number else b""

    def flock(self) -> Flock:
        """Return whether a process of this machine has locked ``.lock``."""
        return probe_flock(self._dir)


def create_lease(sweep_dir: Path, number: int) -> None:
    """Create an empty lease: of several processes that try it at once, on any machines, exactly one succeeds.

    Raises:
        FileExistsError: another process has created it.
    """
    os.close(os.open(lease_path(sweep_dir, number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def write_lease(sweep_dir: Path, number: int, lease: Lease) -> None:
    """Write a heartbeat in place: a lease that a successor has removed is not made again, and a full disk has room.

    Raises:
        FileNotFoundError: a successor has removed the lease.
    """
    with lease_path(sweep_dir, number).open("r+b", buffering=0) as file:
        file.write(encode_lease(lease).ljust(_BYTES))


def encode_lease(lease: Lease) -> bytes:
    """Return the bytes of a lease: JSON with its checksum."""
    content = asdict(lease)
    return json.dumps({**content, CHECKSUM: checksum_of(content)}).encode()


def read_lease(sweep_dir: Path, number: int) -> bytes:
    """Return the bytes of a lease; b"" if it has just been removed."""
    try:
        return lease_path(sweep_dir, number).read_bytes()
    except OSError:
        return b""


def parse_lease(content: bytes) -> Lease | None:
    """Return what a lease says; None while it is being written.

    Examples:
        >>> parse_lease(b"") is None
        True
    """
    try:
        values = json.loads(content)
        checksum = values.pop(CHECKSUM)
        return Lease(**values) if checksum == checksum_of(values) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def lease_numbers(sweep_dir: Path) -> list[int]:
    """Return the numbers of the leases in a folder.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    return [number for path in sweep_dir.iterdir() if (number := _number_of(path.name)) is not None]


def read_last_number(sweep_dir: Path) -> int:
    """Return the number of the last lease that was released; 0 if none was."""
    try:
        content = (sweep_dir / LOCK).read_bytes().strip()
    except OSError:
        return 0
    return int(content) if content.isdigit() else 0


def remove_released(sweep_dir: Path, number: int) -> None:
    """Remove a lease that its holder gives up, and keep its number in ``.lock``: no number is used twice."""
    with (sweep_dir / LOCK).open("r+b", buffering=0) as file:
        file.write(f"{number:<20}".encode())
    lease_path(sweep_dir, number).unlink(missing_ok=True)


def lease_path(sweep_dir: Path, number: int) -> Path:
    """Return the file of a lease."""
    return sweep_dir / f"{LOCK}-{number}"


def is_lock_file(path: Path) -> bool:
    """Return whether a file in the folder of a sweep belongs to its lock.

    Examples:
        >>> is_lock_file(Path("box/.lock")), is_lock_file(Path("box/.lock-12")), is_lock_file(Path("box/notes"))
        (True, True, False)
    """
    return path.name == LOCK or _number_of(path.name) is not None


def _number_of(name: str) -> int | None:
    number = name.removeprefix(f"{LOCK}-")
    return int(number) if number != name and number.isascii() and number.isdigit() else None


def try_flock(file: int, *, shared: bool = False) -> Flock:
    """Lock an open file if no other process has locked it."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return Flock.HELD
        if error.errno in _NO_FLOCK:
            return Flock.UNSUPPORTED
        raise
    return Flock.FREE


def probe_flock(sweep_dir: Path) -> Flock:
    """Return whether a process has locked ``.lock``; the file is not made, and may be read-only."""
    try:
        file = os.open(sweep_dir / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return Flock.FREE
    except OSError:
        return Flock.UNSUPPORTED
    try:
        return try_flock(file, shared=True)
    finally:
        os.close(file)


def this_boot() -> str:
    """Return what identifies this machine since its last start: host names may be equal.

    Examples:
        >>> this_boot() == this_boot()
        True
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return socket.gethostname()


def process_began(process: int) -> str:
    """Return when a process of this machine began, in ticks since the start of the machine; "" if there is none.

    Examples:
        >>> process_began(os.getpid()) == process_began(os.getpid()) != ""
        True
        >>> process_began(-1)
        ''
    """
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]  # a zombie has ended
