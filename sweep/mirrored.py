"""Sweeps in an object store that this process has opened: the working folder of each, and its address.

A sweep in an object store is read and written in a working folder. This module is a look-up, which every other module
may use. For a sweep in a folder there is nothing to look up, and nothing else is imported.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweep.lease import LeaseSource, ShowStatus
    from sweep.request_files import RequestFiles

_mirrors: dict[Path, Mirrored] = {}


class Mirrored(ABC):
    """A sweep in an object store, with its working folder.

    Attributes:
        folder: the working folder, an absolute path without links.
        url: address of the sweep.
        save_after_s: pause between two writes to the store that nothing waits for.
        write: opens the same sweep for writing; the context yields the working folder of the driver.
    """

    folder: Path
    url: str
    save_after_s: float
    write: Callable[[ShowStatus], AbstractContextManager[Path]]

    @property
    @abstractmethod
    def sweep_key(self) -> str:
        """Text that differs between this sweep and an older one at the same address."""

    @abstractmethod
    def save(self, *, wait: bool) -> None:
        """Write to the store what has changed in the working folder, if it is due or ``wait`` is set.

        Raises:
            LockLost: another process has taken the sweep over.
            StorageError: the store does not answer, or refuses.
        """

    @abstractmethod
    def refresh(self, *, now: bool) -> None:
        """Read from the store what has changed there, if it is due or ``now`` is set."""

    @abstractmethod
    def lease_source(self) -> LeaseSource:
        """Return where the lease of the driver is read."""

    @abstractmethod
    def inbox_files(self) -> RequestFiles:
        """Return the requests to the driver, which any process may write."""

    @abstractmethod
    def show_lease(self) -> None:
        """Write a heartbeat now, if this process holds the sweep: what has changed is seen by other processes."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return whether the store has an object; ``name`` is relative to the sweep."""

    @abstractmethod
    def fetch(self, name: str) -> Path:
        """Copy an object to the working folder, unless it is there; return the file.

        Raises:
            FileNotFoundError: there is no such object.
        """

    @abstractmethod
    def expect(self, name: str) -> None:
        """Receive that a worker may write an object from now on."""

    @abstractmethod
    def may_have(self, name: str) -> bool:
        """Return whether the store may have an object, without a request."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Return the names of the objects in a folder when the store was read, without a request."""

    @abstractmethod
    def add_requests(self, numbers: Mapping[str, int]) -> None:
        """Count the requests that a worker has sent; the names are those of ``RequestCounts``."""

    @abstractmethod
    def requests(self) -> dict[str, dict[str, int]]:
        """Return the requests of the driver and of the workers since the sweep was opened."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove an object with the next changes, after everything else was written."""


def mirror_of(sweep_dir: Path) -> Mirrored | None:
    """Return the store behind a working folder; None for any other folder.

    Examples:
        >>> mirror_of(Path("sweeps/box")) is None
        True
    """
    return _mirrors.get(sweep_dir) if _mirrors else None


def is_any_mirrored() -> bool:
    """Return whether this process has opened a sweep in an object store.

    Examples:
        >>> is_any_mirrored()
        False
    """
    return bool(_mirrors)


def save(sweep_dir: Path, *, wait: bool) -> None:
    """Write what has changed to the store behind a working folder; do nothing for any other folder.

    Examples:
        >>> save(Path("sweeps/box"), wait=True)
    """
    if (mirror := mirror_of(sweep_dir)) is not None:
        mirror.save(wait=wait)


def refresh(sweep_dir: Path, *, now: bool = False) -> None:
    """Read what has changed in the store behind a working folder; do nothing for any other folder.

    Examples:
        >>> refresh(Path("sweeps/box"))
    """
    if (mirror := mirror_of(sweep_dir)) is not None:
        mirror.refresh(now=now)


def fetch(sweep_dir: Path, name: str) -> None:
    """Copy a file of a sweep from the store behind a working folder, if it has one; do nothing for any other folder.

    Examples:
        >>> fetch(Path("sweeps/box"), "sweep.log")
    """
    if (mirror := mirror_of(sweep_dir)) is not None:
        with contextlib.suppress(FileNotFoundError):
            mirror.fetch(name)


def show_lease(sweep_dir: Path) -> None:
    """Write a heartbeat to the store behind a working folder now; do nothing for any other folder.

    Examples:
        >>> show_lease(Path("sweeps/box"))
    """
    if (mirror := mirror_of(sweep_dir)) is not None:
        mirror.show_lease()


def writable(sweep_dir: Path, show_status: ShowStatus = lambda text: nullcontext()) -> AbstractContextManager[Path]:
    """Return a context with the folder in which a sweep is written: another one for a sweep in an object store.

    The context holds the lease of such a sweep. Other folders are returned as they are.

    Examples:
        >>> with writable(Path("sweeps/box")) as folder:
        ...     folder
        PosixPath('sweeps/box')
    """
    mirror = mirror_of(sweep_dir)
    return nullcontext(sweep_dir) if mirror is None else mirror.write(show_status)


def shown(text: str) -> str:
    """Return a text in which the address of a sweep replaces its working folder.

    Examples:
        >>> shown("no sweep in 'sweeps/box'")
        "no sweep in 'sweeps/box'"
    """
    for folder, mirror in list(_mirrors.items()):
        text = text.replace(str(folder), mirror.url)
    return text


def describe_requests(requests: Mapping[str, Mapping[str, int]], *, n_trials: int) -> str:
    """Return the requests of a run in one line.

    Args:
        requests: numbers by name, of the driver and of the workers.
        n_trials: number of trials that the sweep has begun.

    Examples:
        >>> driver = {"n_read": 4, "n_written": 30, "bytes_written": 12_000, "bytes_read": 0}
        >>> describe_requests({"driver": driver, "workers": {"n_written": 6, "bytes_written": 9_000_000}}, n_trials=4)
        'storage: 40 requests (34 of the driver), 9.0 MB written, 0.0 MB read; 10 requests and 2.25 MB per trial'
    """
    n_driver = _sum([requests["driver"]], "n_")
    n_all = _sum(requests.values(), "n_")
    written_mb, read_mb = (_sum(requests.values(), name) / 1e6 for name in ("bytes_written", "bytes_read"))
    per_trial = ""
    if n_trials:
        per_trial = f"; {n_all / n_trials:.0f} requests and {(written_mb + read_mb) / n_trials:.2f} MB per trial"
    return (
        f"storage: {n_all:,} requests ({n_driver:,} of the driver), {written_mb:.1f} MB written, {read_mb:.1f} MB read"
        f"{per_trial}"
    )


def _sum(groups: Iterable[Mapping[str, int]], begin: str) -> int:
    return sum(number for group in groups for name, number in group.items() if name.startswith(begin))


@contextlib.contextmanager
def registered(mirror: Mirrored) -> Iterator[None]:
    """Register a sweep by its working folder; errors of the block name its address."""
    before = _mirrors.get(mirror.folder)
    _mirrors[mirror.folder] = mirror
    try:
        yield
    except Exception as error:
        error.args = tuple(shown(each) if isinstance(each, str) else each for each in error.args)
        raise
    finally:
        if before is None:
            _mirrors.pop(mirror.folder, None)
        else:
            _mirrors[mirror.folder] = before
