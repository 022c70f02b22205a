"""Two sweeps of one study with one worker are equal; a parameter of one arm is in no other arm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from search_spaces.study import Study
from sweep.records.reader import read_sweep, read_table
from sweep.records.schema import TRIALS

MakeStudy = Callable[..., Study]

SEARCHES = ["random", "quasi_random", "tpe", "grid"]
POINTS = {
    "optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 1.0, "points": 2},
    "optimizer.momentum": {"kind": "choice", "values": [0.0, 0.9]},
}


def budget(search: str) -> dict[str, Any]:
    stopping = {"rule": "asha", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}
    return {"trials": 4 if search == "grid" else 8, "max_epochs": 4, "early_stopping": stopping, "control_frac": 0.25}


@pytest.mark.parametrize("search", SEARCHES)
def test_the_same_trials_and_decisions(search: str, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    arms = {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}}
    study = study_of(search=search, arms=arms, space=POINTS, budget=budget(search), confirm={"searches": 1, "seeds": 2})
    for name in ("one", "other"):
        simulate(study, tmp_path / name, n_workers=1).run()
    for phase in ("search", "confirm"):
        one, other = (read_sweep(tmp_path / name, phase) for name in ("one", "other"))
        for table in ("trials", "epochs", "decisions", "evaluations"):
            rows = [getattr(sweep, table).drop(columns=["time_s", "sweep"], errors="ignore") for sweep in (one, other)]
            pd.testing.assert_frame_equal(*rows)
        assert len(one.trials)
    assert len(read_sweep(tmp_path / "one").decisions)


@pytest.mark.parametrize("search", ["random", "quasi_random", "tpe"])
def test_a_parameter_of_one_arm_is_in_its_records_alone(
    search: str, simulate: Any, study_of: MakeStudy, tmp_path: Path
) -> None:
    simulate(study_of(search=search), tmp_path).run()
    for row in read_table(tmp_path, TRIALS).to_dict("records"):
        extra = {"mix.apply.prob"} if row["arm"] == "cutmix" else set()
        assert json.loads(row["params"]).keys() == {"optimizer.lr"} | extra
    trials = read_sweep(tmp_path).trials
    assert trials["params.mix.apply.prob"].notna().equals(trials["arm"] == "cutmix")
