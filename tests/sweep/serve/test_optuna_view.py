"""The storage that follows the records: at each instant it has what an export of the records has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from search_spaces.study import Study
from sweep.export.optuna_storage import export_optuna
from sweep.manifest import with_run, with_study
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import EPOCHS, TRIALS
from sweep.records.writer import write_manifest
from sweep.serve.live import LiveSweep
from sweep.serve.optuna_view import RecordsStorage

MakeStudy = Callable[..., Study]


@pytest.fixture(scope="module", autouse=True)
def _loud_again() -> Any:
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


def troubled(job: Any, epoch: int) -> dict[str, Any]:
    if job.trial == "cutout-0001" and epoch == 2:
        return {"failed": "out of luck"}
    return {"val_nll": len(job.trial) / epoch, "val_top1_error": 0.5 / epoch}


def by_trial(trials: list[FrozenTrial]) -> dict[str, FrozenTrial]:
    """Return trials by name; each name is there once."""
    named = {trial.user_attrs["trial"]: trial for trial in trials}
    assert len(named) == len(trials)
    return named


def names(storage: RecordsStorage, kind: str = "") -> list[str]:
    return [
        trial.user_attrs["trial"]
        for study in storage.get_all_studies()
        if study.study_name.endswith(kind)
        for trial in storage.get_all_trials(study._study_id)
    ]


def test_follows_a_sweep_that_runs_is_killed_resumed_and_extended(
    simulate: Any, study_of: MakeStudy, tmp_path: Path
) -> None:
    sweep_dir = tmp_path / "mine"
    confirm = {"searches": 1, "seeds": 2}
    study = study_of(budget={"trials": 3, "max_epochs": 3, "early_stopping": {"rule": "none"}}, confirm=confirm)
    session = simulate(study, sweep_dir, curve=troubled)
    storage = RecordsStorage([LiveSweep(sweep_dir, sweep_dir, "mine")])
    ids: dict[str, int] = {}

    def check() -> None:
        assert sorted(names(storage)) == sorted(read_table(sweep_dir, TRIALS)["trial"])
        n_epochs = read_table(sweep_dir, EPOCHS)["trial"].value_counts()
        for study in storage.get_all_studies():
            for number, trial in enumerate(storage.get_all_trials(study._study_id, deepcopy=False)):
                assert trial.number == number
                assert len(trial.intermediate_values) == n_epochs.get(trial.user_attrs["trial"], 0)
                assert ids.setdefault(trial.user_attrs["trial"], trial._trial_id) == trial._trial_id

    for _ in range(3):
        session.run(4).conductor.flush(force=True)
        check()
    running = [trial for each in storage.get_all_studies() for trial in storage.get_all_trials(each._study_id)]
    assert {trial.state for trial in running} >= {TrialState.RUNNING, TrialState.COMPLETE}
    session.run(2)  # killed: nothing is flushed

    write_manifest(sweep_dir, with_run(read_manifest(sweep_dir), "resumed"))
    resumed = simulate(study, sweep_dir, curve=troubled).run(3)
    resumed.conductor.flush(force=True)
    check()
    extended = study_of(budget={"trials": 4, "max_epochs": 3, "early_stopping": {"rule": "none"}}, confirm=confirm)
    write_manifest(sweep_dir, with_run(with_study(read_manifest(sweep_dir), extended), "extended"))
    simulate(extended, sweep_dir, curve=troubled).run()
    check()

    path = export_optuna(sweep_dir, tmp_path / "out")
    for study in storage.get_all_studies():
        exported = by_trial(optuna.load_study(study_name=study.study_name, storage=f"sqlite:///{path}").trials)
        shown = by_trial(storage.get_all_trials(study._study_id))
        assert shown.keys() == exported.keys()
        for name, trial in shown.items():
            other = exported[name]
            for attribute in ("state", "value", "params", "distributions", "intermediate_values"):
                assert getattr(trial, attribute) == getattr(other, attribute), (name, attribute)
            assert trial.user_attrs.items() <= {**other.user_attrs, **trial.user_attrs}.items()
            assert trial.user_attrs.get("why") == other.user_attrs.get("why")
    assert len(names(storage, "/confirm")) == 6


def test_shows_another_sweep_in_the_same_folder(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    simulate(study_of(), tmp_path / "mine").run()
    other = simulate(study_of(seed=5), tmp_path / "other").run(4)
    other.conductor.flush(force=True)
    live = LiveSweep(tmp_path / "mine", tmp_path / "mine", "mine")
    storage = RecordsStorage([live])
    assert len(names(storage)) == 12
    (tmp_path / "mine").rename(tmp_path / "old")
    (tmp_path / "other").rename(tmp_path / "mine")
    assert sorted(names(storage)) == sorted(read_table(tmp_path / "mine", TRIALS)["trial"])
    (tmp_path / "mine").rename(tmp_path / "other")
    live.look()
    assert "no sweep" in live.problem
    (tmp_path / "old").rename(tmp_path / "mine")
    assert len(names(storage)) == 12
    assert live.problem == ""


def test_refuses_every_write(sweep_dir: Path) -> None:
    storage = RecordsStorage([LiveSweep(sweep_dir, sweep_dir, "mine")])
    study = optuna.load_study(study_name="mine/off", storage=storage)
    for write in (
        lambda: study.set_user_attr("arm", "other"),
        lambda: study.enqueue_trial({}),
        lambda: optuna.delete_study(study_name="mine/off", storage=storage),
        lambda: optuna.create_study(study_name="new", storage=storage),
        lambda: study.tell(0, 0.5, skip_if_finished=False),
    ):
        with pytest.raises((PermissionError, ValueError)):
            write()
    assert study.best_trial.user_attrs["trial"].startswith("off-")


def test_the_note_is_the_state_and_names_are_text(sweep_dir: Path) -> None:
    from optuna_dashboard._note import get_note_from_system_attrs

    storage = RecordsStorage([LiveSweep(sweep_dir, sweep_dir, "mine")])
    study_id = storage.get_study_id_from_name("mine/cutmix")
    note = get_note_from_system_attrs(storage.get_study_system_attrs(study_id), None)["body"]
    assert "interrupted: " in note
    assert "| cutmix |" in note
    assert "<script>" not in note
    assert r"\<script\>alert\(1\)" in note
