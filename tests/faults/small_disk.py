"""A small file system of its own for one fault: a tmpfs in a mount namespace, which ends with the process."""

from __future__ import annotations

import ctypes
import json
import os
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.faults.kinds import Fault, Skipped

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_REMOUNT, _RECURSIVE, _PRIVATE = 32, 0x4000, 0x40000
_REFUSED = 77


class SmallDisk:
    """A tmpfs that is mounted on a folder.

    Attributes:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path, **options: str | int) -> None:
        """Mount it; ``options`` are those of tmpfs: ``size`` and ``nr_inodes``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._mount(0, options)

    def remount(self, **options: str | int) -> None:
        """Change its size while it is in use."""
        self._mount(_REMOUNT, options)

    def _mount(self, flags: int, options: dict[str, str | int]) -> None:
        _call("mount", b"tmpfs", os.fsencode(self.folder), b"tmpfs", flags, _text(options))


def with_own_mounts(fault: Fault, body: Callable[[], None]) -> None:
    """Run ``body`` in a child with mounts of its own; what it finds is added to the outcome of the fault.

    Raises:
        Skipped: the system does not let this user mount anything.
    """
    file = fault.folder / "outcome.json"
    pid = os.fork()
    if not pid:
        code = 1
        try:
            try:
                _enter()
            except OSError as error:
                file.write_text(str(error), encoding="utf-8")
                code = _REFUSED
            else:
                body()
                file.write_text(json.dumps(asdict(fault.outcome)), encoding="utf-8")
                code = 0
        except BaseException:
            file.write_text(traceback.format_exc(), encoding="utf-8")
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == _REFUSED:
        raise Skipped(f"no mount namespace: {file.read_text(encoding='utf-8')}")
    if code:
        raise AssertionError(file.read_text(encoding="utf-8") if file.exists() else f"exit code {code}")
    for name, value in json.loads(file.read_text(encoding="utf-8")).items():
        setattr(fault.outcome, name, value)


def _enter() -> None:
    if os.getuid() == 0:
        _call("unshare", _NEW_MOUNTS)
    else:
        ids = os.getuid(), os.getgid()
        _call("unshare", _NEW_MOUNTS | _NEW_USER)
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        for name, number in zip(("uid_map", "gid_map"), ids, strict=True):
            Path(f"/proc/self/{name}").write_text(f"0 {number} 1", encoding="ascii")
    _call("mount", b"none", b"/", None, _RECURSIVE | _PRIVATE, None)


def _call(name: str, *arguments: bytes | int | None) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _text(options: dict[str, str | int]) -> bytes:
    return ",".join(f"{name}={value}" for name, value in options.items()).encode()
