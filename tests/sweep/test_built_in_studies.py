"""Every built-in study at its smallest scale is planned, and run to its end by simulated trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search_spaces.discover import built_in_studies, load_study
from search_spaces.study import Study
from sweep.findings.confirmed import summarise_confirmed
from sweep.findings.summary import summarise_arms, verdict
from sweep.plan import make_plan
from sweep.records.reader import read_sweep


@pytest.fixture(params=built_in_studies())
def study(request: pytest.FixtureRequest) -> Study:
    return load_study(request.param, scale="smoke")


def test_is_planned(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.plan.measure_speed", lambda *_, **__: 1000.0)
    monkeypatch.setattr("sweep.plan.DOSE_DRAWS", 2)
    planned = make_plan(study)
    assert planned.n_trials == len(study.arms) * study.trials_per_arm
    assert planned.n_confirming == len(study.arms) * study.confirming_per_arm
    assert planned.max_epochs <= 2 * (planned.n_trials + planned.n_confirming)
    assert planned.n_train[0] > 0
    assert planned.doses.keys() == study.arms.keys()


def test_runs_to_its_end(study: Study, simulate: Any, tmp_path: Path) -> None:
    simulate(study, tmp_path).run()
    records = read_sweep(tmp_path)
    assert set(records.trials["status"]) == {"completed"}
    assert records.trials.groupby("arm").size().to_dict() == dict.fromkeys(study.arms, study.trials_per_arm)
    assert (records.trials["epochs"] == records.trials["config.optimizer.max_epochs"]).all()
    assert verdict(summarise_arms(records.trials, records.epochs))
    confirm = read_sweep(tmp_path, "confirm")
    assert len(confirm.trials) == len(study.arms) * study.confirming_per_arm
    assert len(summarise_confirmed(records, confirm)) == (len(study.arms) if study.confirm else 0)
