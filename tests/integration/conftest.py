"""Small sweeps on a real Ray: one cluster for the whole session, tiny nets, one thread per trial."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from search_spaces.discover import load_study
from sweep.launch import start_sweep
from sweep.records.reader import SweepRecords, read_sweep

SMALL = {
    "question": "Does the machinery work?",
    "arms": {
        "off": {"mix": "off"},
        "cutout": {"mix": "cutout"},
        "mixup": {
            "mix": "mixup",
            "space": {
                "mix.size.alpha": {"kind": "loguniform", "lo": 0.1, "hi": 4.0},
                "mix.apply.prob": {"kind": "uniform", "lo": 0.0, "hi": 1.0},
            },
        },
        "cutmix": {
            "mix": "cutmix",
            "space": {
                "mix.size.alpha": {"kind": "loguniform", "lo": 0.1, "hi": 4.0},
                "mix.apply.prob": {"kind": "uniform", "lo": 0.0, "hi": 1.0},
                "mix.position.kind": {"kind": "choice", "values": ["clip", "inside", "torus"]},
            },
        },
    },
    "budget": {
        "trials": 4,
        "max_epochs": 4,
        "early_stopping": {"rule": "asha", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2},
    },
    "base": {"data": {"train_frac": 0.1, "batch_size": 64}, "model": {"width": 0.25}},
}


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("studies") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL, sort_keys=False))
    return path


@pytest.fixture(scope="session")
def small_sweep_dir(ray_cluster: None, study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of four arms with early stopping."""
    out = tmp_path_factory.mktemp("sweeps") / "small"
    return start_sweep(
        load_study(str(study_file)),
        out=out,
        command="cutmix-sweep run small",
    )


@pytest.fixture(scope="session")
def small_sweep(small_sweep_dir: Path) -> SweepRecords:
    return read_sweep(small_sweep_dir)
