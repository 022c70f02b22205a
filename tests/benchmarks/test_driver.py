"""Overhead of the driver: trials that do nothing in a whole sweep, against the same trials on Ray Tune alone."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from search_spaces.study import Study
from sweep.conductor import Conductor
from sweep.engine import run_trials
from sweep.terminal.display import TerminalDisplay
from tests.sweep.conftest import DOSE_COLUMNS
from trainables.strict import parse

TRIALS = 2000
EPOCHS = 5
SLOTS = 2
ROUNDS = 2

REPORT = {
    **{"train_loss": 1.5, "val_top1_error": 0.5, "val_top5_error": 0.1, "val_nll": 1.5, "val_ece": 0.05, "lr": 0.1},
    **{"effective_prob": 0.5, "pasted_frac": 0.25, "seconds": 2.0, "images_per_s": 1e3, "n_train": 8000, "n_val": 2000},
    **{"device": "cpu", "precision": "fp32", "threads": 1, "node": "here"},
    **dict.fromkeys(DOSE_COLUMNS, 0.25),
}
"""Report of a trial, without its name and the epoch."""


def study(n_trials: int) -> Study:
    values = {
        "name": "driver",
        "question": "What does a trial cost that does nothing?",
        "arms": {arm: {"mix": arm} for arm in ("off", "cutout", "mixup", "cutmix")},
        "space": {"optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 1.0}},
        "budget": {"trials": n_trials // 4, "max_epochs": EPOCHS, "early_stopping": {"rule": "none"}},
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
        conductor = Conductor(study(n_trials), sweep_dir)
        run_trials(sweep_dir, conductor, slots=SLOTS, display=TerminalDisplay(Console(quiet=True)), trainable=Idle)
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


def _timed(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def _memory_gb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e9
