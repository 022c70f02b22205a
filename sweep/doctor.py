"""Checks of this machine before a sweep: each returns its result and how to fix a problem."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sweep.connection import check_connection
from sweep.gpus import gpu_names
from sweep.mps import PROGRAM, describe_missing
from sweep.ray_folder import choose_folder, other_users_folders, token_problem
from trainables.cores import describe_cores
from trainables.errors import UserError
from trainables.object_store import READER_PATIENCE_S, Conflict, ObjectStore, StorageError
from trainables.storage_url import is_url, parse_url

OK, WARNING, WRONG = "ok", "warning", "wrong"
"""States of a check: no problem; a sweep runs, but with a disadvantage; a sweep would fail."""

_FREE_GIB = 5
"""Free disk space below which a check warns."""


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes:
        name: object of the check.
        state: ``ok``, ``warning`` or ``wrong``.
        found: the result.
        fix: how to fix the problem; "" if there is none.
    """

    name: str
    state: str
    found: str
    fix: str = ""


def diagnose(data: str, out: Path, *, address: str | None = None, insecure: bool = False) -> list[Check]:
    """Run all checks for a sweep on ``data`` that is written below ``out``; return their results.

    Without an address, Ray is started and stopped, which takes about ten seconds. With one, the cluster there is asked
    whether it would accept this machine, which takes at most ten seconds; it is not joined.

    Args:
        data: data source.
        out: folder, or address in an object store, to write sweeps to.
        address: Ray cluster that sweeps will join; None: Ray is started on this machine.
        insecure: whether a cluster is joined that asks for no token although other machines can reach it.

    Example:
        >>> [check.name for check in diagnose("digits", Path("sweeps"))][:3]  # doctest: +SKIP
        ['Python and packages', 'torch', 'GPU']
    """
    checks: list[Callable[[], Check]] = [
        _packages,
        _torch,
        _gpu,
        _mps,
        _cores,
        _memory,
        _ray_folder,
        _ray_auth,
        _ray if address is None else lambda: _connection(address, insecure=insecure),
        lambda: _data(data),
        _cache,
        lambda: _storage(out),
    ]
    return [check() for check in checks]


def _packages() -> Check:
    names = ("torch", "torchvision", "ray", "optuna", "pandas", "pyarrow", "pydantic")
    present, missing = [f"Python {platform.python_version()}"], []
    for name in names:
        try:
            present.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("Python and packages", WRONG, f"missing: {', '.join(missing)}", "pip install cutmix-sweep")
    return Check("Python and packages", OK, ", ".join(present))


def _torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("torch", WRONG, str(error), "reinstall torch and torchvision in matching versions")
    native = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    result = f"{torch.__version__}, native bf16 multiplication on the CPU: {'yes' if native else 'no (fp32 is used)'}"
    return Check("torch", OK, result)


def _gpu() -> Check:
    try:
        import torch
    except (ImportError, OSError):
        return Check("GPU", WARNING, "not checked: torch cannot be imported", "fix torch first")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Check("GPU", OK, ", ".join(names))
    built_for = torch.version.cuda
    if built_for and Path("/dev/nvidiactl").exists():
        fix = f"torch is built for CUDA {built_for}: update the driver, or install a torch for the CUDA of the driver"
        return Check("GPU", WARNING, "there is a GPU driver, but torch cannot use it", fix)
    return Check("GPU", OK, "none: trials run on the CPU")


def _mps() -> Check:
    if not gpu_names():
        return Check("MPS", OK, "not needed: no GPU")
    path = shutil.which(PROGRAM)
    return Check("MPS", OK, f"{describe_missing()}: resources.mps cannot be on" if path is None else path)


def _ray() -> Check:
    try:
        import ray
    except ImportError as error:
        return Check("Ray", WRONG, str(error), "pip install 'ray[default,tune]'")
    from search_spaces.resources import Resources
    from sweep.display import SilentDisplay
    from sweep.engine import cluster

    class Warnings(SilentDisplay):
        def __init__(self) -> None:
            self.texts: list[str] = []

        def show_warning(self, text: str) -> None:
            self.texts.append(text)

    display, started_s = Warnings(), time.perf_counter()
    try:
        with cluster(Resources(), address=None, display=display):
            result = f"{ray.__version__}, started in {time.perf_counter() - started_s:.1f} s"
    except UserError as error:
        return Check("Ray", WRONG, f"{ray.__version__}: {error}", "follow the message")
    if display.texts:
        return Check("Ray", WARNING, f"{result}; {'; '.join(display.texts)}", "a sweep runs as it is")
    return Check("Ray", OK, result)


def _connection(address: str, *, insecure: bool) -> Check:
    started_s = time.perf_counter()
    try:
        check_connection(address, insecure=insecure)
    except UserError as error:
        return Check("Ray cluster", WRONG, str(error), "follow the message")
    return Check(
        "Ray cluster", OK, f"{address} accepts this machine, checked in {time.perf_counter() - started_s:.1f} s"
    )


def _cores() -> Check:
    return Check("CPU cores", OK, describe_cores())


