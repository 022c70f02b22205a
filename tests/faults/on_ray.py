"""Kinds of faults on a real Ray with two slots: lost and stopped workers, lost parts of Ray, killed drivers."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tests.faults.kinds import Fault, kind
from tests.faults.ray_runs import RayRun
from tests.faults.small_disk import SmallDisk, with_own_mounts
from tests.faults.strikes import Strike, to_environment
from tests.faults.sweeps import TARGETS

SILENT_MIN = 0.1
"""Minutes after which a trial that reports nothing is restarted, in the sweep with a stopped worker."""

MEMORY = 6 << 30
"""Bytes that the sweep may take before Ray kills a worker: a Ray with two workers takes half of it."""


def start(fault: Fault, study: str, *options: str, environment: Mapping[str, str] | None = None) -> RayRun:
    """Begin or resume a sweep on Ray."""
    argv = fault.command(study)
    return RayRun([*argv, *options], fault.folder / f"{fault.marker().name}.log", environment=environment)


def end(fault: Fault, run: RayRun, *, statuses: Sequence[int] | None = (0,)) -> None:
    """Wait for the end of a command; check its exit code, what it printed and that no process is left."""
    if not run.wait():
        fault.problem(f"{run.argv[0]} hangs", run)
        run.kill()
        statuses = None
    fault.check(run, status=statuses)
    if left := run.left():
        fault.problem(f"processes are left: {left}")


def n_epochs(sweep_dir: Path) -> int:
    """Return the number of recorded epochs; 0 before there are any."""
    from sweep.records.errors import RecordsError
    from sweep.records.reader import read_table
    from sweep.records.schema import EPOCHS

    try:
        return len(read_table(sweep_dir, EPOCHS))
    except (RecordsError, OSError):
        return 0


def strike_worker(fault: Fault, where: str, action: str, *options: str, **variables: str) -> None:
    """Let a worker strike itself at a call of a function: the sweep must end without help, in the same numbers."""
    undisturbed = fault.lab.undisturbed("plain")
    marker = fault.marker()
    # each worker counts its own calls: a trial has 2 epochs of 3 steps
    call = 1 if where == "test" else fault.luck.randint(1, 12 if where == "training" else 4)
    fault.outcome.place = f"{where}, call {call} of a worker"
    environment = {**to_environment(Strike(TARGETS[where], call, action, str(marker))), **variables}
    run = start(fault, "plain", *options, environment=environment)
    end(fault, run)
    fault.injected(marker.exists())
    fault.compare(undisturbed, same_study=not options)


@kind("worker killed in training", ray=True, slow=True)
def worker_training(fault: Fault) -> None:
    """SIGKILL of a worker at a training step: the trial continues from its last epoch on another worker."""
    strike_worker(fault, "training", "SIGKILL")


@kind("worker killed in validation", ray=True, slow=True)
def worker_validation(fault: Fault) -> None:
    """SIGKILL of a worker while it measures a trial on the validation images."""
    strike_worker(fault, "validation", "SIGKILL")


@kind("worker killed in its test measurement", ray=True, slow=True)
def worker_test(fault: Fault) -> None:
    """SIGKILL of a worker while it measures a confirmation trial on the test images."""
    strike_worker(fault, "test", "SIGKILL")


@kind("worker stopped", ray=True, slow=True)
def worker_stopped(fault: Fault) -> None:
    """SIGSTOP of a worker at a training step: the trial is restarted after the limit of silence, and it is said."""
    setting = f"budget.limits.silent_min={SILENT_MIN}"
    strike_worker(fault, "training", "SIGSTOP", "--set", setting)


@kind("worker out of memory", ray=True, slow=True)
def worker_memory(fault: Fault) -> None:
    """A worker takes memory until Ray kills it: the trial continues on another worker."""
    memory = psutil.virtual_memory()
    threshold = min(0.95, (memory.total - memory.available + MEMORY) / memory.total)
    variables = {"RAY_memory_usage_threshold": f"{threshold:.3f}", "RAY_memory_monitor_refresh_ms": "50"}
    strike_worker(fault, "training", "memory", **variables)


def lose(fault: Fault, lose_something: Callable[[RayRun], None], **variables: str) -> None:
    """Take something from a sweep after its first epochs: it ends in bounded time, anyhow, and resumes."""
    undisturbed = fault.lab.undisturbed("plain")
    run = start(fault, "plain", environment=variables)
    goal = fault.luck.randint(1, 6)
    run.wait(until=lambda: n_epochs(fault.sweep_dir) >= goal)
    fault.outcome.place = f"after {goal} epochs"
    fault.injected(run.status is None)
    if run.status is None:
        lose_something(run)
    end(fault, run, statuses=None)
    end(fault, start(fault, "plain"))
    fault.compare(undisturbed)


def _kill_part(name: str) -> Callable[[RayRun], None]:
    def kill(run: RayRun) -> None:
        process = run.part(name)
        if process is None:
            raise AssertionError(f"no process is called {name}")
        process.kill()

    return kill


@kind("raylet killed", ray=True)
def raylet(fault: Fault) -> None:
    """SIGKILL of Ray's raylet: the command ends, and the sweep resumes."""
    lose(fault, _kill_part("raylet"))


