"""The list of trials: what is in it, how it is filtered, sorted and cut."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from search_spaces.study import Study
from sweep.findings import confirmed
from sweep.findings.trials import list_trials, sampled_parameters
from sweep.records.reader import read_sweep
from sweep.records.schema import CONFIRM
from trainables.errors import UserError

MakeStudy = Callable[..., Study]


def curve(job: Any, epoch: int) -> dict[str, Any]:
    """Errors by number; one trial fails at once, one diverges."""
    if job.trial == "off-0001":
        return {"failed": "RuntimeError: no"}
    level = math.nan if job.trial == "cutmix-0001" and epoch == 2 else 0.1 * (len(job.trial) + epoch)
    return {"val_nll": level, "val_top1_error": 0.9 - 0.01 * epoch, "seconds": 3.0}


@pytest.fixture
def sweep_dir(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Path:
    return Path(
        simulate(study_of(confirm={"searches": 1, "seeds": 2}), tmp_path / "sweep", curve=curve).run().sweep_dir
    )


def test_has_every_trial_of_both_phases_with_its_last_values(sweep_dir: Path) -> None:
    trials = list_trials(sweep_dir).set_index("trial")
    search, confirm = read_sweep(sweep_dir), read_sweep(sweep_dir, CONFIRM)
    assert sorted(trials.index) == sorted([*search.trials["trial"], *confirm.trials["trial"]])
    assert set(trials["phase"]) == {"search", "confirm"}
    for records in (search, confirm):
        for row in records.trials.to_dict("records"):
            listed = trials.loc[str(row["trial"])]
            curve_rows = records.epochs[records.epochs["trial"] == row["trial"]].sort_values("epoch")
            assert (listed["status"], listed["epochs"]) == (row["status"], len(curve_rows))
            assert listed["planned_epochs"] == row["config.optimizer.max_epochs"]
            assert listed["optimizer.lr"] == row["params.optimizer.lr"]
            assert listed["seconds"] == 3.0 * len(curve_rows)
            last = curve_rows["val_nll"].iloc[-1] if len(curve_rows) else math.nan
            assert listed["val_nll"] == pytest.approx(last, nan_ok=True)
    for row in confirmed.test_values(confirm.evaluations).to_dict("records"):
        assert trials.loc[str(row["trial"]), f"test_{row['metric']}"] == row["value"]
    assert trials.loc["off-0000", "mix.apply.prob"] != trials.loc["off-0000", "mix.apply.prob"]
    assert sampled_parameters(trials) == ["optimizer.lr", "mix.apply.prob"]


@pytest.mark.parametrize(("sort", "column", "largest_first"), [(None, "val_nll", False), ("-epochs", "epochs", True)])
def test_is_sorted_with_unknown_values_last(
    sweep_dir: Path, sort: str | None, column: str, largest_first: bool
) -> None:
    values = list_trials(sweep_dir, sort=sort)[column]
    known = values.dropna()
    assert known.tolist() == sorted(known, reverse=largest_first)
    assert values.iloc[len(known) :].isna().all()
    assert values.isna().any() == (column == "val_nll")


def test_descending_order_keeps_unknown_values_last(sweep_dir: Path) -> None:
    assert list_trials(sweep_dir, sort="-mix.apply.prob")["mix.apply.prob"].notna().iloc[0]


def test_is_filtered_and_cut(sweep_dir: Path) -> None:
    trials = list_trials(sweep_dir, arm=["off", "cutmix"], state=["failed", "diverged"], columns=["trial", "why"])
    assert trials.to_dict("list") == {
        "trial": ["off-0001", "cutmix-0001"],
        "why": ["RuntimeError: no", "loss not finite in epoch 2"],
    }
    assert list_trials(sweep_dir, arm="off", top=1, columns=["arm"])["arm"].tolist() == ["off"]
    assert list_trials(sweep_dir, columns=["config.model.name"])["config.model.name"].eq("tiny").all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arm": "cutmx"}, "--arm 'cutmx': trials have no such arm; did you mean 'cutmix'? valid: cutmix, cutout, off"),
        ({"state": ["complete"]}, "--state 'complete': trials have no such state; did you mean 'completed'? valid: "),
        ({"sort": "val_nl"}, "--sort 'val_nl': the trials have no such column; did you mean 'val_nll'? valid: arm, "),
        ({"columns": ["trial", "optimizer.l"]}, "--columns 'optimizer.l': .* did you mean 'optimizer.lr'?"),
        ({"columns": ["config.no"]}, "--columns 'config.no': the trials have no such column"),
        ({"top": 0}, "--top must be at least 1, got 0"),
    ],
)
def test_refuses(sweep_dir: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        list_trials(sweep_dir, **options)


def test_at_every_instant_and_for_a_grid(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    grid = {"optimizer.lr": {"kind": "choice", "values": [0.1, 0.2]}}
    budget = {"max_epochs": 2, "early_stopping": {"rule": "none"}}
    session = simulate(
        study_of(arms={"off": {}, "cutmix": {}}, search="grid", space=grid, budget=budget),
        tmp_path / "sweep",
        curve=curve,
    )
    session.conductor.flush(force=True)
    empty = list_trials(tmp_path / "sweep")
    assert (len(empty), "val_nll" in empty) == (0, True)
    listed: list[pd.DataFrame] = []
    while session.conductor.n_left:
        session.run(1).conductor.flush(force=True)
        listed.append(list_trials(tmp_path / "sweep"))
        assert len(listed[-1]) == len(session.conductor.entries)
    assert "running" in set(listed[0]["status"])
    assert not set(listed[-1]["status"]) & {"running", "paused"}


def test_of_a_sweep_with_failures_only(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    simulate(study_of(), tmp_path / "sweep", curve=lambda *_: {"failed": "OSError: gone"}).run()
    trials = list_trials(tmp_path / "sweep", sort="val_top1_error")
    assert trials["status"].tolist() == ["failed"] * 12
    assert trials["val_top1_error"].isna().all()
