"""A sweep as an Optuna storage, read back by Optuna."""

from __future__ import annotations

import datetime
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from search_spaces.study import Study
from sweep.conductor import Job
from sweep.export.optuna_storage import export_optuna
from sweep.records.reader import SweepRecords, read_sweep
from sweep.records.schema import CONFIRM

MakeStudy = Callable[..., Study]


@pytest.fixture(scope="module", autouse=True)
def _loud_again() -> Any:
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


def troubled(job: Job, epoch: int) -> Mapping[str, Any]:
    """Return errors that depend on the trial's name; one trial fails, one diverges."""
    if job.trial == "cutout-0001" and epoch == 2:
        return {"failed": "out of luck"}
    error = random.Random(f"{job.trial} {epoch}").uniform(0.1, 0.9)
    lost = {"train_loss": math.nan, "val_nll": math.inf} if job.trial == "cutout-0002" and epoch == 2 else {}
    return {"val_top1_error": error, "val_nll": 3 * error, **lost}


@pytest.fixture
def sweep_dir(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Path:
    """Return a confirmed sweep with every final status."""
    stopping = {"rule": "asha", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}
    study = study_of(
        budget={"trials": 4, "max_epochs": 5, "early_stopping": stopping, "control_frac": 0.5},
        confirm={"configs": 1, "searches": 1, "seeds": 2},
    )
    simulate(study, tmp_path / "mine", curve=troubled).run()
    return tmp_path / "mine"


def load(path: Path, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{path}")


def by_trial(study: optuna.Study) -> dict[str, optuna.trial.FrozenTrial]:
    return {trial.user_attrs["trial"]: trial for trial in study.trials}


def test_there_is_a_study_an_arm_and_one_of_its_confirmation(sweep_dir: Path, tmp_path: Path) -> None:
    path = export_optuna(sweep_dir, tmp_path / "out")
    assert path == tmp_path / "out" / "optuna.db"
    names = optuna.get_all_study_names(f"sqlite:///{path}")
    assert sorted(names) == sorted(
        f"mine/{arm}{kind}" for arm in ("off", "cutout", "cutmix") for kind in ("", "/confirm")
    )
    study = load(path, "mine/cutmix")
    assert (study.direction.name, study.metric_names) == ("MINIMIZE", ["val_nll"])
    assert study.user_attrs == {"study": "small", "question": "Does it hold together?", "arm": "cutmix"}


def test_every_trial_is_there_as_it_was_recorded(sweep_dir: Path) -> None:
    path = export_optuna(sweep_dir, sweep_dir / "export")
    records: SweepRecords = read_sweep(sweep_dir)
    states = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    assert set(records.trials["status"]) == {"completed", "stopped", "failed", "diverged"}
    for arm, rows in records.trials.groupby("arm"):
        exported = by_trial(load(path, f"mine/{arm}"))
        assert list(exported) == rows.sort_values("number")["trial"].tolist()
        for row in rows.to_dict("records"):
            trial = exported[row["trial"]]
            curve = records.epochs[records.epochs["trial"] == row["trial"]].set_index("epoch")["val_nll"]
            assert trial.number == row["number"]
            assert trial.state == states.get(row["status"], TrialState.FAIL)
            assert trial.intermediate_values == curve.to_dict()
            assert trial.value == (curve.iloc[-1] if trial.state != TrialState.FAIL else None)
            assert trial.params["optimizer.lr"] == row["params.optimizer.lr"]
            assert trial.user_attrs["seed"] == row["seed"]
            assert trial.user_attrs["control"] == row["control"]
            assert trial.user_attrs["dose_exposure"] == row["dose_exposure"]
            assert trial.user_attrs.get("why", "") == row["why"]
            assert type(trial.user_attrs["n_train"]) is int if "n_train" in trial.user_attrs else row["epochs"] == 0


def test_distributions_are_those_that_were_declared(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    space = {
        "optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 1.0},
        "optimizer.ema_decay": {"kind": "choice", "values": [None, 0.9]},
    }
    simulate(study_of(space=space), tmp_path / "mine").run()
    path = export_optuna(tmp_path / "mine", tmp_path)
    (off,), (cutmix,) = (load(path, f"mine/{arm}").trials[:1] for arm in ("off", "cutmix"))
    assert off.distributions == {
        "optimizer.lr": FloatDistribution(0.01, 1.0, log=True),
        "optimizer.ema_decay": CategoricalDistribution((None, 0.9)),
    }
    assert cutmix.distributions == off.distributions | {"mix.apply.prob": FloatDistribution(0.0, 1.0)}
    assert off.params["optimizer.ema_decay"] in (None, 0.9)


def test_a_confirmation_has_test_values_and_what_it_confirms(sweep_dir: Path) -> None:
    study = load(export_optuna(sweep_dir, sweep_dir / "export"), "mine/off/confirm")
    records = read_sweep(sweep_dir, CONFIRM)
    tests = records.evaluations[records.evaluations["metric"] == "top1_error"].set_index("trial")["value"]
    assert len(study.trials) == 2
    for trial in study.trials:
        assert trial.user_attrs["test.top1_error"] == tests[trial.user_attrs["trial"]]
        assert trial.user_attrs["confirms"].startswith("off-")
        assert trial.user_attrs["phase"] == "confirm"


def test_times_are_those_of_the_records(sweep_dir: Path) -> None:
    study = load(export_optuna(sweep_dir, sweep_dir / "export"), "mine/off")
    records = read_sweep(sweep_dir).trials.set_index("trial")
    for name, trial in by_trial(study).items():
        assert trial.datetime_complete == datetime.datetime.fromtimestamp(records["time_s"][name])
        assert trial.datetime_start is not None
        assert trial.datetime_start < trial.datetime_complete


def test_a_sweep_under_way(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    simulate(study_of(), tmp_path / "mine").run(3)
    study = load(export_optuna(tmp_path / "mine", tmp_path), "mine/off")
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING]
    assert study.trials[0].datetime_complete is None
    assert load(tmp_path / "optuna.db", "mine/cutmix").trials == []


def test_a_second_export_takes_the_place_of_the_first(sweep_dir: Path) -> None:
    first = export_optuna(sweep_dir, sweep_dir / "export")
    assert export_optuna(sweep_dir, sweep_dir / "export") == first
    assert len(load(first, "mine/off").trials) == 4
    assert [path.name for path in (sweep_dir / "export").iterdir()] == ["optuna.db"]
