"""Runs one sweep on a real Ray for long, kills workers at random, and measures what grows.

``python -m tests.faults.soak --minutes 60``: two slots, many short trials. Every 30 s it counts memory, files,
processes and shared memory, and at the end it prints the slope of each per hour with a 95 % interval.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tests.faults.ray_runs import RayRun
from tests.faults.sweeps import study_values, write_images
from trainables.whole_file import UNFINISHED

WARM_UP = 0.2
"""Fraction of the samples that no slope uses: caches and pools fill at first."""

MIB = 1 << 20

LIMIT_CODE = 3
"""Exit code of a sweep that has used up its wall clock."""


@dataclass(frozen=True)
class Sample:
    """What one instant of the sweep uses.

    Attributes:
        minutes: time since the start.
        driver_mib: resident memory of the driver.
        ray_mib: resident memory of all processes of Ray, workers included; shared pages count in each.
        processes: number of processes below the driver.
        sweep_files: files in the folder of the sweep without the models, of which each completed trial has one.
        ray_files: files in Ray's folder.
        ray_folder_mib: bytes of these files.
        shm_mib: bytes used in /dev/shm.
        epochs: recorded epochs, which say that the sweep goes on.
        kills: workers that were killed so far.
    """

    minutes: float
    driver_mib: float
    ray_mib: float
    processes: int
    sweep_files: int
    ray_files: int
    ray_folder_mib: float
    shm_mib: float
    epochs: int
    kills: int


MEASURED = ("driver_mib", "ray_mib", "processes", "sweep_files", "ray_files", "ray_folder_mib", "shm_mib", "epochs")


class Soak:
    """One long sweep.

    Attributes:
        samples: what was measured, in the order of time.
        status: exit status of the command.
        problems: one sentence per thing that does not hold.
        n_unfinished: half-written files of killed workers, which the next ``resume`` removes.
    """

    def __init__(self, work: Path, minutes: float, every_s: float, kill_every_s: float, luck: random.Random) -> None:
        """Prepare a sweep of some minutes in an empty folder with a short path."""
        self.samples: list[Sample] = []
        self.problems: list[str] = []
        self.status: int | None = None
        self.n_unfinished = 0
        self._work, self._minutes, self._every_s, self._kill_every_s = work, minutes, every_s, kill_every_s
        self._luck = luck
        self._kills = 0

    def run(self) -> None:
        """Run the sweep to its limit; measure it and kill workers meanwhile."""
        import yaml

        images, study, ray = write_images(self._work / "images"), self._work / "soak.yaml", self._work / "r"
        limits = {"wall_clock_h": self._minutes / 60}
        source = f"imagefolder:{images}"
        values = study_values("plain", source, budget__trials=5_000, confirm=None, budget__limits=limits)
        study.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        ray.mkdir()
        environment = {"RAY_TMPDIR": str(ray), "CUTMIX_SWEEP_CACHE": str(self._work / "cache")}
        argv = ["run", str(study), "--out", str(self._work / "sweep")]
        run = RayRun(argv, self._work / "log", environment=environment)
        try:
            self._watch(run)
        finally:
            if not run.has_ended():
                run.kill()
        self.status = run.status
        if run.status != LIMIT_CODE:
            self.problems.append(f"exit code {run.status} instead of {LIMIT_CODE}: {run.output[-300:]}")
        if left := run.left():
            self.problems.append(f"processes are left: {left}")
        self.n_unfinished = len(list((self._work / "sweep").rglob(f"*{UNFINISHED}")))

    def _watch(self, run: RayRun) -> None:
        began_s = time.monotonic()
        kill_at_s, sample_at_s = began_s + self._kill_every_s, began_s + self._every_s
        while not run.has_ended():
            now_s = time.monotonic()
            if now_s - began_s > 60 * self._minutes + 180:
                self.problems.append("the sweep does not end at its limit")
                return
            if now_s >= kill_at_s and (workers := run.workers()):
                self._luck.choice(workers).send_signal(signal.SIGKILL)
                self._kills += 1
                kill_at_s = now_s + self._luck.expovariate(1 / self._kill_every_s)
            if now_s >= sample_at_s and now_s - began_s < 60 * self._minutes:  # then the sweep ends
                sample = measure(run, self._work, (now_s - began_s) / 60, self._kills)
                self.samples.append(sample)
                print(json.dumps({name: round(value, 2) for name, value in asdict(sample).items()}), flush=True)
                sample_at_s = now_s + self._every_s
            run.wait(0.5)


def measure(run: RayRun, work: Path, minutes: float, kills: int) -> Sample:
    """Return what the sweep uses now."""
    from tests.faults.on_ray import n_epochs

    processes = run.processes()
    sweep_files, _ = _size(work / "sweep", without="models")
    ray_files, ray_bytes = _size(work / "r")
    shm = os.statvfs("/dev/shm")
    return Sample(
        minutes=minutes,
        driver_mib=_rss(psutil.Process(run.pid)) / MIB,
        ray_mib=sum(map(_rss, processes)) / MIB,
        processes=len(processes),
        sweep_files=sweep_files,
        ray_files=ray_files,
        ray_folder_mib=ray_bytes / MIB,
        shm_mib=(shm.f_blocks - shm.f_bfree) * shm.f_frsize / MIB,
        epochs=n_epochs(work / "sweep"),
        kills=kills,
    )


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _size(folder: Path, *, without: str = "") -> tuple[int, int]:
    """Return the number of files below a folder, and their bytes."""
    count = size = 0
    for parent, folders, names in os.walk(folder):
        if without in folders:
            folders.remove(without)
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(Path(parent) / name).st_size
                count += 1
    return count, size


def slopes(samples: Sequence[Sample]) -> dict[str, tuple[float, float, float]]:
    """Return the slope per hour of each quantity after the warm-up, with its 95 % interval.

    It is a least-squares line; the interval takes the residuals as independent.

    Examples:
        >>> line = [Sample(60 * hour, 100 + 2 * hour, 5, 1, 1, 1, 1, 1, 1, 0) for hour in range(10)]
        >>> slope, lowest, highest = slopes(line)["driver_mib"]
        >>> round(slope, 6), round(highest - lowest, 6)
        (2.0, 0.0)
    """
    from scipy import stats

    used = samples[int(WARM_UP * len(samples)) :]
    if len(used) < 3:
        return {}
    hours = [sample.minutes / 60 for sample in used]
    result = {}
    for name in MEASURED:
        line = stats.linregress(hours, [float(getattr(sample, name)) for sample in used])
        half = float(stats.t.ppf(0.975, len(used) - 2)) * line.stderr
        result[name] = (float(line.slope), float(line.slope - half), float(line.slope + half))
    return result


def table(samples: Sequence[Sample], lines: Mapping[str, tuple[float, float, float]]) -> str:
    """Return the quantities at the beginning and at the end, and their slopes, as a Markdown table."""
    used = samples[int(WARM_UP * len(samples)) :]
    rows = [
        "| quantity | after the warm-up | at the end | slope per hour | 95 % interval |",
        "| --- | --: | --: | --: | --: |",
    ]
    for name, (slope, lowest, highest) in lines.items():
        ends = f"{getattr(used[0], name):.1f} | {getattr(used[-1], name):.1f}"
        rows.append(f"| {name} | {ends} | {slope:+.2f} | {lowest:+.2f} to {highest:+.2f} |")
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 1 if the sweep did not end by its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="length (default: 60)")
    parser.add_argument("--every", type=float, default=30, help="seconds between two samples (default: 30)")
    parser.add_argument("--kill-every", type=float, default=45, help="mean seconds between two kills (default: 45)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the kills (default: 1)")
    parser.add_argument("--json", type=Path, help="file to write the samples to")
    given = parser.parse_args(argv)
    work = Path(tempfile.mkdtemp(prefix="s-", dir="/tmp"))  # short: Ray makes sockets below it
    run = Soak(work, given.minutes, given.every, given.kill_every, random.Random(given.seed))
    run.run()
    lines = slopes(run.samples)
    print(table(run.samples, lines))
    last = run.samples[-1]
    print(
        f"{last.minutes:.0f} min, {last.epochs} epochs, {last.kills} workers killed, {run.n_unfinished} half-written "
        f"files, exit code {run.status}"
    )
    if given.json is not None:
        rows = [asdict(sample) for sample in run.samples]
        given.json.write_text(json.dumps({"samples": rows, "slopes": lines}, indent=1) + "\n", encoding="utf-8")
    if not run.problems:
        shutil.rmtree(work, ignore_errors=True)
    print("\n".join(run.problems))
    return int(bool(run.problems))


if __name__ == "__main__":
    sys.exit(main())
