"""One function that opens whatever a user names as the place of a sweep."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import UserError
from trainables.storage_url import StorageUrl, is_url, parse_url

if TYPE_CHECKING:
    from sweep.lease import ShowStatus
    from sweep.storage.mirror import Mirror

RELEASE_PATIENCE_S = 5.0
"""Time for which the release of a lease is repeated: without it, another process waits until the lease expires."""

Place = Path | StorageUrl
"""Where a sweep is: a folder, or an address of an object store."""


@dataclass(frozen=True)
class Opened:
    """A sweep that is open.

    Attributes:
        path: folder in which the sweep is read and written.
        place: what the user named: the same folder, or the address.
    """

    path: Path
    place: Place


def place_of(text: object) -> Place:
    """Return the place that a text names: a path stays a path.

    Raises:
        UserError: it is an address that is not valid.

    Examples:
        >>> place_of("sweeps/box"), str(place_of("s3://photos/sweeps/box/"))
        (PosixPath('sweeps/box'), 's3://photos/sweeps/box')
    """
    return parse_url(text) if is_url(text) else Path(str(text))


@contextlib.contextmanager
def opened(
    place: object,
    *,
    write: bool = False,
    new: bool = False,
    whole: bool = False,
    read_now: bool = True,
    show_status: ShowStatus = lambda text: nullcontext(),
) -> Iterator[Opened]:
    """Open the sweep at a place; the folder of a sweep in an object store is a copy below the cache folder.

    A path is passed on as it is. The copy of an address is made equal to the store first. With ``write``, the lease of
    the sweep is held until the block ends, and changes are written to the store while the sweep runs and at the end.

    Args:
        place: a path, or an address such as ``s3://bucket/sweeps/box``.
        write: whether the sweep is written.
        new: whether it must be a new sweep; needs ``write``.
        whole: whether models, checkpoints and everything else are needed too; otherwise models are read on demand.
        read_now: whether the records are read at once; otherwise by ``mirrored.refresh``, if they are needed.
        show_status: returns a context that shows what the program waits for.

    Raises:
        UserError: the address is not valid, the store cannot be used, the sweep is in use, or it exists although it
            must be new.
        StorageError: the store does not answer any more while the sweep is written.
        LockLost: another process has taken the sweep over.

    Examples:
        >>> with opened("sweeps/box") as sweep:
        ...     sweep.path
        PosixPath('sweeps/box')
    """
    try:
        url = place if isinstance(place, StorageUrl) else place_of(place)
    except UserError as error:
        raise UserError(f"--out {error}" if new else str(error)) from None
    if isinstance(url, Path):
        yield Opened(url, url)
        return
    if write:
        context = _writing(url, show_status, new=new, whole=whole)
    else:
        context = _reading(url, show_status, whole=whole, read_now=read_now)
    with context as path:
        yield Opened(path, url)


_copies: dict[str, Path] = {}
_open = contextlib.ExitStack()


def local_folder(place: object) -> Path:
    """Return a folder with the records of a sweep at any place; the copy of an address is kept while the process runs.

    Raises:
        UserError: the address is not valid, or the store cannot be used.

    Examples:
        >>> local_folder("sweeps/box")
        PosixPath('sweeps/box')
    """
    from sweep.mirrored import refresh

    url = place_of(place)
    if isinstance(url, Path):
        return url
    if str(url) not in _copies:
        _copies[str(url)] = _open.enter_context(opened(url)).path
    refresh(_copies[str(url)])
    return _copies[str(url)]


@contextlib.contextmanager
def _reading(url: StorageUrl, show_status: ShowStatus, *, whole: bool, read_now: bool) -> Iterator[Path]:
    from sweep.mirrored import registered
    from sweep.storage.mirror import Mirror
    from sweep.storage.names import Scope
    from sweep.storage.places import working_folder
    from trainables.object_store import READER_PATIENCE_S, ObjectStore

    folder = working_folder(url, write=False, whole=whole)
    store = ObjectStore(url, patience_s=READER_PATIENCE_S)
    mirror = Mirror(store, folder, Scope.ALL if whole else Scope.RECORDS)
    mirror.write = partial(_writing, url, new=False, whole=False)
    with registered(mirror):
        if read_now:
            with _as_user_error(), show_status(f"reading {url}"):
                mirror.pull()
        yield folder


@contextlib.contextmanager
def _writing(url: StorageUrl, show_status: ShowStatus, *, new: bool, whole: bool) -> Iterator[Path]:
    from sweep.driver import Driver, DriverObserver
    from sweep.lease import Flock
    from sweep.lock import LockLost, flocked, refuse
    from sweep.mirrored import registered
    from sweep.storage.mirror import Mirror
    from sweep.storage.names import Scope
    from sweep.storage.places import driver_home, working_folder
    from trainables.object_store import PATIENCE_S, READER_PATIENCE_S, ObjectStore, StorageError

    home = driver_home(url)
    home.mkdir(parents=True, exist_ok=True)
    # nothing is lost yet: a wrong address is said soon
    store = ObjectStore(url, patience_s=READER_PATIENCE_S)
    mirror = Mirror(store, working_folder(url, write=True, whole=whole), Scope.ALL if whole else Scope.DRIVER)
    with registered(mirror), flocked(home) as flock:
        if flock is Flock.HELD:
            refuse(mirror.folder, DriverObserver(mirror.folder).glance() or Driver())
        with _as_user_error(), show_status(f"reading {url}"):
            mirror.take_lease(flock, show_status)
        try:
            with _as_user_error(), show_status(f"reading {url}"):
                if new:
                    _check_new(mirror)
                    shutil.rmtree(mirror.folder, ignore_errors=True)
                mirror.pull()
            store.patience_s = PATIENCE_S
            yield mirror.folder
            mirror.close()
        except (LockLost, StorageError):
            raise
        except Exception:
            store.patience_s = RELEASE_PATIENCE_S  # the rows were written before; what is left is the log
            with contextlib.suppress(LockLost, StorageError):
                mirror.close()
            raise
        finally:
            store.patience_s = RELEASE_PATIENCE_S
            mirror.release_lease()


def _check_new(mirror: Mirror) -> None:
    """Check that the store has no sweep below the address, and nothing else.

    Raises:
        UserError: it has.
    """
    from sweep.endings import resume_command
    from sweep.records.beginning import precedes_manifest
    from sweep.records.schema import MANIFEST, RECORDS
    from sweep.storage.names import LOCK

    names = [name for name in mirror.store.list() if name != LOCK]
    if MANIFEST in names or f"{RECORDS}/{MANIFEST}" in names:
        command = resume_command(mirror.folder)
        raise UserError(f"--out '{mirror.url}' already contains a sweep: resume it with: {command}")
    if not all(precedes_manifest(mirror.folder / name, mirror.folder) for name in names):
        raise UserError(f"--out '{mirror.url}' is not empty: choose a new folder")


@contextlib.contextmanager
def _as_user_error() -> Iterator[None]:
    """Turn an error of the store into a message, before anything is done."""
    from trainables.object_store import StorageError

    try:
        yield
    except StorageError as error:
        raise UserError(error.describe()) from None