@kind("gcs_server killed", ray=True, slow=True)
def gcs_server(fault: Fault) -> None:
    """SIGKILL of Ray's gcs_server: the command ends, and the sweep resumes."""
    lose(fault, _kill_part("gcs_server"))


@kind("full /dev/shm", ray=True, slow=True)
def shared_memory(fault: Fault) -> None:
    """Shared memory fills while the sweep runs: the command ends, and the sweep resumes."""

    def body() -> None:
        disk = SmallDisk(Path("/dev/shm"), size="50%")
        lose(fault, lambda run: fill(disk))

    with_own_mounts(fault, body)


@kind("full folder of Ray", ray=True, slow=True)
def ray_folder(fault: Fault) -> None:
    """The disk with Ray's temporary folder fills while the sweep runs: the command ends, and the sweep resumes."""

    def body() -> None:
        with tempfile.TemporaryDirectory(prefix="c-", dir="/tmp", ignore_cleanup_errors=True) as folder:
            disk = SmallDisk(Path(folder), size="256m")
            lose(fault, lambda run: fill(disk), RAY_TMPDIR=folder)

    with_own_mounts(fault, body)


def fill(disk: SmallDisk) -> None:
    """Leave no room on a disk."""
    block = bytes(1 << 16)
    try:
        with (disk.folder / "full").open("wb", buffering=0) as file:
            while file.write(block):
                pass
    except OSError:
        return


def kill_drivers(fault: Fault, study: str) -> None:
    """Kill the driver twice while two trials run; all that was recorded stays, and the curves are the same.

    With two slots, a rule of early stopping may judge trials in another order than the undisturbed sweep. So decisions
    are compared with those before the kill, and curves as far as both sweeps have them.
    """
    undisturbed = fault.lab.undisturbed(study)
    before: list[dict[str, object]] = []
    places = []
    for _ in range(2):
        run = start(fault, study)
        goal = n_epochs(fault.sweep_dir) + fault.luck.randint(1, 5)
        run.wait(until=lambda goal=goal: n_epochs(fault.sweep_dir) >= goal)  # type: ignore[misc]
        time.sleep(fault.luck.uniform(0, 0.5))
        if run.has_ended():
            end(fault, run)
            break
        run.send(signal.SIGKILL)
        end(fault, run, statuses=(-9,))
        fault.injected()
        before = decisions(fault.sweep_dir)
        places.append(f"{n_epochs(fault.sweep_dir)} epochs")
    fault.outcome.place = "after " + " and ".join(places)
    end(fault, start(fault, study))
    if decisions(fault.sweep_dir)[: len(before)] != before:
        fault.problem("recorded decisions have changed")
    fault.compare(undisturbed, curves_only=study != "plain")


def decisions(sweep_dir: Path) -> list[dict[str, object]]:
    """Return the recorded decisions."""
    from sweep.records.reader import read_table
    from sweep.records.schema import DECISIONS

    rows = read_table(sweep_dir, DECISIONS).astype(object)
    return [dict(row) for row in rows.where(rows.notna(), None).to_dict("records")]


@kind("driver killed, two slots", ray=True, slow=True)
def driver_plain(fault: Fault) -> None:
    """SIGKILL of the driver while two trials run: Ray ends, and the sweep resumes in the same numbers."""
    kill_drivers(fault, "plain")


@kind("driver killed, control cohort", ray=True, slow=True)
def driver_asha(fault: Fault) -> None:
    """SIGKILL of the driver with ASHA and trials that no rule may stop: recorded decisions stand."""
    kill_drivers(fault, "asha")


@kind("driver killed, promotion", ray=True, slow=True)
def driver_promotion(fault: Fault) -> None:
    """SIGKILL of the driver with trials that pause and are promoted: recorded decisions stand."""
    kill_drivers(fault, "promotion")


@kind("driver killed, Hyperband", ray=True, slow=True)
def driver_hyperband(fault: Fault) -> None:
    """SIGKILL of the driver with several brackets: recorded decisions stand."""
    kill_drivers(fault, "hyperband")
