"""A sweep without Ray: its trials run in the process of the driver, in one slot or in several slots in turn.

Command line, launch, conductor, records, image cache, trainable and the adapters for Tune are the real ones. Only
``cluster`` and ``run_trials`` of ``sweep.engine`` are replaced, and the tasks of an evaluation run one after another.
So a kill ends driver and worker together, as the loss of a node does. What Ray does is not shown: no lost worker, no
retry. A command runs in a child process, which is forked from a process that has imported everything.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.slots import fixed_slots

PATIENCE_S = 120.0
"""A command that runs longer than this hangs."""

_IMPORTED = (
    "sweep.cli", "sweep.launch", "sweep.conductor", "sweep.status", "sweep.terminal.status", "sweep.evaluation.run",
    "sweep.evaluation.evaluate", "sweep.export.formats", "sweep.tune_callback", "sweep.watch", "sweep.manifest",
    "trainables.trial", "trainables.tune_trainable", "trainables.models.saved", "trainables.data.prepared", "PIL.Image",
)  # fmt: skip
"""Modules that each command needs: a child has them from its parent."""


@dataclass(frozen=True)
class Slots:
    """Hook of a child: so many trials at a time, one epoch of each in turn."""

    count: int

    def __call__(self) -> None:
        """Replace the cluster in this process."""
        import sweep.engine

        sweep.engine.cluster = lambda *_, **__: contextlib.nullcontext(fixed_slots(self.count))  # type: ignore[assignment]


def install() -> None:
    """Replace Ray by one slot in this process, and import what its children need."""
    for name in _IMPORTED:
        import_module(name)
    import sweep.engine
    import sweep.evaluation.run
    from sweep.provenance import code_versions, installed_packages

    installed_packages(), code_versions()  # cached, so that no child computes them
    Slots(1)()
    sweep.engine.run_trials = _run_trials  # type: ignore[assignment]
    sweep.evaluation.run._results = _measure_in_turn  # type: ignore[assignment]


class _Slot:
    """Place of one worker, which runs one trial after another."""

    def __init__(self) -> None:
        from trainables.tune_trainable import CutMixTrainable

        self.trial: Any = None
        self.trial_id = str(id(self))  # of Tune: a slot has one trial at a time
        self._trainable = CutMixTrainable.__new__(CutMixTrainable)  # the constructor belongs to Ray's actor
        self._begin = self._trainable.setup

    def begin(self, config: dict[str, Any]) -> None:
        self._begin(config)
        self._begin = self._trainable.reset_config
        self.trial = SimpleNamespace(config=config, status="RUNNING", trial_id=self.trial_id)
        keep_state = SimpleNamespace(remote=self._trainable.keep_state)
        self.trial.temporary_state = SimpleNamespace(ray_actor=SimpleNamespace(keep_state=keep_state))

    def step(self) -> dict[str, Any]:
        return dict(self._trainable.step())


def _run_trials(sweep_dir: Path, conductor: Any, *, slots: Any, display: Any, watch: Any = None, **more: Any) -> None:
    """Drive the adapters of Tune as Tune does, with one epoch of each slot in turn."""
    from sweep.mirrored import mirror_of
    from sweep.tune_adapters import ConductorScheduler, ConductorSearcher
    from sweep.tune_callback import ConductorCallback, EndOfRun
    from sweep.watch import Watch

    searcher = ConductorSearcher(conductor, sweep_dir, slots, more.get("places") or {})
    scheduler = ConductorScheduler(conductor, slots, mirror_of(sweep_dir))
    ring = [_Slot() for _ in range(slots.n_slots)]
    with display.show_sweep(conductor) as update, contextlib.suppress(EndOfRun):
        callback = ConductorCallback(conductor, update, watch or Watch(conductor, sweep_dir), slots)
        while busy := _fill(ring, searcher):
            for slot in busy:
                report, trial = slot.step(), slot.trial
                if scheduler.on_trial_result(None, trial, report) == "STOP":
                    slot.trial = None
                    searcher.on_trial_complete(trial.trial_id)
                callback.on_trial_result(0, [], trial, report)
                callback.on_step_end(0, [])
    conductor.flush(force=True)


def _fill(ring: Sequence[_Slot], searcher: Any) -> list[_Slot]:
    """Begin a trial in each free slot as long as there are any; return the slots that have a trial."""
    for slot in ring:
        if slot.trial is None and isinstance(config := searcher.suggest(slot.trial_id), dict):
            slot.begin(config)
    return [slot for slot in ring if slot.trial is not None]


def _measure_in_turn(
    tasks: Iterable[Any], resources: Any, turns: Any, images: str
) -> Iterator[tuple[Any, dict[str, Any]]]:
    from sweep.evaluation.run import _payload, measure_task

    for task in tasks:
        yield task, measure_task(_payload(task) | {"images": images}, resources.cpus, "cpu")


@dataclass(frozen=True)
class ImportedModules:
    """Hook of a child: at its end it writes the names of its modules, for its parent to import them.

    A command spends most of its time with imports; the next children then have the modules already.
    """

    file: Path

    def __call__(self) -> None:
        """Do nothing at the beginning."""

    def write(self) -> None:
        """Write the names."""
        self.file.write_text("\n".join(sys.modules), encoding="utf-8")

    def load(self) -> None:
        """Import the modules in this process."""
        for name in self.file.read_text(encoding="utf-8").splitlines():
            if name not in sys.modules and not name.startswith("__"):
                with contextlib.suppress(Exception):  # some names are not those of files
                    import_module(name)


@dataclass
class Child:
    """A command of cutmix-sweep in a process of its own.

    Attributes:
        argv: arguments of the command.
        pid: its process, which is also its process group.
        log: file with all that it printed.
        status: exit status, minus the signal that ended it; None while it runs.
    """

    argv: Sequence[str]
    pid: int
    log: Path
    status: int | None = None

    def wait(self, timeout_s: float = PATIENCE_S) -> int | None:
        """Wait for its end and return the exit status; None: it still runs."""
        until_s = time.monotonic() + timeout_s
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until_s:
                break
            else:
                time.sleep(0.005)
        return self.status

    def send(self, signum: int) -> None:
        """Send a signal, if it still runs."""
        if self.wait(0) is None:
            os.kill(self.pid, signum)

    def is_stopped(self) -> bool:
        """Return whether the process is stopped by SIGSTOP."""
        return _state(self.pid) == "T"

    @property
    def output(self) -> str:
        """All that the command has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    return ""


def start(argv: Sequence[str], log: Path, *, hooks: Sequence[Callable[[], object]] = ()) -> Child:
    """Start a command in a child, in which the hooks are called first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads of this process hold no lock that is needed
        pid = os.fork()
    if pid:
        return Child(argv, pid, log)
    code = 99
    try:
        die_with_parent()
        os.setsid()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, 1), os.dup2(file, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
        for hook in hooks:
            hook()
        code = call(argv)
        for hook in hooks:
            if isinstance(hook, ImportedModules):
                hook.write()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def die_with_parent() -> None:
    """Let the system kill this process when its parent ends, so that an interrupted suite leaves nothing behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def call(argv: Sequence[str]) -> int:
    """Run a command in this process; return its exit status, 1 with a printed traceback if an error escapes."""
    from sweep import cli

    sys.argv = ["cutmix-sweep", *argv]
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def run(
    argv: Sequence[str], log: Path, *, hooks: Sequence[Callable[[], object]] = (), timeout_s: float = PATIENCE_S
) -> Child:
    """Run a command in a child to its end. A child that hangs is killed and has the status None."""
    child = start(argv, log, hooks=hooks)
    if child.wait(timeout_s) is None:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
    return child
