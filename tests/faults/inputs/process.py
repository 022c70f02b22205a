"""The program in a process of its own: what it printed, how it ended, and what it used."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from unittest import mock

CPU_S, WALL_S, MEMORY_MB = 10, 120.0, 500
"""Bounds of one input. The machine may be busy, so that the bound is the processor time, and more time may pass."""

LOADED = ("analysis.report.write", "sweep.cli", "sweep.conductor", "sweep.doctor", "sweep.documents", "sweep.engine")
LOADED += ("sweep.evaluation.evaluate", "sweep.export.formats", "sweep.launch", "sweep.models", "sweep.plan")
LOADED += ("sweep.preview", "sweep.terminal.status", "trainables.data.prepared", "trainables.trial")
"""Modules that are loaded once: loading them for each input would take most of the time."""

_ADDRESS_SPACE = 3 << 30
"""Bound of the addresses that a process may reserve, in bytes, so that it does not use up the machine's memory."""


@dataclass(frozen=True)
class Ran:
    """How the program ended.

    Attributes:
        exit_code: its exit code, negative for a signal; None: it took too long.
        stdout: beginning of its standard output.
        stderr: its messages.
        cpu_s: processor time, seconds.
        wall_s: time, seconds.
        memory_mb: largest memory in addition to the memory of the loaded program, MB.
    """

    exit_code: int | None
    stdout: str
    stderr: str
    cpu_s: float
    wall_s: float
    memory_mb: float

    @property
    def used_up_memory(self) -> bool:
        """Whether it used more memory than it may."""
        return self.memory_mb > MEMORY_MB or "MemoryError" in self.stderr


def prepare_process(root: Path) -> None:
    """Load the program, of which each input gets a copy, and replace what no input may start."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ |= {
        "CUTMIX_SWEEP_CACHE": str(root / "inputs" / "cache"),
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    modules = {name: importlib.import_module(name) for name in LOADED}
    _limit_memory()  # of this process too, which makes the inputs
    doctor = modules["sweep.doctor"]
    check = doctor.Check("Ray", doctor.OK, "not started")
    # patch.object raises an error if there is no such function any more: Ray would start
    mock.patch.object(modules["sweep.engine"], "cluster", _would_start).start()
    mock.patch.object(modules["analysis.report.write"], "execute", _would_start).start()
    for name in ("_ray", "_ray_auth"):
        mock.patch.object(doctor, name, return_value=check).start()


def _would_start(*_: object, **__: object) -> NoReturn:
    """End the program: its input was accepted."""
    print("accepted: Ray or a notebook would start now")
    sys.exit(0)


def run(arguments: list[str], folder: Path) -> Ran:
    """Run the program in a folder."""
    out, err = folder.parent / "stdout", folder.parent / "stderr"
    begun_s = time.monotonic()
    status, usage = _forked(lambda: _run_program(arguments, folder, out, err), WALL_S)
    wall_s, cpu_s = time.monotonic() - begun_s, usage.ru_utime + usage.ru_stime
    code: int | None = os.waitstatus_to_exitcode(status)
    too_slow = code in (-signal.SIGXCPU, -signal.SIGKILL) or cpu_s > CPU_S
    texts = [path.read_bytes()[:200_000].decode("utf-8", "replace") for path in (out, err)]
    out.unlink()
    err.unlink()
    return Ran(None if too_slow else code, *texts, cpu_s, wall_s, usage.ru_maxrss / 1024 - _base_mb())


@functools.cache
def _base_mb() -> float:
    """Return the memory of a process that has loaded the program and does nothing, MB."""
    _, usage = _forked(lambda: 0, WALL_S)
    return usage.ru_maxrss / 1024


def _forked(function: Callable[[], int], wall_s: float) -> tuple[int, resource.struct_rusage]:
    """Call a function in a copy of this process; return how the copy ended and what it used."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    child = os.fork()
    if not child:
        code = 70
        try:
            os.setpgid(0, 0)
            code = function()
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    with _alarm(wall_s, child):
        _, status, usage = os.wait4(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it started and left
    return status, usage


@contextlib.contextmanager
def _alarm(seconds: float, child: int) -> Iterator[None]:
    """Kill a process after some seconds."""
    before = signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _run_program(arguments: list[str], folder: Path, out: Path, err: Path) -> int:
    """Run the program in this process within bounds; return its exit code."""
    os.chdir(folder)
    for path, descriptor in ((Path(os.devnull), 0), (out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), descriptor)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S + 1, CPU_S + 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 29, 1 << 29))
    _limit_memory()
    from sweep import cli

    sys.argv = ["cutmix-sweep", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


def _limit_memory() -> None:
    """Limit the memory that this process may reserve from now on."""
    space = resource.getpagesize() * int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (space + _ADDRESS_SPACE, hard))
