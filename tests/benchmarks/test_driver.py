"""Overhead of the driver with trials that do nothing: against Ray Tune alone, and late in a sweep against early."""

from __future__ import annotations

import itertools
import random
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from search_spaces.study import Study
from sweep.conductor import Conductor
from sweep.engine import run_trials
from sweep.progress import ProgressTracker
from sweep.terminal.display import TerminalDisplay
from sweep.terminal.live_table import draw_progress
from sweep.watch import Watch
from tests.slots import fixed_slots
from tests.sweep.conftest import DOSE_COLUMNS
from trainables.strict import parse

TRIALS = 2000
EPOCHS = 5
SLOTS = 2
ROUNDS = 2

REPORT = {
    **{"train_loss": 1.5, "val_top1_error": 0.5, "val_top5_error": 0.1, "val_nll": 1.5, "val_ece": 0.05, "lr": 0.1},
    **{"effective_prob": 0.5, "pasted_frac": 0.25, "seconds": 2.0, "images_per_s": 1e3, "n_train": 8000, "n_val": 2000},
    **{"device": "cpu", "precision": "fp32", "step_kind": "eager", "threads": 1, "node": "here"},
    **dict.fromkeys(DOSE_COLUMNS, 0.25),
}
"""Report of a trial, without its name and the epoch."""


PROMOTE = {"rule": "asha", "mode": "promote", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}


def study(n_trials: int, rule: dict[str, Any]) -> Study:
    values = {
        "name": "driver",
        "question": "What does a trial cost that does nothing?",
        "arms": {arm: {"mix": arm} for arm in ("off", "cutout", "mixup", "cutmix")},
        "space": {"optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 1.0}},
        "budget": {"trials": n_trials // 4, "max_epochs": EPOCHS, "early_stopping": rule},
    }
    return parse(Study, values, where="study 'driver'")


@pytest.mark.timeout(3600)
def test_driver_against_bare_tune(benchmark, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The same trainable, as many trials at once, reused actors; and the memory that a sweep takes."""
    ray = pytest.importorskip("ray")
    from ray import tune

    class Idle(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            self._trial, self._epoch = config["trial"], 0

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            self._epoch += 1
            return {"trial": self._trial, "epoch": self._epoch, **REPORT}

    def ours(n_trials: int) -> None:
        sweep_dir = Path(tempfile.mkdtemp(dir=tmp_path))
        conductor = Conductor(study(n_trials, {"rule": "none"}), sweep_dir)
        run_trials(
            sweep_dir, conductor, slots=fixed_slots(SLOTS), display=TerminalDisplay(Console(quiet=True)), trainable=Idle
        )
        assert not conductor.n_left

    def theirs(n_trials: int) -> None:
        tune.run(
            Idle,
            config={"trial": "idle"},
            stop={"epoch": EPOCHS},
            num_samples=n_trials,
            max_concurrent_trials=SLOTS,
            resources_per_trial={"cpu": 1},
            reuse_actors=True,
            storage_path=tempfile.mkdtemp(dir=tmp_path),
            verbose=0,
        )

    ratios, grown_gb = [], []

    def one_round() -> None:
        """Ours first: memory that Tune alone has freed would hide the memory that ours takes."""
        before_gb = _memory_gb()
        ours_s = _timed(lambda: ours(TRIALS))
        grown_gb.append(_memory_gb() - before_gb)
        ratios.append(ours_s / _timed(lambda: theirs(TRIALS)))

    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
    try:
        ours(20)  # warm up, and give both the same settings of Tune
        benchmark.pedantic(one_round, rounds=ROUNDS)
    finally:
        ray.shutdown()
    ratio, most_gb = statistics.median(ratios), max(grown_gb)
    benchmark.extra_info.update(ratio=ratio, lowest=min(ratios), highest=max(ratios), rounds=ROUNDS, grown_gb=most_gb)
    with capsys.disabled():
        span = f"{min(ratios):.2f} to {max(ratios):.2f} in {ROUNDS} rounds"
        print(f"\n{TRIALS} idle trials against bare Tune: {ratio:.2f}x ({span}), {most_gb:.2f} GB more memory")
    assert ratio <= 1.5
    assert most_gb <= 0.5


N_FLAT = 4000
"""Trials of the sweep whose first and last fifth are compared."""


@pytest.mark.parametrize("rule", [{"rule": "none"}, PROMOTE], ids=["no rule", "promoting ASHA"])
def test_cost_per_trial_is_flat(  # type: ignore[no-untyped-def]
    benchmark, capsys: pytest.CaptureFixture[str], tmp_path: Path, rule: dict[str, Any]
) -> None:
    """Time of the process, without Ray: the conductor, the records, the watch and one drawing per 20 reports."""
    fifths_s: list[float] = []

    def one_round() -> None:
        fifths_s[:] = _fifths_s(study(N_FLAT, rule), Path(tempfile.mkdtemp(dir=tmp_path)))

    benchmark.pedantic(one_round, rounds=1)
    ratio = fifths_s[-1] / fifths_s[0]
    per_trial_ms = [1e3 * seconds / (N_FLAT / 5) for seconds in fifths_s]
    benchmark.extra_info.update(ratio=ratio, per_trial_ms=per_trial_ms)
    with capsys.disabled():
        print(f"\n{N_FLAT} idle trials: {per_trial_ms[0]:.2f} ms per trial in the first fifth, last {ratio:.2f}x")
    assert ratio <= 1.5


def _fifths_s(study: Study, sweep_dir: Path, n_workers: int = 64) -> list[float]:
    """Run a sweep without Ray; return the CPU time of each fifth of its trials, by the order of their starts."""
    conductor = Conductor(study, sweep_dir)
    watch, tracker, luck = Watch(conductor, sweep_dir), ProgressTracker(conductor), random.Random(0)
    running: deque[tuple[str, int]] = deque()
    n_trials, n_reports, times_s = conductor.n_trials, 0, [time.process_time()]
    while True:
        while len(running) < n_workers and (job := conductor.next_job()):
            watch.on_start(job.trial)
            running.append((job.trial, job.recorded_epochs + 1))
        if not running:
            break
        trial, epoch = running.popleft()
        report = {"trial": trial, "epoch": epoch, **REPORT, "val_nll": luck.random()}
        if not conductor.on_report(trial, report):
            running.append((trial, epoch + 1))
        watch.on_report(trial)
        watch.is_over()
        n_reports += 1
        if n_reports % 20 == 0:
            draw_progress(tracker.snapshot(), width=120, height=40, blocks=True)
        if len(conductor.entries) >= len(times_s) * n_trials / 5:
            times_s.append(time.process_time())
    times_s[5:] = [time.process_time()]
    return [after - before for before, after in itertools.pairwise(times_s)]


def _timed(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def _memory_gb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e9
