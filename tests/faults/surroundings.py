"""Kinds of faults: what surrounds a sweep: disk, memory, open files, clock, host, folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec

from tests.faults.kinds import Fault, kind
from tests.faults.small_disk import SmallDisk, with_own_mounts
from tests.faults.strikes import Clock, Environment, FileStrike, Limit, Setting, Strike
from tests.faults.sweeps import TARGETS

EXPIRY_S = 2.0
"""Time without a heartbeat after which another host may take a sweep over, instead of half a minute."""

PLENTY = "64m"
"""Size of a disk that has room again."""


def on_small_disk(fault: Fault, place: str, **options: str | int) -> None:
    """Run a sweep on a disk that fills, until it is refused; give it room, resume it and compare."""
    undisturbed = fault.lab.undisturbed("plain")
    fault.outcome.place = place

    def body() -> None:
        disk = SmallDisk(fault.sweep_dir, **options)
        child = fault.end(fault.proceed("plain"), status=(0, 2))
        fault.injected(child.status == 2)
        disk.remount(size=PLENTY, nr_inodes=10_000)
        fault.finish("plain")
        fault.compare(undisturbed)

    with_own_mounts(fault, body)


@kind("full disk", weight=10)
def full_disk(fault: Fault) -> None:
    """The disk of the sweep is full: exit code 2; after there is room again, ``resume`` ends in the same numbers."""
    size_kb = fault.luck.randint(10, 120) * 4
    on_small_disk(fault, f"{size_kb} kB", size=f"{size_kb}k")


@kind("no inodes", weight=5)
def no_inodes(fault: Fault) -> None:
    """The disk of the sweep has no inode left: as a full disk."""
    count = fault.luck.randint(4, 45)
    on_small_disk(fault, f"{count} inodes", size=PLENTY, nr_inodes=count)


@kind("read-only disk", weight=5)
def read_only(fault: Fault) -> None:
    """From some operation on, no file of the sweep can be written or removed: exit code 2, and it resumes later."""
    fail_at(fault, "EROFS", lasting=True)


@kind("full disk of the image cache", weight=4)
def full_cache(fault: Fault) -> None:
    """The disk of the image cache is full: exit code 2 names it; later the same command runs."""
    undisturbed, size_kb = fault.lab.undisturbed("plain"), fault.luck.randint(1, 9) * 4
    fault.outcome.place = f"{size_kb} kB"

    def body() -> None:
        disk = SmallDisk(fault.folder / "cache", size=f"{size_kb}k")
        cache = Environment("CUTMIX_SWEEP_CACHE", str(disk.folder))
        child = fault.end(fault.proceed("plain", cache), status=(0, 2))
        fault.injected(child.status == 2)
        if child.status == 2 and str(disk.folder) not in child.output:
            fault.problem("the message does not name the image cache", child)
        disk.remount(size=PLENTY)
        fault.finish("plain", cache)
        fault.compare(undisturbed)

    with_own_mounts(fault, body)


@kind("full temporary folder", weight=2, slow=True)
def full_temporary(fault: Fault) -> None:
    """The temporary folder is full: the sweep runs, or is refused in one line and runs later."""
    undisturbed = fault.lab.undisturbed("plain")

    def body() -> None:
        disk = SmallDisk(fault.folder / "tmp", size="4k")
        (disk.folder / "full").write_bytes(bytes(4096))
        child = fault.end(fault.proceed("plain", Environment("TMPDIR", str(disk.folder))), status=(0, 2))
        fault.outcome.place = f"exit code {child.status}"
        fault.injected()
        fault.finish("plain")
        fault.compare(undisturbed)

    with_own_mounts(fault, body)


@kind("error of a file operation", weight=10)
def file_error(fault: Fault) -> None:
    """One operation on a file fails: no space, or quota exceeded. Exit code 2, and it resumes."""
    fail_at(fault, fault.luck.choice(["ENOSPC", "EDQUOT"]), lasting=False)


def fail_at(fault: Fault, error: str, *, lasting: bool) -> None:
    """Let an operation on a file fail, or all from it on; then resume and compare."""
    undisturbed = fault.lab.undisturbed("plain")
    call, marker = fault.draw_call("plain", "files"), fault.marker()
    fault.outcome.place = f"{error}, {fault.outcome.place}"
    strike = FileStrike(str(fault.sweep_dir), call, error, str(marker), lasting=lasting)
    fault.end(fault.proceed("plain", strike), status=(0, 2))
    fault.injected(marker.exists())
    fault.finish("plain")
    fault.compare(undisturbed)


@kind("out of memory in a trial", weight=4)
def out_of_memory(fault: Fault) -> None:
    """A trial allocates more than the process may have: the trial fails, and ``--retry-failed`` repeats it."""
    fault.lab.undisturbed("plain")  # which counts the calls
    call = fault.draw_call("plain", "training")
    strike = Strike(TARGETS["training"], call, "memory", str(fault.marker()))
    limited(fault, Limit("RLIMIT_AS", 400 << 20), strike, status=(1,))


@kind("little memory", weight=4)
def little_memory(fault: Fault) -> None:
    """The process may have only some MB more than it has at its start: it ends anyhow, and resumes."""
    more = fault.luck.randint(1, 80)
    fault.outcome.place = f"{more} MB more"
    limited(fault, Limit("RLIMIT_AS", more << 20), status=None)


@kind("no open files left", weight=4)
def descriptors(fault: Fault) -> None:
    """The process may open only a few files more: it ends anyhow, and resumes."""
    more = fault.luck.randint(1, 8)
    fault.outcome.place = f"{more} more files"
    limited(fault, Limit("RLIMIT_NOFILE", more), status=None)


def limited(fault: Fault, *hooks: Callable[[], object], status: tuple[int, ...] | None) -> None:
    """Run a sweep with a limit of the process, resume it without the limit and compare."""
    undisturbed = fault.lab.undisturbed("plain")
    child = fault.end(fault.proceed("plain", *hooks), status=status, may_trace=True)
    fault.injected(child.status != 0)
    fault.finish("plain", options=["--retry-failed"] if fault.begun else [])
    fault.compare(undisturbed)


@kind("clock set back or forward", weight=5)
def clock(fault: Fault) -> None:
    """The clock jumps while the sweep runs, which is then killed and resumed with the right clock."""
    undisturbed = fault.lab.undisturbed("plain")
    shift_s = fault.luck.choice([-86_400.0, -3_600.0, -10.0, 60.0, 7_200.0, 3.2e7])
    wait_s, kill_s = fault.luck.uniform(0, 1.5), fault.luck.uniform(0.5, 3)
    fault.outcome.place = f"{shift_s:+.0f} s after {wait_s:.2f} s"
    child = fault.proceed("plain", Clock(shift_s, wait_s))
    if child.wait(kill_s) is None:
        child.send(9)
    fault.end(child, status=(-9, 0))
    fault.injected()
    fault.finish("plain", *([Clock(shift_s, 0.0)] if fault.luck.random() < 0.5 else []))
    fault.compare(undisturbed)


@kind("another host name", weight=3)
def host(fault: Fault) -> None:
    """The sweep is killed, and resumed on a machine of another name that sees the same folder."""
    fault.copy(fault.lab.interrupted("plain", fault.luck.choice([2, 4, 7, 12])))
    fault.outcome.place = "between run and resume"
    fault.injected()
    hooks: list[Callable[[], object]] = [Setting("socket:gethostname", lambda: "another-host")]
    if find_spec("sweep.driver") is not None:
        hooks.append(Setting("sweep.driver:EXPIRY_S", EXPIRY_S))
    fault.finish("plain", *hooks)
    fault.compare(fault.lab.undisturbed("plain"))


@kind("folder deleted", weight=4, slow=True)
def folder_deleted(fault: Fault) -> None:
    """The folder of the sweep is deleted while it runs: one line says so, and the folder is not made again."""
    child = fault.proceed("plain")
    wait_s = fault.luck.uniform(0.4, 1.6)
    child.wait(wait_s)
    moved = fault.folder / "gone"
    if not fault.begun or child.wait(0) is not None:
        fault.end(child)
        return
    fault.sweep_dir.rename(moved)  # at one instant; then it is gone
    shutil.rmtree(moved)
    fault.injected()
    fault.outcome.place = f"after {wait_s:.2f} s"
    fault.end(child, status=(1, 2))
    if fault.sweep_dir.exists():
        fault.problem(f"the folder was made again: {[path.name for path in fault.sweep_dir.rglob('*')][:5]}")


@kind("folder moved", weight=3, slow=True)
def folder_moved(fault: Fault) -> None:
    """The folder of an interrupted sweep is moved: it resumes at its new place."""
    fault.copy(fault.lab.interrupted("plain", fault.luck.choice([4, 12])))
    place = fault.folder / "elsewhere" / fault.luck.choice(["sweep", "my sweep", "a[bold]b", "ü"])
    place.parent.mkdir()
    fault.sweep_dir.rename(place)
    fault.outcome.place = place.name
    fault.injected()
    fault.run(["resume", str(place)])
    fault.run(["status", str(place)])
    place.rename(fault.sweep_dir)
    fault.compare(fault.lab.undisturbed("plain"))
