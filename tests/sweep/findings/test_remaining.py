"""The number of trials left, from the records alone, is the conductor's at every instant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import Study
from sweep.findings.remaining import TrialCount, count_trials
from sweep.findings.summary import final_epochs
from sweep.records.reader import read_sweep, read_table
from sweep.records.schema import TRIALS

MakeStudy = Callable[..., Study]
BUDGET = {"max_epochs": 2, "early_stopping": {"rule": "none"}}
GRID = {"optimizer.lr": {"kind": "choice", "values": [0.1, 0.2]}}


def counted(sweep_dir: Path, study: Study) -> TrialCount:
    search = read_sweep(sweep_dir)
    final: Any = final_epochs(search.trials, search.epochs)[study.metric].to_dict()
    return count_trials(study, read_table(sweep_dir, TRIALS).to_dict("records"), final)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"confirm": {"seeds": 2, "configs": 2}},
        {"confirm": {"seeds": 2}, "replicates": 2},
        {"search": "grid", "arms": {"off": {}, "cutout": {}}, "space": GRID, "budget": BUDGET},
    ],
)
def test_is_that_of_the_conductor(simulate: Any, study_of: MakeStudy, tmp_path: Path, changes: dict[str, Any]) -> None:
    def curve(job: Any, epoch: int) -> dict[str, Any]:  # the arm off has no winner to confirm
        return {"failed": "no"} if job.trial.startswith("off") else {"val_nll": 1 / epoch + len(job.trial)}

    study = study_of(**changes)
    session = simulate(study, tmp_path, curve=curve)
    while True:
        conductor = session.run(9).conductor
        conductor.flush(force=True)
        count = counted(tmp_path, study)
        assert count == (conductor.n_trials - conductor.n_left, conductor.n_trials)
        assert count.n_left == conductor.n_left
        if not conductor.n_left:
            break
