"""Small sweeps without Ray, finished and interrupted, with real records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search_spaces.check import check_study
from search_spaces.study import Study
from tests.sweep.conftest import Simulation
from trainables.strict import parse

VALUES: dict[str, Any] = {
    "name": "small",
    "question": "Is damage seen?",
    "arms": {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}},
    "space": {"optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 1.0}},
    "budget": {
        "trials": 4,
        "max_epochs": 3,
        "early_stopping": {"rule": "asha", "grace_period_epochs": 1, "min_recorded": 2},
    },
    "confirm": {"searches": 2, "seeds": 2},
    "base": {"data": {"train_frac": 0.1, "batch_size": 32}, "model": {"name": "tiny", "width": 0.25}},
}


def write_sweeps(folder: Path) -> list[Path]:
    """Write a finished and an interrupted sweep; return their folders."""
    study = parse(Study, VALUES, where="small study")
    check_study(study)
    ends: dict[str, int | None] = {"finished": None, "interrupted": 9}
    for name, n_reports in ends.items():
        Simulation(study, folder / name).run(n_reports)
    return [folder / name for name in ends]
