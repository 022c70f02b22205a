"""Kinds of faults: what is injected, how, and what must hold after it.

A kind is a function that takes a :class:`Fault`: it disturbs a small sweep, lets the program repair what it can, and
compares the result with an undisturbed sweep. :func:`all_kinds` lists them by name.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from tests.faults import one_slot
from tests.faults.compare import compare
from tests.faults.one_slot import Child
from tests.faults.strikes import Setting
from tests.faults.sweeps import Lab, small_parts

FAMILIES = ("kills", "signals", "damage", "surroundings", "changes", "on_ray")
"""Modules of this folder that register kinds."""

FOREIGN = (
    "notes.txt", "models/mine.pth", "records/notes.txt", "records/epochs/mine.parquet", "records/trials/part-old.txt",
    "checkpoints/keep.me",
)  # fmt: skip
"""Files of a user in the folder of a sweep: names that the program does not write."""


class Skipped(Exception):
    """This machine cannot inject the fault; the message says why."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: its name in tables and on the command line.
        what: what is injected, and what must hold after it; one or two sentences.
        inject: the function that does it.
        weight: how often it is drawn, compared with other kinds.
        ray: whether it needs a real Ray: half a minute each.
        slow: whether ``--quick`` leaves it out.
    """

    name: str
    what: str
    inject: Callable[[Fault], None]
    weight: int = 1
    ray: bool = False
    slow: bool = False


KINDS: dict[str, Kind] = {}


def kind(
    name: str, *, weight: int = 4, ray: bool = False, slow: bool = False
) -> Callable[[Callable[[Fault], None]], Callable[[Fault], None]]:
    """Register a function as a kind of fault; its docstring says what is injected and what must hold."""

    def register(inject: Callable[[Fault], None]) -> Callable[[Fault], None]:
        if name in KINDS:
            raise ValueError(f"two kinds of faults are called '{name}'")
        KINDS[name] = Kind(name, " ".join((inject.__doc__ or "").split()), inject, weight, ray, slow)
        return inject

    return register


def all_kinds() -> dict[str, Kind]:
    """Return all kinds by name."""
    for family in FAMILIES:
        import_module(f"tests.faults.{family}")
    return KINDS


class Ended(Protocol):
    """A command that has ended, in one slot or on Ray; the attributes are those of ``Child``."""

    argv: Sequence[str]
    status: int | None

    @property
    def output(self) -> str: ...


@dataclass
class Outcome:
    """What one fault did.

    Attributes:
        kind: name of the kind.
        seed: seed of what was drawn for it.
        place: where it struck.
        n_faults: faults that were injected; 0 if the drawn place was never reached.
        lost: rows and models that are missing afterwards.
        doubled: rows that were written twice.
        different: rows and models with other values, of which the program said nothing.
        refused: commands that ended with exit code 2, as they should.
        not_regained: 1 if the program could not repair what it should be able to repair.
        problems: one sentence each: a traceback, a hang, a wrong exit code, a file that was left or touched.
        skipped: why the fault could not be injected on this machine; "" if it was.
        seconds: duration.
    """

    kind: str
    seed: int
    place: str = ""
    n_faults: int = 0
    lost: int = 0
    doubled: int = 0
    different: int = 0
    refused: int = 0
    not_regained: int = 0
    problems: list[str] = field(default_factory=list)
    skipped: str = ""
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether all that must hold does hold."""
        return not (self.lost or self.doubled or self.different or self.not_regained or self.problems)