def _ray_folder() -> Check:
    try:
        folder, note = choose_folder()
    except UserError as error:
        return Check("folder for Ray", WRONG, str(error), "follow the message")
    if note:
        return Check("folder for Ray", WARNING, note, "a sweep runs as it is; set RAY_TMPDIR to choose another folder")
    others = other_users_folders()
    return Check("folder for Ray", OK, "; not used: ".join([str(folder), *([", ".join(others)] if others else [])]))


def _ray_auth() -> Check:
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if mode.lower() in ("disabled", "none"):
        return Check(
            "Ray authentication",
            WARNING,
            f"RAY_AUTH_MODE={mode}: anyone who reaches the ports of the cluster can run code on it",
            "unset RAY_AUTH_MODE, or close the ports to others",
        )
    if problem := token_problem():
        return Check(
            "Ray authentication",
            WARNING,
            f"{problem}: they can run code on your clusters",
            "delete the file, so that a new token is made, and copy it to the other machines of your cluster",
        )
    return Check("Ray authentication", OK, f"RAY_AUTH_MODE={mode}" if mode else "Ray's default")


def _memory() -> Check:
    from sweep.ray_start import OBJECT_STORE_BYTES

    shared = Path("/dev/shm")
    if not shared.exists():
        return Check("shared memory", OK, "no /dev/shm on this system")
    free_gib = shutil.disk_usage(shared).free / 2**30
    if free_gib < OBJECT_STORE_BYTES / 2**30:
        return Check(
            "shared memory",
            WARNING,
            f"{free_gib:.1f} GiB free in /dev/shm: Ray keeps its objects on the disk",
            "a sweep runs as it is; in a container, --shm-size=1g is enough",
        )
    return Check("shared memory", OK, f"{free_gib:.1f} GiB free in /dev/shm")


def _data(source: str) -> Check:
    from trainables.data.duplicates import REMEDY, describe_duplicates
    from trainables.data.sources.registry import open_source
    from trainables.data.usable import check_usable
    from trainables.parts import add_folder

    add_folder(Path.cwd())  # a source of one's own
    try:
        opened = open_source(source)
        notes = check_usable(opened)
        described = opened.describe(None)
        duplicates = describe_duplicates(opened)
    except (UserError, ValueError) as error:
        return Check("data", WRONG, str(error), "follow the message, or choose another source with --data")
    result = (
        f"{source}: {described.n_train} training images, {described.n_classes} classes, "
        f"{described.height_px}x{described.width_px} px"
    )
    if notes or duplicates:
        fix = REMEDY if duplicates else "a sweep runs as it is; remove or convert the files"
        return Check("data", WARNING, "; ".join([result, *notes, *([duplicates] if duplicates else [])]), fix)
    return Check("data", OK, result)


def _cache() -> Check:
    from trainables.data.cache_dir import default_cache_dir

    return _disk("disk for decoded images", default_cache_dir())


def _storage(out: Path) -> Check:
    """Check where sweeps are written: the disk of a folder; a store must write, read, refuse and delete objects."""
    name, started_s = "storage for records", time.perf_counter()
    try:
        place = parse_url(out) if is_url(out) else out
        if isinstance(place, Path):
            return _disk("disk for records", place)
        problem = _try_store(ObjectStore(place, patience_s=READER_PATIENCE_S))
    except UserError as error:
        return Check(name, WRONG, str(error), "follow the message")
    except StorageError as error:
        fix = "check the address, the keys of the store, and that they may read, write, list and delete objects there"
        return Check(name, WRONG, error.describe(), fix)
    if problem:
        return Check(name, WRONG, f"'{place}': {problem}", "use a store that has conditional writes (If-Match)")
    return Check(
        name, OK, f"'{place}': objects written, read, locked and deleted in {time.perf_counter() - started_s:.1f} s"
    )


def _try_store(store: ObjectStore) -> str:
    """Do with one object what a sweep does with many; return what the store did wrong, "" if nothing.

    Raises:
        StorageError: the store does not answer, or refuses.
    """
    name = f"doctor-{uuid.uuid4().hex[:12]}"
    first = store.write(name, b"1", if_absent=True)
    try:
        second = store.write(name, b"2", if_same=first)
        for is_new in (True, False):
            with contextlib.suppress(Conflict):
                store.write(name, b"3", if_absent=is_new, if_same=None if is_new else first)
                return "it accepts writes that it must refuse, so two processes could write the same sweep"
        if store.read(name) != (b"2", second) or name not in store.list_top():
            return "it does not return what was just written"
    except Conflict:
        return "it refuses a conditional write that it must accept, so no process can hold a sweep"
    finally:
        store.delete([name])
    return ""


def _disk(name: str, folder: Path) -> Check:
    folder = folder.absolute()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return Check(name, WRONG, f"cannot write to '{nearest}'", "choose another folder")
    free_gib = shutil.disk_usage(nearest).free / 2**30
    result = f"{free_gib:.0f} GiB free in '{nearest}'"
    if free_gib < _FREE_GIB:
        return Check(name, WARNING, result, f"free disk space: {_FREE_GIB} GiB are recommended")
    return Check(name, OK, result)
