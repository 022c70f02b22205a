"""Kinds of faults: SIGKILL of the driver, which in one slot is the worker too, at every place of every command."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.kinds import Fault, kind
from tests.faults.one_slot import Slots
from tests.faults.strikes import Clock, Environment, FileStrike, Strike
from tests.faults.sweeps import TARGETS

LONGEST_DELAY_S = 0.05
"""Delay of a kill after the call of a function: about one epoch."""


TWO_HOURS_S = 7_200.0


def kill_at(
    fault: Fault, study: str, where: str, *, empty_cache: bool = False, later: float = 0.0, slots: int = 1
) -> None:
    """Kill a sweep at a random call of a function or at a random operation on a file; resume it and compare.

    Args:
        fault: the fault.
        study: name of the study.
        where: key of ``TARGETS``, or ``files``.
        empty_cache: whether the images are decoded again.
        later: fraction of the calls that are skipped.
        slots: trials at a time.
    """
    undisturbed = fault.lab.undisturbed(study)
    call = fault.draw_call(study, where, later=later)
    delay_s = fault.luck.choice([0.0, fault.luck.uniform(0, LONGEST_DELAY_S)])
    hooks: list[Callable[[], object]] = [Slots(slots)]
    if empty_cache:
        hooks.append(Environment("CUTMIX_SWEEP_CACHE", str(fault.folder / "cache")))
    marker = fault.marker()
    if where == "files":
        strike = FileStrike(str(fault.sweep_dir), call, "SIGKILL", str(marker), delay_s)
    else:
        strike = Strike(TARGETS[where], call, "SIGKILL", str(marker), delay_s)
    fault.outcome.place += f", {1e3 * delay_s:.0f} ms later"
    child = fault.end(fault.proceed(study, *hooks, strike), status=(-9, 0))
    fault.injected(child.status == -9)
    fault.finish(study, *hooks)
    fault.compare(undisturbed)
    if left := [path.name for path in (fault.folder / "cache").glob("*.partial*")]:
        fault.problem(f"left in the image cache: {left}")


@kind("kill while decoding", weight=5)
def kill_decoding(fault: Fault) -> None:
    """SIGKILL while the images are decoded into an empty cache."""
    kill_at(fault, "plain", "decoding", empty_cache=True)


@kind("kill in training", weight=8)
def kill_training(fault: Fault) -> None:
    """SIGKILL at a training step."""
    kill_at(fault, "plain", "training")


@kind("kill in validation", weight=6, slow=True)
def kill_validation(fault: Fault) -> None:
    """SIGKILL while a trial is measured on the validation images."""
    kill_at(fault, "plain", "validation")


@kind("kill in the test measurement", weight=5)
def kill_test(fault: Fault) -> None:
    """SIGKILL while a confirmation trial is measured on the test images."""
    kill_at(fault, "plain", "test", later=0.2)


@kind("kill in a flush", weight=8)
def kill_flush(fault: Fault) -> None:
    """SIGKILL while buffered rows are written."""
    kill_at(fault, "plain", "flush")


@kind("kill in a merge of parts", weight=5)
def kill_merge(fault: Fault) -> None:
    """SIGKILL while the parts of a table are merged into one."""
    kill_at(fault, "tpe" if fault.luck.random() < 0.3 else "plain", "merge")


@kind("kill at a file operation", weight=20)
def kill_files(fault: Fault) -> None:
    """SIGKILL just before a file in the folder of the sweep is opened to write, renamed or removed."""
    kill_at(fault, fault.luck.choice(["plain", "plain", "asha"]), "files")


@kind("kill with two slots", weight=6)
def kill_two_slots(fault: Fault) -> None:
    """SIGKILL while two trials run in turn: both continue from their last epoch."""
    kill_at(fault, "plain", fault.luck.choice(["training", "report", "flush"]), slots=2)


@kind("kill while confirming", weight=5)
def kill_confirming(fault: Fault) -> None:
    """SIGKILL when an epoch of a confirmation trial is reported."""
    kill_at(fault, "plain", "report", later=0.5)


@kind("kill with ASHA and a control cohort", weight=6)
def kill_asha(fault: Fault) -> None:
    """SIGKILL in a sweep with early stopping and trials that no rule may stop; decisions must stand."""
    kill_at(fault, "asha", fault.luck.choice(["training", "report", "flush"]))


@kind("kill with Hyperband", weight=5, slow=True)
def kill_hyperband(fault: Fault) -> None:
    """SIGKILL in a sweep with several brackets."""
    kill_at(fault, "hyperband", fault.luck.choice(["training", "report", "flush"]))


@kind("kill with promotion", weight=5)
def kill_promotion(fault: Fault) -> None:
    """SIGKILL in a sweep whose trials pause at rungs and are promoted."""
    kill_at(fault, "promotion", fault.luck.choice(["training", "report", "flush"]))


@kind("kill with TPE", weight=5)
def kill_tpe(fault: Fault) -> None:
    """SIGKILL in a sweep whose parameters depend on earlier results."""
    kill_at(fault, "tpe", fault.luck.choice(["training", "report", "flush"]))


@kind("several kills", weight=5, slow=True)
def several_kills(fault: Fault) -> None:
    """SIGKILL at a random time, of the run and of each of two resumptions."""
    undisturbed, times = fault.lab.undisturbed("plain"), []
    for _ in range(3):
        times.append(fault.luck.uniform(0.05, 1.2))
        child = fault.proceed("plain")
        if child.wait(times[-1]) is None:
            fault.injected()
            child.send(9)
        fault.end(child, status=(-9, 0))
    fault.outcome.place = "after " + ", ".join(f"{seconds:.2f} s" for seconds in times)
    fault.finish("plain")
    fault.compare(undisturbed)


@kind("kill in extend", weight=4)
def kill_extend(fault: Fault) -> None:
    """SIGKILL while a finished sweep gets one more trial per search; extend or resume must end in the same sweep."""
    options = ["--add-seeds", "1"]
    expected = fault.lab.changed("plain", "extend", *options)
    fault.copy(fault.lab.undisturbed("plain"))
    argv = ["extend", str(fault.sweep_dir), *options]
    _run_and_kill(fault, argv, "plain-extend")
    seeds = json.loads((fault.sweep_dir / "sweep.json").read_text(encoding="utf-8"))["study"]["confirm"]["seeds"]
    fault.run(argv if seeds == 1 else ["resume", str(fault.sweep_dir)])
    fault.compare(expected)


@kind("kill in evaluate", weight=4)
def kill_evaluate(fault: Fault) -> None:
    """SIGKILL while models are measured: no measurement is lost or doubled, and the same command continues."""
    options = ["--axes", "calibration"]
    expected = fault.lab.changed("plain", "evaluate", *options)
    fault.copy(fault.lab.undisturbed("plain"))
    _kill_then_repeat(fault, ["evaluate", str(fault.sweep_dir), *options], "plain-evaluate")
    fault.compare(expected)


@kind("kill in export", weight=3)
def kill_export(fault: Fault) -> None:
    """SIGKILL while tables are exported: the sweep is untouched, and the same command writes the same files."""
    expected = fault.lab.changed("plain", "export")
    fault.copy(fault.lab.undisturbed("plain"))
    _kill_then_repeat(fault, ["export", str(fault.sweep_dir)], "plain-export")
    fault.compare(expected)
    for path in (expected / "export").iterdir():
        other = fault.sweep_dir / "export" / path.name
        # times and the name of the folder differ between the two sweeps, but both are copies of one
        if not other.exists() or path.read_bytes() != other.read_bytes():
            fault.problem(f"export/{path.name} differs")


@kind("kill in report", weight=1, slow=True)
def kill_report(fault: Fault) -> None:
    """SIGKILL while a report is written: the sweep is untouched, no page is half written, no kernel is left."""
    fault.copy(fault.lab.undisturbed("plain"))
    argv = ["report", str(fault.sweep_dir)]
    wait_s = fault.luck.uniform(0.2, 8)
    child = fault.start(argv)
    kernels: set[int] = set()
    until_s = time.monotonic() + wait_s
    while time.monotonic() < until_s and child.wait(0.05) is None:
        kernels |= children_of(child.pid)
    fault.outcome.place = f"after {wait_s:.1f} s"
    fault.injected(child.wait(0) is None)
    child.send(9)
    fault.end(child, status=(-9, 0))
    page = fault.sweep_dir / "report" / "report.html"
    if page.exists() and "</html>" not in page.read_text(encoding="utf-8"):
        fault.problem("the page is half written")
    until_s = time.monotonic() + 20
    while alive := [pid for pid in kernels if Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > until_s:
            fault.problem(f"processes are left: {alive}")
            break
        time.sleep(0.2)
    fault.run(argv)
    fault.compare(fault.lab.undisturbed("plain"))


def children_of(pid: int) -> set[int]:
    """Return the processes that a process has started."""
    import psutil

    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    except psutil.Error:
        return set()


def _run_and_kill(fault: Fault, argv: Sequence[str], counted: str) -> None:
    """Run a command that is killed at a random operation on a file."""
    strike = FileStrike(str(fault.sweep_dir), fault.draw_call(counted, "files"), "SIGKILL", str(fault.marker()))
    child = fault.run(argv, strike, status=(-9, 0))
    fault.injected(child.status == -9)


def _kill_then_repeat(fault: Fault, argv: Sequence[str], counted: str) -> None:
    _run_and_kill(fault, argv, counted)
    fault.run(argv, Clock(TWO_HOURS_S, 0.0))  # what a killed writer left is removed when it is old
