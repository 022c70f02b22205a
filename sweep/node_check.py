"""What a node must have before it gets trials: the folder of the sweep, equal versions, a GPU, the images.

These functions know no Ray: :mod:`sweep.node_checker` runs them on each node, and judges the answers on the driver.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from sweep.endings import reason_of
from sweep.mps import Mps
from sweep.records.beginning import SIGN
from sweep.workers import PACKAGES
from trainables.data.config import Data
from trainables.data.places import images_at, parse_places
from trainables.errors import UserError
from trainables.object_store import READER_PATIENCE_S, ObjectStore
from trainables.storage_url import StorageUrl
from trainables.whole_file import write_whole

COMPARED = ("cutmix-sweep", "torch", "ray")
"""Packages that need the same version on all nodes, beside Python and the code of this program."""

_LOOKS, _PAUSE_S = 6, 0.5
"""Looks for a file of another machine: on NFS it may be seen a moment later."""

_COUNT_GPUS = "import torch; print(torch.cuda.device_count())"


class Storage(Protocol):
    """Folder of a sweep, seen from the driver and from a node; it is sent to the nodes."""

    def describe(self) -> str:
        """Return the place as a user writes it."""

    def write(self, name: str, text: str) -> None:
        """Write a small file directly in the folder, which must exist."""

    def read(self, name: str) -> str:
        """Return the content of such a file."""

    def remove(self, prefix: str) -> None:
        """Remove all such files whose names begin with ``prefix``."""


@dataclass(frozen=True)
class FolderStorage:
    """A folder that is at the same path on all machines.

    Attributes:
        folder: its absolute path.
    """

    folder: str

    def describe(self) -> str:
        """Return the path in quotes."""
        return f"'{self.folder}'"

    def write(self, name: str, text: str) -> None:
        """Write a file; the folder itself is not made."""
        os.stat(self.folder)  # noqa: PTH116 (the error names the folder, not the file)
        write_whole(Path(self.folder) / name, text, parents=False)

    def read(self, name: str) -> str:
        """Return the content of a file."""
        return (Path(self.folder) / name).read_text(encoding="utf-8")

    def remove(self, prefix: str) -> None:
        """Remove all files whose names begin with ``prefix``."""
        for path in Path(self.folder).glob(f"{prefix}*"):
            with contextlib.suppress(OSError):
                path.unlink()


@dataclass(frozen=True)
class UrlStorage:
    """A sweep in an object store.

    Attributes:
        url: its address.
    """

    url: StorageUrl

    def describe(self) -> str:
        """Return the address in quotes."""
        return f"'{self.url}'"

    def write(self, name: str, text: str) -> None:
        """Write an object."""
        self._store().write(name, text.encode())

    def read(self, name: str) -> str:
        """Return the content of an object."""
        return self._store().read(name)[0].decode()

    def remove(self, prefix: str) -> None:
        """Remove all objects whose names begin with ``prefix``."""
        store = self._store()
        store.delete(name for name in store.list_top() if name.startswith(prefix))

    def _store(self) -> ObjectStore:
        return ObjectStore(self.url, patience_s=READER_PATIENCE_S)


@dataclass(frozen=True)
class Request:
    """What a node is asked for.

    Attributes:
        nonce: random text, the content of the file that the driver has written.
        storage: folder of the sweep.
        versions: versions of the driver.
        needs_gpu: whether trials need a GPU.
        data: configurations of the images as JSON.
        places: where the images lie, from ``format_places``.
        reads_test: whether test images are read.
        mps: daemon that trials which share a GPU use; it is started. None: they use none.
    """

    nonce: str
    storage: Storage
    versions: Mapping[str, str]
    needs_gpu: bool = False
    data: Sequence[str] = ()
    places: str = "{}"
    reads_test: bool = False
    mps: Mps | None = None


@dataclass(frozen=True)
class Answer:
    """What a node has found.

    Attributes:
        node: its host name.
        storage: why it cannot use the folder of the sweep; "" if it can.
        versions: its versions; "" for a package that is not installed.
        gpus: number of GPUs that torch can use; None if no trial needs one.
        seconds: duration of the check.
        mps: why the daemon of MPS does not run; "" if it does, or none is needed.
    """

    node: str
    storage: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    gpus: int | None = None
    seconds: float = 0.0
    mps: str = ""


def versions_here() -> dict[str, str]:
    """Return the versions of what must be equal on all nodes, and a checksum of the code of this program.

    Examples:
        >>> sorted(versions_here())
        ['Python', 'code of cutmix-sweep', 'cutmix-sweep', 'ray', 'torch']
    """
    versions = {"Python": platform.python_version(), "code of cutmix-sweep": _code_checksum()}
    for name in COMPARED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = ""
    return versions


def _code_checksum() -> str:
    """Return a checksum of the Python files of this program as this process imports them."""
    checksum = hashlib.sha256()
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in sorted(spec.submodule_search_locations or () if spec else ()):
            for path in sorted(Path(folder).rglob("*.py")):
                checksum.update(f"{package}/{path.relative_to(folder)}\0".encode())
                checksum.update(path.read_bytes())
    return checksum.hexdigest()[:12]


def look_around(request: Request, node_id: str) -> Answer:
    """Check this node, in seconds: everything but the images."""
    started_s = time.monotonic()
    storage = _try_storage(request, node_id)
    gpus = _count_gpus() if request.needs_gpu else None
    mps = request.mps.start() if request.mps is not None else ""
    return Answer(socket.gethostname(), storage, versions_here(), gpus, time.monotonic() - started_s, mps)


def end_mps(request: Request) -> None:
    """End the daemon of MPS on this node, unless other programs use it."""
    if request.mps is not None:
        request.mps.stop()


def _try_storage(request: Request, node_id: str) -> str:
    """Read what the driver wrote, and write what the driver will read; return why that fails, "" if it does not."""
    storage = request.storage
    try:
        seen = _patiently(lambda: storage.read(f"{SIGN}{request.nonce}"))
    except (OSError, UnicodeError) as error:
        return (
            f"it does not see {storage.describe()} ({_strerror(error)}): the folder of the sweep must be at the same "
            "place on every node"
        )
    if seen != request.nonce:
        return f"its {storage.describe()} is another folder than the driver's"
    try:
        storage.write(f"{SIGN}{request.nonce}-{node_id}", node_id)
    except OSError as error:
        return f"it cannot write to {storage.describe()} ({_strerror(error)})"
    return ""


def _strerror(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or reason_of(error)


def _patiently(read: Callable[[], str]) -> str:
    for look in range(_LOOKS):
        try:
            return read()
        except FileNotFoundError:
            if look == _LOOKS - 1:
                raise
            time.sleep(_PAUSE_S)
    raise AssertionError


def _count_gpus() -> int:
    """Return the number of GPUs that torch can use, in a process of its own: Ray hides them from a task without one."""
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    command = [sys.executable, "-c", _COUNT_GPUS]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)
        return int(done.stdout.strip() or 0)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0


def judge(request: Request, answer: Answer, node_id: str) -> str:
    """Return why a node cannot run trials, "" if it can; the driver reads what the node has written.

    Examples:
        >>> request = Request("77", FolderStorage("/sweeps/box"), {"torch": "2.14.1"})
        >>> answer = Answer("a100-1", versions={"torch": "2.10.0"}, storage="it does not see '/sweeps/box'")
        >>> judge(request, answer, "5f")
        "it does not see '/sweeps/box'; torch is 2.10.0 there and 2.14.1 here"
    """
    reasons = [answer.storage or _read_back(request, node_id)]
    differing = {
        name: (answer.versions.get(name, ""), here)
        for name, here in request.versions.items()
        if answer.versions.get(name, "") != here
    }
    if len(differing) > 1:  # it says no more than the version
        differing.pop("code of cutmix-sweep", None)
    reasons += [
        f"{name} is {f'{there} there and {here} here' if there else 'not installed there'}"
        for name, (there, here) in differing.items()
    ]
    if request.needs_gpu and not answer.gpus:
        reasons.append("torch finds no GPU there")
    if request.mps is not None and request.mps.is_required and answer.mps:
        reasons.append(answer.mps)
    return "; ".join(filter(None, reasons))


def _read_back(request: Request, node_id: str) -> str:
    try:
        seen = _patiently(lambda: request.storage.read(f"{SIGN}{request.nonce}-{node_id}"))
    except (OSError, UnicodeError) as error:
        seen = _strerror(error)
    if seen == node_id:
        return ""
    return f"this machine does not see what it writes to {request.storage.describe()}"


def open_images(request: Request) -> str:
    """Decode the images that are not in the cache of this node; return why that fails, "" if it does not.

    They must have the recorded content. Room on the disk is reserved before anything is decoded.
    """
    from trainables.data.prepared import forget_images, prepare_data, prepare_test

    forget_images()
    try:
        with images_at(parse_places(request.places)):
            for text in request.data:
                data = Data.model_validate_json(text)
                prepare_data(data)
                if request.reads_test:
                    prepare_test(data)
    except (UserError, OSError, ValueError, MemoryError) as error:
        return reason_of(error)
    return ""
