"""What the driver adds: trials that do nothing through the whole stack, against the same trials on bare Ray Tune."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from search_spaces.study import Study
from sweep import engine
from sweep.conductor import DOSE_COLUMNS, Conductor
from trainables.strict import parse

TRIALS = int(os.environ.get("CUTMIX_SWEEP_BENCH_TRIALS", "2000"))
EPOCHS = 5
SLOTS = 2

STUDY = {
    "name": "driver",
    "question": "What does a trial cost that does nothing?",
    "arms": {
        "off": {"mix": "off"},
        "cutout": {"mix": "cutout"},
        "mixup": {"mix": "mixup"},
        "cutmix": {"mix": "cutmix"},
    },
    "space": {"optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 1.0}},
    "budget": {"trials": TRIALS // 4, "max_epochs": EPOCHS, "early_stopping": {"rule": "none"}},
}

REPORT = {
    **{"train_loss": 1.5, "val_top1_error": 0.5, "val_top5_error": 0.1, "val_nll": 1.5, "val_ece": 0.05, "lr": 0.1},
    **{"effective_prob": 0.5, "pasted_frac": 0.25, "seconds": 2.0, "images_per_s": 1e3, "n_train": 8000, "n_val": 2000},
    **{"device": "cpu", "precision": "fp32", "threads": 1, "node": "here"},
    **dict.fromkeys(DOSE_COLUMNS, 0.25),
}
"""What a trial reports besides its name and the epoch."""


def test_driver_against_bare_tune(compare, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Both with reused actors, the same trainable, as many trials at once; the driver's memory grows little."""
    ray = pytest.importorskip("ray")
    from ray import tune

    class Idle(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            self._epoch = 0
            self._trial = config["trial"]

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            self._epoch += 1
            return {"trial": self._trial, "epoch": self._epoch, **REPORT}

    study = parse(Study, STUDY, where="study 'driver'")

    def ours() -> None:
        sweep_dir = Path(tempfile.mkdtemp(dir=tmp_path))
        conductor = Conductor(study, sweep_dir)
        engine.run_trials(sweep_dir, conductor, slots=SLOTS, console=Console(quiet=True), trainable=Idle)
        assert not conductor.n_left

    def theirs() -> None:
        trials = tune.run(
            Idle,
            config={"trial": "idle"},
            stop={"epoch": EPOCHS},
            num_samples=TRIALS,
            max_concurrent_trials=SLOTS,
            resources_per_trial={"cpu": 1},
            reuse_actors=True,
            storage_path=tempfile.mkdtemp(dir=tmp_path),
            verbose=0,
        ).trials
        assert len(trials) == TRIALS

    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
    before_gb = psutil.Process().memory_info().rss / 1e9
    try:
        ratio = 1 / compare("driver", ours=ours, theirs=theirs, rounds=3)
    finally:
        ray.shutdown()
    grown_gb = psutil.Process().memory_info().rss / 1e9 - before_gb
    print(ratio, grown_gb)