@dataclass
class Fault:
    """One fault in progress.

    Attributes:
        lab: undisturbed sweeps.
        luck: all that is drawn for this fault.
        folder: place for its files.
        outcome: what is found.
    """

    lab: Lab
    luck: random.Random
    folder: Path
    outcome: Outcome
    _n_logs: int = 0
    _foreign: list[Path] = field(default_factory=list)

    @property
    def sweep_dir(self) -> Path:
        """Folder of the disturbed sweep."""
        return self.folder / "sweep"

    @property
    def begun(self) -> bool:
        """Whether the sweep has a manifest, so that it can be resumed."""
        return (self.sweep_dir / "sweep.json").exists()

    def marker(self) -> Path:
        """Return a file that does not exist yet, for a strike."""
        self._n_logs += 1
        return self.folder / f"struck-{self._n_logs}"

    def copy(self, sweep_dir: Path) -> None:
        """Begin with a copy of an undisturbed or interrupted sweep."""
        shutil.copytree(sweep_dir, self.sweep_dir)
        self.plant()

    def plant(self) -> None:
        """Put files of a user into the folder of the sweep: they must stay as they are."""
        if self._foreign or not self.begun:
            return
        for name in FOREIGN:
            path = self.sweep_dir / name
            if path.parent.is_dir():
                path.write_text(name, encoding="utf-8")
                self._foreign.append(path)

    def command(self, name: str, *options: str) -> list[str]:
        """Return the command that begins the sweep of a study; if it was begun, that resumes it with options."""
        self.plant()
        return ["resume", str(self.sweep_dir), *options] if self.begun else self.lab.run_command(name, self.sweep_dir)

    def draw_call(self, counted: str, where: str, *, later: float = 0.0) -> int:
        """Draw which call of a function, or which operation on a file, is struck; the outcome names the place.

        Args:
            counted: what was counted, for example the name of a study.
            where: key of ``TARGETS``, or ``files``.
            later: fraction of the calls that are skipped.
        """
        count = self.lab.counts(counted)[where]
        call = self.luck.randint(1 + int(later * count), max(count, 1))
        self.outcome.place = f"{where}, call {call} of {count}"
        return call

    def start(self, argv: Sequence[str], *hooks: Callable[[], object]) -> Child:
        """Start a command; half-written files are removed at once, because no worker outlives a killed driver here."""
        self._n_logs += 1
        at_once = Setting("sweep.launch:ABANDONED_AFTER_S", -1.0)
        log = self.folder / f"{self._n_logs}-{argv[0]}.log"
        return one_slot.start(argv, log, hooks=[small_parts, at_once, *hooks])

    def run(
        self,
        argv: Sequence[str],
        *hooks: Callable[[], object],
        status: Collection[int] | None = (0,),
        may_trace: bool = False,
    ) -> Child:
        """Run a command to its end and check it; ``status`` are the exit codes that are right, None: any."""
        return self.end(self.start(argv, *hooks), status=status, may_trace=may_trace)

    def end(self, child: Child, *, status: Collection[int] | None = (0,), may_trace: bool = False) -> Child:
        """Wait for the end of a command, and check its exit code and what it printed."""
        if child.wait() is None:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
            self.problem(f"{child.argv[0]} hangs", child)
            status = None
        self.check(child, status=status, may_trace=may_trace)
        return child

    def check(self, ended: Ended, *, status: Collection[int] | None, may_trace: bool = False) -> None:
        """Check the exit code of a command and what it printed; ``status`` is that of :meth:`run`."""
        if status is not None and ended.status not in status:
            self.problem(f"{ended.argv[0]}: exit code {ended.status} instead of {sorted(status)}", ended)
        if "Traceback (most recent call last)" in ended.output and not may_trace:
            self.problem(f"{ended.argv[0]}: a traceback", ended)
        if ended.status == 2:
            self.outcome.refused += 1

    def refuse(self, argv: Sequence[str], *words: str) -> None:
        """Run a command that must be refused in one line, with exit code 2; the line must contain ``words``."""
        child = self.run(argv, status=(2,))
        errors = [line for line in child.output.splitlines() if line.startswith("error:")]
        if child.status == 2 and len(errors) != 1:
            self.problem(f"{argv[0]}: {len(errors)} lines of errors instead of one", child)
        for word in words:
            if word not in child.output:
                self.problem(f"{argv[0]}: the message does not contain '{word}'", child)

    def problem(self, fact: str, ended: Ended | None = None) -> None:
        """Record that something does not hold, with the last line that a command printed."""
        lines = ended.output.strip().splitlines()[-1:] if ended else []
        self.outcome.problems.append(": ".join([fact, *lines])[:400])

    def injected(self, count: int = 1) -> None:
        """Count faults that have struck."""
        self.outcome.n_faults += count

    def proceed(self, name: str, *hooks: Callable[[], object]) -> Child:
        """Start the command that begins the sweep of a study, or resumes it if it was begun."""
        return self.start(self.command(name), *hooks)

    def finish(self, name: str, *hooks: Callable[[], object], options: Sequence[str] = ()) -> Child:
        """Run the sweep of a study to its end, undisturbed, and expect that it ends well."""
        return self.run(self.command(name, *options), *hooks)

    def compare(self, undisturbed: Path, *, sweep_dir: Path | None = None, **options: Any) -> None:
        """Compare the sweep with an undisturbed one; the options are those of :func:`compare`."""
        result = compare(undisturbed, sweep_dir or self.sweep_dir, **options)
        for name in ("lost", "doubled", "different"):
            setattr(self.outcome, name, getattr(self.outcome, name) + getattr(result, name))
        if result.facts:
            self.outcome.problems += result.facts[:5]
        for path in self._foreign:
            if not path.exists() or path.read_text(encoding="utf-8") != path.relative_to(self.sweep_dir).as_posix():
                self.problem(f"a file of the user was touched: {path.relative_to(self.sweep_dir)}")


def run_fault(lab: Lab, which: Kind, seed: int, folder: Path, *, keep: bool = False) -> Outcome:
    """Inject one fault; its files are removed unless something does not hold."""
    began_s, outcome = time.monotonic(), Outcome(which.name, seed)
    folder.mkdir(parents=True)
    try:
        which.inject(Fault(lab, random.Random(f"{which.name} {seed}"), folder.resolve(), outcome))
    except Skipped as error:
        outcome.skipped = str(error)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        outcome.problems.append(f"{type(error).__name__} in {place}: {' '.join(str(error).split())[:300]}")
        outcome.not_regained = 1
    outcome.seconds = time.monotonic() - began_s
    if outcome.is_good and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        outcome.problems.append(f"files: {folder}") if not outcome.is_good else None
    return outcome
