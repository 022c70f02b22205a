"""Faults that a process does to itself, at a place that is named: at a call of a function, or at a file operation.

A strike is installed in a child of ``one_slot``. In a process that Ray starts, ``sitecustomize.py`` in the folder
``workers`` installs it, from an environment variable, when the module of its function is imported.
"""

from __future__ import annotations

import errno
import functools
import itertools
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

VARIABLE = "CUTMIX_SWEEP_STRIKE"
"""Environment variable with a strike as JSON, for processes that Ray starts."""

LONG_EPOCH_S = 0.8
"""Time between two presses of Ctrl-C, in which the struck process does not continue."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Strike:
    """A fault at one call of a function.

    Attributes:
        target: the function, ``module:Class.name`` or ``module:name``.
        call: number of the call, from 1.
        action: name of a signal, of an error of the operating system such as ``ENOSPC``, ``Ctrl-C twice``, or
            ``memory``.
        marker: file that is made at the strike. A strike whose file exists does nothing: it strikes once.
        delay_s: time between the call and the signal, in which the process continues.
    """

    target: str
    call: int
    action: str
    marker: str
    delay_s: float = 0.0

    def __call__(self) -> None:
        """Install the strike in this process."""
        numbers = itertools.count(1)

        def begin() -> None:
            if next(numbers) == self.call:
                strike(self)

        before(self.target, begin)


@dataclass(frozen=True)
class FileStrike:
    """A fault at one operation on a file below a folder: opening for writing, renaming, removing, making a folder.

    Attributes:
        folder: only files below it count.
        call: number of the operation, from 1.
        action: as in :class:`Strike`; an error is raised by the operation itself.
        marker: as in :class:`Strike`.
        delay_s: as in :class:`Strike`.
        lasting: whether all later operations fail as well.
    """

    folder: str
    call: int
    action: str
    marker: str
    delay_s: float = 0.0
    lasting: bool = False

    def __call__(self) -> None:
        """Install the strike in this process."""
        numbers = itertools.count(1)

        def begin(path: str) -> None:
            number = next(numbers)
            if number == self.call:
                strike(self, path)
            elif self.lasting and number > self.call:
                _act(self.action, path)

        watch_files(self.folder, begin)


@dataclass(frozen=True)
class Counter:
    """Counts the calls of a function, or the file operations below a folder, in a file with one byte per call."""

    target: str
    file: str

    def __call__(self) -> None:
        """Install the counter in this process."""
        number = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if ":" in self.target:
            before(self.target, lambda: os.write(number, b"."))
        else:
            watch_files(self.target, lambda path: os.write(number, b"."))


@dataclass(frozen=True)
class Setting:
    """Another value of a constant in a child, ``module:NAME``."""

    target: str
    value: Any

    def __call__(self) -> None:
        """Set the value in this process."""
        owner, name = _owner(self.target)
        getattr(owner, name)  # a constant that is gone must be noticed
        setattr(owner, name, self.value)


@dataclass(frozen=True)
class Environment:
    """A variable of the environment of a child."""

    name: str
    value: str

    def __call__(self) -> None:
        """Set the variable in this process."""
        os.environ[self.name] = self.value


@dataclass(frozen=True)
class WorkingFolder:
    """The working directory of a child."""

    folder: str

    def __call__(self) -> None:
        """Change the directory of this process."""
        os.chdir(self.folder)


@dataclass(frozen=True)
class Limit:
    """A limit of the resources of a child: so much more than it uses when the limit is set.

    Attributes:
        name: ``RLIMIT_AS`` (bytes) or ``RLIMIT_NOFILE`` (files).
        more: what it may use in addition.
    """

    name: str
    more: int

    def __call__(self) -> None:
        """Set the limit in this process."""
        if self.name == "RLIMIT_AS":
            used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        else:
            used = os.dup(0)  # the lowest free number; the limit is one on numbers
            os.close(used)
        number = getattr(resource, self.name)
        resource.setrlimit(number, (used + self.more, resource.getrlimit(number)[1]))


@dataclass(frozen=True)
class Clock:
    """A clock of a child that jumps by ``shift_s`` after ``after_s``: ``time.time`` alone, as the system's clock."""

    shift_s: float
    after_s: float

    def __call__(self) -> None:
        """Replace the clock in this process."""
        right, begun_s = time.time, time.monotonic()

        def shifted() -> float:
            return right() + (self.shift_s if time.monotonic() - begun_s >= self.after_s else 0.0)

        time.time = shifted


def _owner(target: str) -> tuple[Any, str]:
    module, _, path = target.partition(":")
    owner: Any = import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name


def before(target: str, begin: Callable[[], object]) -> None:
    """Call ``begin`` before each call of a function."""
    owner, name = _owner(target)
    function = getattr(owner, name)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        begin()
        return function(*args, **kwargs)

    setattr(owner, name, wrapper)


def watch_files(folder: str, begin: Callable[[str], object]) -> None:
    """Call ``begin`` before each operation that changes files below a folder."""
    position = {"open": 0, "os.rename": 1, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0}

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event not in position or (event == "open" and not int(args[2] or 0) & WRITING):
            return
        path = args[position[event]]
        if isinstance(path, str | bytes | os.PathLike) and (text := os.fsdecode(path)).startswith(folder):
            begin(text)

    sys.addaudithook(hook)


def strike(what: Strike | FileStrike, path: str | None = None) -> None:
    """Do it, unless it was done before."""
    try:
        os.close(os.open(what.marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    if what.delay_s:
        threading.Thread(target=_later, args=[what], daemon=True).start()
    else:
        _act(what.action, path)


def _later(what: Strike | FileStrike) -> None:
    time.sleep(what.delay_s)
    _act(what.action, None)


def _act(action: str, path: str | None) -> None:
    if action == "Ctrl-C twice":
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(LONG_EPOCH_S)
    elif action == "memory":
        held = []
        while True:  # the limit of the process ends it, or whatever watches the memory of the machine
            held.append(bytearray(os.urandom(1 << 20)) * 64)
            time.sleep(0.02)
    elif action.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[action])
    else:
        number = getattr(errno, action)
        raise OSError(number, os.strerror(number), path)


def install_from_environment() -> None:
    """Install the strike of the environment variable when the module of its function is imported."""
    text = os.environ.get(VARIABLE)
    if not text or not any(argument.endswith("default_worker.py") for argument in sys.orig_argv):
        return  # not a worker
    what = Strike(**json.loads(text))
    sys.meta_path.insert(0, _OnImport(what))


class _OnImport:
    """Finder that lets the others find a module, and installs a strike after the module has run."""

    def __init__(self, what: Strike) -> None:
        self._strike: Strike | None = what

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if self._strike is None or name != self._strike.target.partition(":")[0]:
            return None
        what, self._strike = self._strike, None
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_install(module: Any) -> None:
            run(module)
            sys.modules.setdefault(name, module)
            what()

        spec.loader.exec_module = run_and_install  # type: ignore[method-assign]
        return spec


def to_environment(what: Strike) -> dict[str, str]:
    """Return the environment of a command whose Ray workers strike themselves."""
    here, root = Path(__file__).parent, Path(__file__).parents[2]
    paths = [str(here / "workers"), str(root), os.environ.get("PYTHONPATH", "")]
    return {VARIABLE: json.dumps(asdict(what)), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
