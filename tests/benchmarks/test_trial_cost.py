"""Cost of a trial beyond its training: a whole sweep against Tune with a new actor per trial."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import yaml

from search_spaces.discover import load_study
from sweep.launch import start_sweep

TRIALS = 12

STUDY = {
    "question": "What does a trial cost that hardly trains?",
    "arms": {"off": {"mix": "off"}},
    "budget": {"trials": TRIALS, "max_epochs": 1, "early_stopping": {"rule": "none"}},
    "base": {"data": {"train_frac": 0.02, "batch_size": 500}, "model": {"width": 0.1}},
}


def test_trial_cost_against_fresh_actors(compare, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Trials of one tiny epoch, records and checkpoints included, against empty trials that import torch."""
    ray = pytest.importorskip("ray")
    from ray import tune

    class Empty(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, object]) -> None:
            import torch

            torch.zeros(1)

        def step(self) -> dict[str, object]:
            return {"done": True}

    path = tmp_path / "cost.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    study = load_study(str(path))
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")

    def ours() -> None:
        out = Path(tempfile.mkdtemp(dir=tmp_path)) / "sweep"
        start_sweep(study, out=out)

    def theirs() -> None:
        tune.run(Empty, num_samples=TRIALS, resources_per_trial={"cpu": 1}, storage_path=str(tmp_path), verbose=0)

    try:
        assert compare("no-op trial against Tune with fresh actors", ours=ours, theirs=theirs, rounds=2) >= 5
    finally:
        ray.shutdown()
