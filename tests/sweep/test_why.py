"""``status --why``: every decision on a trial, in a table and a sentence."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search_spaces.study import Study
from sweep.terminal.early_stopping import print_why
from trainables.errors import UserError

MakeStudy = Callable[..., Study]

ASHA = {"rule": "asha", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}
LEVELS = {"off-0000": 0.5, "off-0001": 0.9, "off-0002": 0.4, "off-0003": math.nan}


def curve(job: Any, epoch: int) -> dict[str, Any]:
    return {"val_nll": LEVELS[job.trial]}


def why(sweep_dir: Path, trial: str) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    print_why(sweep_dir, trial, console)
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines() if line.strip(" ─")]


@pytest.fixture
def sweep_of(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Callable[..., Path]:
    """Run a sweep of one arm, one trial after the other; return its folder."""

    def make(stopping: dict[str, Any], n_reports: int | None = None, **changes: Any) -> Path:
        budget = {"trials": 4, "max_epochs": 3, "early_stopping": stopping, **changes}
        study = study_of(arms={"off": {}}, budget=budget)
        simulate(study, tmp_path, curve=curve, n_workers=1).run(n_reports).conductor.flush(force=True)
        return tmp_path

    return make


def test_a_stopped_trial(sweep_of: Callable[..., Path]) -> None:
    assert why(sweep_of(ASHA), "off-0001") == [
        "epoch val_nll cutoff trials verdict",
        "1 0.9 0.5 2 stop",
        "off-0001 was stopped at the rung at epoch 1: val_nll 0.9 > cutoff 0.5 of 2 recorded trials of its search.",
    ]


def test_a_completed_trial(sweep_of: Callable[..., Path]) -> None:
    assert why(sweep_of(ASHA), "off-0002") == [
        "epoch val_nll cutoff trials verdict",
        "1 0.4 0.4 3 continue",
        "2 0.4 0.4 2 continue",
        "off-0002 completed its 3 epochs.",
    ]


def test_the_first_trial_met_no_cutoff(sweep_of: Callable[..., Path]) -> None:
    assert "1 0.5 - 1 continue" in why(sweep_of(ASHA), "off-0000")


def test_a_diverged_trial(sweep_of: Callable[..., Path]) -> None:
    assert why(sweep_of(ASHA), "off-0003")[-1] == "off-0003 diverged: loss not finite in epoch 1."


def test_the_whole_error_of_a_failed_trial(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    error = 'Traceback (most recent call last):\n  File "net.py", line 3, in run\nMemoryError: no'
    failing = lambda job, epoch: {"failed": error, "fault": "memory"}  # noqa: E731
    simulate(study_of(arms={"off": {}}), tmp_path, curve=failing).run()
    lines = [" ".join(line.split()) for line in error.splitlines()]
    assert why(tmp_path, "off-0000") == ["off-0000 failed (memory): MemoryError: no.", *lines]


def test_a_running_trial(sweep_of: Callable[..., Path]) -> None:
    assert why(sweep_of(ASHA, 1), "off-0000")[-1] == "off-0000 is running."


def test_without_early_stopping(sweep_of: Callable[..., Path]) -> None:
    assert why(sweep_of({"rule": "none"}), "off-0001") == ["off-0001 completed its 3 epochs."]


def test_a_paused_trial_and_what_became_of_it(sweep_of: Callable[..., Path]) -> None:
    at_rung = "at the rung at epoch 1: val_nll 0.9 > cutoff 0.5 of 2 recorded trials of its search"
    promote = {**ASHA, "mode": "promote"}
    assert why(sweep_of(promote, 5), "off-0001")[-1] == f"off-0001 is paused {at_rung}; it may still be promoted."
    never = f"off-0001 was stopped {at_rung}, and was never promoted."
    assert why(sweep_of(promote), "off-0001")[-1] == never


def test_the_best_so_far_of_the_median_rule(sweep_of: Callable[..., Path]) -> None:
    words = why(sweep_of({"rule": "median", "grace_period_epochs": 1, "min_recorded": 1}), "off-0001")[-1]
    assert "best val_nll 0.9 > cutoff 0.5" in words


def test_a_control_trial(sweep_of: Callable[..., Path]) -> None:
    folder = sweep_of(ASHA, control_frac=0.9)
    *_, sentence = why(folder, "off-0001")
    assert sentence == (
        "off-0001 completed its 3 epochs; it is a control trial, which no rule may stop; without that "
        "it would have ended at the rung at epoch 1: val_nll 0.9 > cutoff 0.5 of 2 recorded trials of its search."
    )


def test_a_trial_that_does_not_exist(sweep_of: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"--why 'off-001'.*did you mean 'off-0001'.*off-0003"):
        why(sweep_of(ASHA), "off-001")
