"""Sweeps without Ray: simulated trials that report to a real conductor, which writes real records."""

from __future__ import annotations

import json
import math
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from search_spaces.check import check_study
from search_spaces.study import Study
from sweep import cli, event_lines, progress
from sweep.conductor import Conductor, Job
from sweep.ledger import EPOCH_COLUMNS, checkpoint_path
from sweep.losses import MAX_LOST_WORKERS, classify
from sweep.manifest import new_manifest, with_run
from sweep.records import table_files
from sweep.records.schema import ABOUT_COLUMNS
from sweep.records.writer import write_manifest
from sweep.terminal import progress as terminal_progress
from trainables.strict import parse

DOSE_COLUMNS = [name for name in ABOUT_COLUMNS if name.startswith("dose_")]
"""Columns of the dose, which a trial measures before its first epoch."""

Curve = Callable[[Job, int], Mapping[str, Any]]
"""Function from a job and an epoch to reported columns, or to ``failed``, ``unfit`` or ``out_of_memory``."""


def lose_worker(conductor: Conductor, trial: str, error: str = "killed") -> None:
    """Let a trial lose its worker once more than it may."""
    for _ in range(MAX_LOST_WORKERS + 1):
        conductor.on_loss(trial, classify(error))


def falling(job: Job, epoch: int) -> dict[str, Any]:
    """Return errors that fall to a floor; floor and noise depend on the trial's name only."""
    floor = random.Random(job.trial).uniform(0.1, 0.4)
    error = floor + 0.5 * math.exp(-epoch / 3) + random.Random(f"{job.trial} {epoch}").gauss(0, 0.01)
    return {"val_top1_error": error, "val_nll": 3 * error}


def report(job: Job, epoch: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole report of a trial after an epoch."""
    whole = {"trial": job.trial, "epoch": epoch, "train_loss": 1 / epoch, "val_top1_error": 0.5, "val_nll": 1.5}
    whole |= {"val_top5_error": 0.1, "val_ece": 0.05, "lr": 0.1, "effective_prob": 0.5, "pasted_frac": 0.25}
    whole |= {"seconds": 2.0, "images_per_s": 1e3, "n_train": 80, "n_val": 20}
    whole |= {"device": "cpu", "precision": "fp32", "step_kind": "eager", "threads": 1, "node": "here"}
    whole |= dict.fromkeys(DOSE_COLUMNS, 0.25)
    if job.test and epoch == job.config.optimizer.max_epochs:
        error = values.get("val_top1_error", 0.5)
        metrics = {"top1_error": error, "top5_error": error / 2, "nll": 3 * error, "ece": 0.05}
        whole["test"] = json.dumps({"metrics": metrics, "n": 50, "weights": "last", "library": "simulated 1"})
    return {**whole, **values}


class Simulation:
    """One session of a sweep: it takes jobs from a conductor, and each job in turn reports its next epoch.

    After every third report the buffered rows are written. An abandoned simulation behaves as a killed session:
    nothing continues, and the rows in the buffer are lost.
    """

    def __init__(
        self, study: Study, sweep_dir: Path, *, curve: Curve = falling, n_workers: int = 2, **options: Any
    ) -> None:
        sweep_dir.mkdir(parents=True, exist_ok=True)
        if not (sweep_dir / "sweep.json").exists():
            write_manifest(sweep_dir, with_run(new_manifest(study, sweep_dir, "simulated", {}), "simulated"))
        self.sweep_dir = sweep_dir
        self.conductor = Conductor(study, sweep_dir, **options)
        self.jobs: list[Job] = []
        self._curve = curve
        self._n_workers = n_workers
        self._running: deque[tuple[Job, int]] = deque()
        self._n_reports = 0

    def run(self, n_reports: int | None = None) -> Simulation:
        """Continue until all trials have ended, or for ``n_reports`` reports."""
        while n_reports is None or n_reports > 0:
            self._fill()
            if not self._running:
                self.conductor.flush(force=True)
                if self.conductor.begin_next_turn():
                    continue
                break
            job, epoch = self._running.popleft()
            checkpoint = checkpoint_path(self.sweep_dir, job.trial)
            checkpoint.parent.mkdir(exist_ok=True)
            checkpoint.write_text(str(epoch))
            row = self._report(job, epoch)
            if not self.conductor.on_report(job.trial, row):
                self._running.append((job, epoch + 1))
            self._n_reports += 1
            self.conductor.flush(force=self._n_reports % 3 == 0)
            n_reports = None if n_reports is None else n_reports - 1
        return self

    def _report(self, job: Job, epoch: int) -> dict[str, Any]:
        values = self._curve(job, min(epoch, job.last_epoch))
        if values.keys() & {"failed", "unfit", "out_of_memory"}:
            return {"trial": job.trial, **values}
        if epoch <= job.last_epoch:
            return report(job, epoch, values)
        facts = report(job, job.last_epoch, values)  # all epochs are recorded
        return {name: value for name, value in facts.items() if name not in EPOCH_COLUMNS}

    def _fill(self) -> None:
        while len(self._running) < self._n_workers:
            job = self.conductor.next_job()
            if job is None:
                return
            self.jobs.append(job)
            self._running.append((job, job.recorded_epochs + 1))


@pytest.fixture(scope="module")
def one_reader() -> Iterator[None]:
    """Read the parts of a table one after another: simulated sessions read them hundreds of times.

    On a busy machine the threads that read them wait for each other, for up to 40 times the time that they compute.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_files, "_map", lambda function, parts: [function(part) for part in parts])
        yield


@pytest.fixture(scope="session")
def simulate() -> type[Simulation]:
    """Return the class that begins a session of a sweep."""
    return Simulation


@pytest.fixture(scope="session")
def report_of() -> Callable[[Job, int, Mapping[str, Any]], dict[str, Any]]:
    """Return the function that completes a report from some of its columns."""
    return report


@pytest.fixture(scope="session")
def study_of() -> Callable[..., Study]:
    """Return the function that makes a small study of three arms, with changes."""

    def make(**changes: Any) -> Study:
        stopping = {"rule": "asha", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}
        values: dict[str, Any] = {
            "name": "small",
            "question": "Does it hold together?",
            "arms": {
                "off": {"mix": "off"},
                "cutout": {"mix": "cutout"},
                "cutmix": {
                    "mix": "cutmix",
                    "space": {"mix.apply.prob": {"kind": "uniform", "lo": 0.0, "hi": 1.0}},
                },
            },
            "space": {"optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 1.0}},
            "budget": {"trials": 4, "max_epochs": 5, "early_stopping": stopping},
        }
        study = parse(Study, values | changes, where="study 'small'")
        check_study(study)
        return study

    return make


class Clock:
    """Time that passes when it is told to."""

    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of what shows a running sweep."""
    clock = Clock()
    for module in (progress, event_lines, terminal_progress):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the program in this process, 80 columns wide; return exit status, output and messages."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sweep.terminal.display.PATIENCE_S", 1e6)  # a slow machine would be told what it waits for

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cutmix-sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run
