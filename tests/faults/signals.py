"""Kinds of faults: signals that end or stop a driver, and several drivers at once."""

from __future__ import annotations

import signal
import time

from tests.faults import one_slot
from tests.faults.kinds import Fault, kind
from tests.faults.strikes import Environment, Strike
from tests.faults.sweeps import TARGETS

PLACES = ("decoding", "training", "validation", "test", "report", "flush")


def end_by(fault: Fault, action: str, status: int) -> None:
    """End a sweep by a signal at a random place: it ends in order with its exit code, and resumes."""
    undisturbed = fault.lab.undisturbed("plain")
    where = fault.luck.choice(PLACES)
    call = fault.draw_call("plain", where)
    hooks = [Environment("CUTMIX_SWEEP_CACHE", str(fault.folder / "cache"))] if where == "decoding" else []
    strike = Strike(TARGETS[where], call, action, str(fault.marker()))
    child = fault.end(fault.proceed("plain", *hooks, strike), status=(status, 0))
    fault.injected(child.status == status)
    lines = [line for line in child.output.splitlines() if line.startswith("interrupted")]
    if child.status == status and len(lines) != 1 and action != "Ctrl-C twice":
        fault.problem(f"{len(lines)} lines say how the sweep was interrupted", child)
    fault.finish("plain", *hooks)
    fault.compare(undisturbed)


@kind("SIGTERM", weight=6)
def sigterm(fault: Fault) -> None:
    """SIGTERM, as at the time limit of a batch system: exit code 143, and one line that says how to resume."""
    end_by(fault, "SIGTERM", 143)


@kind("SIGINT", weight=6)
def sigint(fault: Fault) -> None:
    """Ctrl-C: exit code 130, and one line that says how to resume."""
    end_by(fault, "SIGINT", 130)


@kind("SIGHUP", weight=4)
def sighup(fault: Fault) -> None:
    """SIGHUP, as when a terminal closes: exit code 129, and one line that says how to resume."""
    end_by(fault, "SIGHUP", 129)


@kind("second Ctrl-C", weight=4)
def second_interrupt(fault: Fault) -> None:
    """Ctrl-C, and once more while the epoch still runs: the command ends at once, and nothing is lost."""
    end_by(fault, "Ctrl-C twice", 130)


@kind("stopped and continued", weight=5)
def stopped(fault: Fault) -> None:
    """SIGSTOP of the driver, then SIGCONT: meanwhile status answers, and no second driver begins."""
    undisturbed = fault.lab.undisturbed("plain")
    call = fault.draw_call("plain", "training")
    child = fault.proceed("plain", Strike(TARGETS["training"], call, "SIGSTOP", str(fault.marker())))
    until_s = time.monotonic() + one_slot.PATIENCE_S
    while not child.is_stopped() and child.wait(0) is None and time.monotonic() < until_s:
        time.sleep(0.01)
    if child.is_stopped():
        fault.injected()
        fault.run(["status", str(fault.sweep_dir)])
        fault.refuse(["resume", str(fault.sweep_dir)], "in use")
        child.send(signal.SIGCONT)
    fault.end(child)
    fault.compare(undisturbed)


@kind("two resumes at once", weight=5)
def two_resumes(fault: Fault) -> None:
    """Two resumptions of one interrupted sweep at once: one is refused or finds nothing to do, and nothing doubles."""
    undisturbed = fault.lab.undisturbed("plain")
    fault.copy(fault.lab.interrupted("plain", fault.luck.choice([2, 4, 7])))
    argv = ["resume", str(fault.sweep_dir)]
    first = fault.start(argv)
    pause_s = fault.luck.choice([0.0, fault.luck.uniform(0, 0.6)])
    time.sleep(pause_s)
    second = fault.start(argv)
    fault.outcome.place = f"{1e3 * pause_s:.0f} ms apart"
    statuses = sorted(fault.end(child, status=(0, 2)).status or 0 for child in (first, second))
    fault.injected()
    if statuses == [2, 2]:
        fault.problem("both resumptions were refused")
    fault.finish("plain")
    fault.compare(undisturbed)


@kind("three runs on one empty cache", weight=2, slow=True)
def three_runs(fault: Fault) -> None:
    """Three runs at once that share an empty image cache, one of them killed: all decode right."""
    undisturbed = fault.lab.undisturbed("plain")
    cache = Environment("CUTMIX_SWEEP_CACHE", str(fault.folder / "cache"))
    call = fault.draw_call("plain", "decoding")
    strike = Strike(TARGETS["decoding"], call, "SIGKILL", str(fault.marker()))
    folders = [fault.folder / name for name in ("one", "two", "three")]
    children = [fault.start(fault.lab.run_command("plain", folder), cache, strike) for folder in folders]
    for child, folder in zip(children, folders, strict=True):
        if fault.end(child, status=(-9, 0)).status == -9:
            fault.injected()
            fault.run(fault.lab.run_command("plain", folder), cache)
        fault.compare(undisturbed, sweep_dir=folder)


@kind("status while it runs", weight=2)
def readers(fault: Fault) -> None:
    """Readers at any instant of a sweep that is then killed: they see whole records, and disturb nothing."""
    undisturbed = fault.lab.undisturbed("plain")
    child = fault.proceed("plain")
    wait_s = fault.luck.uniform(0.5, 2)
    until_s = time.monotonic() + wait_s
    while time.monotonic() < until_s and child.wait(0.02) is None:
        if fault.begun:
            verb = fault.luck.choice(["status", "trials", "export"])
            to = ["--to", str(fault.folder / "tables")] if verb == "export" else []
            fault.run([verb, str(fault.sweep_dir), *to])
    fault.outcome.place = f"killed after {wait_s:.2f} s"
    fault.injected(child.wait(0) is None)
    child.send(9)
    fault.end(child, status=(-9, 0))
    fault.finish("plain")
    fault.compare(undisturbed)
