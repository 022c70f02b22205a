"""Simulated sweeps: equal budgets per arm, correct records, and no trial lost or repeated by a kill."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from search_spaces.early_stopping.base import Rule
from search_spaces.study import Study
from sweep.conductor import Conductor, Job
from sweep.ledger import checkpoint_path
from sweep.losses import Loss
from sweep.records import writer
from sweep.records.reader import SweepRecords, read_rows, read_sweep, read_table
from sweep.records.schema import CRASHES, DECISIONS, EPOCHS, TRIALS
from tests.sweep.conftest import DOSE_COLUMNS, lose_worker
from trainables.mixing.dose import _exposure

pytestmark = pytest.mark.usefixtures("one_reader")

MakeStudy = Callable[..., Study]
ENDED = {"completed", "stopped", "diverged", "failed"}


class Killed(BaseException):
    """Exception of a simulated kill: no handler of the product catches it."""


def read(sweep_dir: Path) -> SweepRecords:
    return read_sweep(sweep_dir)


def trials_of(sweep_dir: Path) -> dict[str, dict[str, Any]]:
    return {row["trial"]: row for row in read(sweep_dir).trials.to_dict("records")}


def no_stopping(max_epochs: int = 3, trials: int = 2) -> dict[str, Any]:
    return {"trials": trials, "max_epochs": max_epochs, "early_stopping": {"rule": "none"}}


def assert_whole(sweep_dir: Path, study: Study) -> None:
    """Check that every trial is recorded once and has ended, with all epochs and decisions, none of them twice."""
    records = read(sweep_dir)
    trials = records.trials
    expected = [(arm, number) for arm in study.arms for number in range(study.trials_per_arm)]
    assert sorted(zip(trials["arm"], trials["number"], strict=True)) == sorted(expected)
    assert set(trials["status"]) <= ENDED
    for table, key in ((EPOCHS, ["trial", "epoch"]), (DECISIONS, ["trial", "rung_epochs"])):
        raw = read_rows(sweep_dir, table).to_pandas()
        assert not raw.duplicated(key).any()
    for row in trials.to_dict("records"):
        epochs = records.epochs[records.epochs["trial"] == row["trial"]]
        assert sorted(epochs["epoch"]) == list(range(1, row["epochs"] + 1))
        assert row["seconds"] == 2.0 * row["epochs"]
        assert_decided(row, records.decisions[records.decisions["trial"] == row["trial"]], study)
    assert_by_the_rule(records.decisions, study)
    kept = {path.stem for path in (sweep_dir / "checkpoints").iterdir()}
    assert kept == set(trials.loc[trials["status"] == "failed", "trial"])


def assert_decided(row: Mapping[str, Any], decisions: pd.DataFrame, study: Study) -> None:
    """Check that a trial was judged at every rung that it reached, and ended at the verdict."""
    rungs = [rung for rung in rule_of(study).rungs(row["number"]) if rung <= row["epochs"]]
    assert sorted(decisions["rung_epochs"]) == rungs
    stops = decisions.loc[decisions["verdict"] == "stop", "rung_epochs"].tolist()
    if row["status"] == "completed":
        assert row["epochs"] == study.budget.max_epochs
        assert not stops
    if row["status"] == "stopped":
        assert stops == [row["epochs"]]
        assert f"at epoch {row['epochs']}" in row["why"]


def rule_of(study: Study) -> Rule:
    rule = study.budget.early_stopping.build(study.budget.max_epochs)
    assert rule
    return rule


def assert_by_the_rule(decisions: pd.DataFrame, study: Study) -> None:
    """Check that replaying an arm's epochs in the order of writing gives the recorded decisions."""
    for _, arm_decisions in decisions.groupby("arm"):
        rule = rule_of(study)
        for row in arm_decisions.to_dict("records"):
            judged = rule.observe(int(row["trial"][-4:]), row["rung_epochs"], row["value"])
            assert judged is not None
            assert (judged.verdict, judged.n_recorded) == (row["verdict"], row["n_recorded"])
            assert judged.cutoff == (None if math.isnan(row["cutoff"]) else row["cutoff"])


class TestVariedEpochs:
    def study(self, study_of: MakeStudy) -> Study:
        epochs = {"kind": "choice", "values": [1, 3]}
        return study_of(
            arms={"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}},
            space={"optimizer.max_epochs": epochs},
            search="grid",
            budget=no_stopping(max_epochs=3, trials=4),
        )

    def test_each_trial_is_completed_at_its_own_last_epoch(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        simulate(self.study(study_of), tmp_path).run()
        trials = read(tmp_path).trials
        assert set(trials["status"]) == {"completed"}
        assert (trials["epochs"] == trials["config.optimizer.max_epochs"]).all()
        assert sorted(trials.loc[trials["arm"] == "cutmix", "epochs"]) == [1, 1, 3, 3]

    def test_a_trial_taken_up_again_ends_there_too(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = self.study(study_of)
        simulate(study, tmp_path).run(7).conductor.flush(force=True)
        simulate(study, tmp_path).run()
        trials = read(tmp_path).trials
        assert (trials["attempts"] > 1).any()
        assert (trials["epochs"] == trials["config.optimizer.max_epochs"]).all()


class TestCourse:
    def test_every_arm_gets_its_budget(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of()
        simulate(study, tmp_path).run()
        assert_whole(tmp_path, study)
        assert read(tmp_path).trials["arm"].value_counts().to_dict() == {"off": 4, "cutout": 4, "cutmix": 4}

    def test_arms_take_turns(self, study_of: MakeStudy, tmp_path: Path) -> None:
        conductor = Conductor(study_of(), tmp_path)
        names = []
        while job := conductor.next_job():
            names.append(job.trial)
        assert names == [f"{arm}-{number:04d}" for number in range(4) for arm in ("off", "cutout", "cutmix")]
        assert conductor.next_job() is None

    def test_counts_what_is_left(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulation = simulate(study_of(budget=no_stopping()), tmp_path, n_workers=1)
        assert (simulation.conductor.n_trials, simulation.conductor.n_left) == (6, 6)
        simulation.run(4)
        assert simulation.conductor.n_left == 5
        simulation.run()
        assert simulation.conductor.n_left == 0

    def test_a_job_is_what_the_study_says(self, study_of: MakeStudy, tmp_path: Path) -> None:
        study, conductor = study_of(), Conductor(study_of(), tmp_path)
        jobs = [conductor.next_job() for _ in range(12)]
        for job in jobs:
            assert job is not None
            arm, number = job.trial.rsplit("-", 1)
            params = study.draw(arm, int(number))
            assert job.config == study.trial_config(arm, params, replicate=int(number))
            assert job.recorded_epochs == 0

    def test_parameters_stay_in_their_arm(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(), tmp_path).run()
        trials = read(tmp_path).trials
        drawn = trials.set_index("arm")["params.mix.apply.prob"]
        assert drawn[["off", "cutout"]].isna().all()
        assert drawn["cutmix"].notna().all()
        raw = read_rows(tmp_path, TRIALS).to_pandas()
        for arm, params in zip(raw["arm"], raw["params"], strict=True):
            assert ("mix.apply.prob" in json.loads(params)) == (arm == "cutmix")
            assert "optimizer.lr" in json.loads(params)
        assert (trials["config.optimizer.lr"] == trials["params.optimizer.lr"]).all()

    def test_equal_numbers_of_all_arms_share_their_seed(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        simulate(study_of(), tmp_path).run()
        trials = read(tmp_path).trials
        assert (trials.groupby("number")["seed"].nunique() == 1).all()
        assert trials["seed"].nunique() == 4

    @pytest.mark.parametrize("search", ["grid", "tpe"])
    def test_other_searches(self, simulate: Any, study_of: MakeStudy, tmp_path: Path, search: str) -> None:
        domain = {"kind": "loguniform", "lo": 0.01, "hi": 1.0, "points": 4}
        study = study_of(search=search, arms={"off": {}, "cutmix": {"mix": "cutmix"}}, space={"optimizer.lr": domain})
        simulate(study, tmp_path).run()
        assert_whole(tmp_path, study)

    def test_without_early_stopping_all_run_to_the_end(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        simulate(study_of(budget=no_stopping()), tmp_path).run()
        records = read(tmp_path)
        assert set(records.trials["status"]) == {"completed"}
        assert records.decisions.empty


def ends(how: str) -> Callable[[Job, int], dict[str, Any]]:
    """Return a curve with the given end in epoch 2 of the trials with number 0, and an ordinary one for all others."""

    def curve(job: Job, epoch: int) -> dict[str, Any]:
        if epoch == 2 and job.trial.endswith("-0000"):
            if how == "failed":
                return {"failed": "Traceback\nValueError: no such thing"}
            return {how: math.nan if how == "train_loss" else math.inf}
        return {"val_nll": 1 / epoch}

    return curve


class TestStatuses:
    def test_completed(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(budget=no_stopping()), tmp_path).run()
        row = trials_of(tmp_path)["off-0001"]
        assert {name: row[name] for name in ("status", "why", "epochs", "attempts", "phase", "study")} == {
            "status": "completed",
            "why": "",
            "epochs": 3,
            "attempts": 1,
            "phase": "search",
            "study": "small",
        }
        assert pd.isna(row["resumed_at_epoch"])
        assert {name: row[name] for name in ("n_train", "n_val", "device", "precision", "threads", "node")} == {
            "n_train": 80,
            "n_val": 20,
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
            "node": "here",
        }
        assert row["images_per_s"] == pytest.approx(1e3)

    def test_dose(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        doses = {name: index / 8 for index, name in enumerate(DOSE_COLUMNS)}
        simulate(study_of(budget=no_stopping()), tmp_path, curve=lambda *_: doses).run()
        row = trials_of(tmp_path)["off-0001"]
        assert {name: row[name] for name in DOSE_COLUMNS} == doses

    def test_stopped_says_why(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        levels = {"off-0000": 1.0, "off-0001": 2.0}
        study = study_of(arms={"off": {}}, budget={**study_of().budget.model_dump(), "trials": 2})
        simulate(study, tmp_path, curve=lambda job, _: {"val_nll": levels[job.trial]}, n_workers=1).run()
        rows = trials_of(tmp_path)
        assert rows["off-0000"]["status"] == "completed"
        assert rows["off-0001"]["status"] == "stopped"
        assert rows["off-0001"]["why"] == "val_nll 2 > 1 at epoch 1"
        assert_whole(tmp_path, study)

    def test_stopped_by_the_metric_that_the_study_names(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        budget = {**study_of().budget.model_dump(), "trials": 2}
        study = study_of(arms={"off": {}}, budget=budget, metric="val_top1_error")
        errors = {"off-0000": 0.1, "off-0001": 0.2}
        curve = lambda job, _: {"val_nll": 1 - errors[job.trial], "val_top1_error": errors[job.trial]}  # noqa: E731
        simulate(study, tmp_path, curve=curve, n_workers=1).run()
        assert trials_of(tmp_path)["off-0001"]["why"] == "val_top1_error 0.2 > 0.1 at epoch 1"
        assert set(read(tmp_path).decisions["metric"]) == {"val_top1_error"}

    @pytest.mark.parametrize("column", ["train_loss", "val_nll"])
    @pytest.mark.parametrize("stopping", [True, False])
    def test_diverged(self, simulate: Any, study_of: MakeStudy, tmp_path: Path, column: str, stopping: bool) -> None:
        study = study_of() if stopping else study_of(budget=no_stopping())
        simulate(study, tmp_path, curve=ends(column)).run()
        rows = trials_of(tmp_path)
        for arm in study.arms:
            row = rows[f"{arm}-0000"]
            assert (row["status"], row["why"], row["epochs"]) == ("diverged", "loss not finite in epoch 2", 2)
        assert [row["status"] for row in rows.values()].count("diverged") == 3

    def test_diverged_in_the_last_epoch_is_not_completed(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        simulate(study_of(budget=no_stopping(max_epochs=2)), tmp_path, curve=ends("val_nll")).run()
        assert trials_of(tmp_path)["off-0000"]["status"] == "diverged"

    def test_diverged_at_a_rung_does_not_raise_the_bar(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        study = study_of()
        simulate(study, tmp_path, curve=ends("val_nll")).run()
        decisions = read(tmp_path).decisions
        assert decisions.loc[decisions["value"] == math.inf, "verdict"].eq("stop").all()
        assert_by_the_rule(decisions, study)

    def test_failed(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulation = simulate(study_of(budget=no_stopping()), tmp_path, curve=ends("failed")).run()
        row = trials_of(tmp_path)["cutout-0000"]
        assert (row["status"], row["epochs"]) == ("failed", 1)
        assert row["why"] == "Traceback\nValueError: no such thing"
        assert simulation.conductor.n_left == 0

    def test_a_lost_worker_is_one_more_attempt(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, report_of: Any
    ) -> None:
        conductor = simulate(study_of(budget=no_stopping()), tmp_path).conductor
        job = conductor.next_job()
        assert job is not None
        conductor.on_report(job.trial, report_of(job, 1, {}))
        conductor.on_report(job.trial, report_of(job, 2, {}))
        conductor.on_restart(job.trial)
        conductor.flush(force=True)
        row = trials_of(tmp_path)[job.trial]
        assert (row["status"], row["attempts"], row["resumed_at_epoch"], row["epochs"]) == ("running", 2, 2, 2)
        # after its checkpoint it repeats recorded epochs
        assert not conductor.on_report(job.trial, report_of(job, 1, {"val_nll": 9.0}))
        assert not conductor.on_report(job.trial, report_of(job, 2, {"val_nll": 9.0}))
        assert conductor.on_report(job.trial, report_of(job, 3, {}))
        conductor.flush(force=True)
        epochs = read(tmp_path).epochs
        assert epochs["val_nll"].tolist() == [1.5, 1.5, 1.5]
        assert epochs["attempt"].tolist() == [1, 1, 2]
        raw = read_rows(tmp_path, EPOCHS)
        assert raw.num_rows == 3

    def test_a_worker_lost_too_often_is_a_failure(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        conductor = simulate(study_of(), tmp_path).conductor
        job = conductor.next_job()
        assert job is not None
        lose_worker(conductor, job.trial, "the node was running low on memory")
        conductor.flush(force=True)
        row = trials_of(tmp_path)[job.trial]
        assert (row["status"], row["fault"]) == ("failed", "memory")
        assert row["why"] == "its worker was lost 4 times: the node was running low on memory"

    def test_a_worker_lost_after_the_end_changes_nothing(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, report_of: Any
    ) -> None:
        conductor = simulate(study_of(budget=no_stopping(max_epochs=1)), tmp_path).conductor
        job = conductor.next_job()
        assert job is not None
        assert conductor.on_report(job.trial, report_of(job, 1, {}))
        lose_worker(conductor, job.trial)
        conductor.flush(force=True)
        row = trials_of(tmp_path)[job.trial]
        assert (row["status"], row["why"], row["crashes"]) == ("completed", "", 4)  # its kind was known late

    def test_checkpoints_of_ended_trials_are_removed(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulation = simulate(study_of(), tmp_path).run(7)
        simulation.conductor.flush(force=True)
        living = {trial for trial, entry in simulation.conductor.entries.items() if entry.status == "running"}
        assert {path.stem for path in (tmp_path / "checkpoints").iterdir()} <= living
        assert living
        simulation.run()
        assert not list((tmp_path / "checkpoints").iterdir())

    def test_an_ended_trial_repeats_that_it_has_ended(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, report_of: Any
    ) -> None:
        conductor = simulate(study_of(budget=no_stopping(max_epochs=1)), tmp_path).conductor
        job = conductor.next_job()
        assert job is not None
        assert conductor.on_report(job.trial, report_of(job, 1, {}))
        assert conductor.on_report(job.trial, report_of(job, 1, {}))
        conductor.flush(force=True)
        assert read(tmp_path).epochs.shape[0] == 1


class TestRungs:
    def test_a_slow_starter_is_compared_with_its_own_kind(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        """An arm with worse early values in all trials keeps as many trials as the others."""
        budget = {
            "trials": 30,
            "max_epochs": 9,
            "early_stopping": {"rule": "asha", "grace_period_epochs": 1, "reduction_factor": 3, "min_recorded": 3},
        }
        study = study_of(budget=budget, arms={"fast": {}, "slow": {"mix": "cutmix"}}, space={})

        def curve(job: Job, epoch: int) -> dict[str, Any]:
            level = random.Random(job.trial[-4:]).uniform(0.2, 0.5)
            return {"val_nll": level + (2.0 / epoch if job.trial.startswith("slow") else 0.0)}

        simulate(study, tmp_path, curve=curve).run()
        records = read(tmp_path)
        survivors = records.trials.query("status == 'completed'")["arm"].value_counts()
        assert survivors["slow"] == survivors["fast"] >= 3
        shared = rule_of(study)
        kept = {"fast": 0, "slow": 0}
        for row in records.decisions.query("rung_epochs == 1").to_dict("records"):
            judgement = shared.observe(int(row["trial"][-4:]), 1, row["value"])
            assert judgement is not None
            kept[row["arm"]] += judgement.verdict == "continue"
        per_arm = records.decisions.query("rung_epochs == 1 and verdict == 'continue'")["arm"].value_counts()
        assert kept["slow"] < per_arm["slow"] / 2, "rungs shared by all arms would stop more"


class TestMatch:
    ARMS = {"off": {"mix": "off"}, "mixup": {"mix": "mixup"}, "cutmix": {"mix": "cutmix"}}

    def test_trials_taken_up_again_have_the_dose_they_had(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        study = study_of(arms=self.ARMS, match="exposure", budget=no_stopping(trials=1))
        first = simulate(study, tmp_path).run(2)
        _exposure.cache_clear()  # another process has no measurements of this one
        again = simulate(Study.model_validate(study.model_dump()), tmp_path).run()
        jobs = {job.trial: job.config for job in first.jobs}
        common = jobs.keys() & {job.trial for job in again.jobs}
        assert common
        assert all(job.config == jobs[job.trial] for job in again.jobs if job.trial in common)

    def test_the_record_says_what_was_solved_for(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(arms=self.ARMS, match="exposure", budget=no_stopping(trials=1)), tmp_path).run()
        probs = {trial: row["config.mix.apply.prob"] for trial, row in trials_of(tmp_path).items()}
        # the clipped box has 0.139 at its probability of 0.5, Mixup 0.25 at 1
        assert probs["off-0000"] == 0
        assert probs["cutmix-0000"] == pytest.approx(0.5, rel=1e-3)
        assert probs["mixup-0000"] == pytest.approx(0.139 / 0.25, rel=0.01)


class TestResume:
    @pytest.fixture
    def study(self, study_of: MakeStudy) -> Study:
        return study_of()

    @pytest.mark.parametrize("n_reports", [0, 1, 2, 5, 9, 14, 20, 27])
    def test_after_a_clean_interruption(self, simulate: Any, study: Study, tmp_path: Path, n_reports: int) -> None:
        first = simulate(study, tmp_path).run(n_reports)
        first.conductor.flush(force=True)
        before = read(tmp_path)
        second = simulate(study, tmp_path).run()
        assert_whole(tmp_path, study)
        after = read(tmp_path)
        pd.testing.assert_frame_equal(after.decisions.iloc[: len(before.decisions)], before.decisions)
        pd.testing.assert_frame_equal(after.epochs.iloc[: len(before.epochs)], before.epochs)
        self.assert_taken_up(before, after, second.jobs)

    def assert_taken_up(self, before: SweepRecords, after: SweepRecords, jobs: list[Job]) -> None:
        """Only the trials that were running have a second attempt, from their last epoch on."""
        running = before.trials.query("status == 'running'").set_index("trial")["epochs"]
        counted = before.epochs["trial"].value_counts()
        came_to = {trial: int(counted.get(trial, 0)) for trial in running.index}
        taken_up = after.trials.query("attempts > 1").set_index("trial")
        assert {trial: int(epoch) for trial, epoch in taken_up["resumed_at_epoch"].items()} == came_to
        assert set(taken_up["attempts"]) <= {2}
        assert after.trials.query("attempts == 1")["resumed_at_epoch"].isna().all()
        assert {job.trial: job.recorded_epochs for job in jobs[: len(came_to)]} == came_to

    @pytest.mark.parametrize("n_reports", [1, 3, 6, 10, 17, 25])
    def test_after_a_kill_that_loses_what_waits(
        self, simulate: Any, study: Study, tmp_path: Path, n_reports: int
    ) -> None:
        simulate(study, tmp_path).run(n_reports)
        before = read(tmp_path)
        simulate(study, tmp_path).run()
        assert_whole(tmp_path, study)
        written = len(before.decisions)
        pd.testing.assert_frame_equal(read(tmp_path).decisions.iloc[:written], before.decisions)

    def test_after_a_kill_at_any_write(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed after each part that is written, also between epochs, decisions and trials."""
        stopping = {"rule": "asha", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}
        budget = {"trials": 3, "max_epochs": 3, "early_stopping": stopping}
        study = study_of(arms={"off": {}, "cutmix": {"mix": "cutmix"}}, budget=budget)
        write = writer.write_part
        n_kills = 0
        for kill_at in range(1, 100):
            countdown = iter(range(kill_at - 1, -1, -1))

            def killed(*arguments: Any, countdown: Iterator[int] = countdown) -> Any:
                part = write(*arguments)
                if next(countdown, None) == 0:
                    raise Killed
                return part

            sweep_dir = tmp_path / str(kill_at)
            monkeypatch.setattr(writer, "write_part", killed)
            try:
                simulate(study, sweep_dir).run()
            except Killed:
                n_kills += 1
            monkeypatch.setattr(writer, "write_part", write)
            before = read_table(sweep_dir, DECISIONS)  # including trials that are not recorded yet
            simulate(study, sweep_dir).run()
            assert_whole(sweep_dir, study)
            after = read_table(sweep_dir, DECISIONS)
            pd.testing.assert_frame_equal(after.iloc[: len(before)], before)
            if n_kills < kill_at:  # the sweep has ended
                break
        assert n_kills > 12

    @pytest.mark.parametrize("seed", range(2))
    def test_after_many_kills_one_after_the_other(self, simulate: Any, study: Study, tmp_path: Path, seed: int) -> None:
        """Sessions of random length; the buffered rows are sometimes lost."""
        luck = random.Random(seed)
        for _ in range(200):
            session = simulate(study, tmp_path, n_workers=luck.choice([1, 2, 3]))
            if not session.conductor.n_left:
                break
            session.run(luck.randrange(6))
            if luck.random() < 0.6:
                session.conductor.flush(force=True)
        assert_whole(tmp_path, study)
        assert read(tmp_path).trials["attempts"].max() > 1

    def test_from_copies_made_while_it_ran(self, simulate: Any, study: Study, tmp_path: Path) -> None:
        """A copy of the folder at any moment, as from a backup, can be resumed."""
        session, luck = simulate(study, tmp_path / "origin"), random.Random(0)
        copies = []
        while session.conductor.n_left:
            session.run(1)
            if luck.random() < 0.4:
                copies.append(tmp_path / f"copy-{len(copies)}")
                shutil.copytree(tmp_path / "origin", copies[-1])
        assert len(copies) > 3
        for copy in copies:
            simulate(study, copy).run()
            assert_whole(copy, study)

    def test_a_finished_sweep_has_nothing_to_do(self, simulate: Any, study: Study, tmp_path: Path) -> None:
        simulate(study, tmp_path).run()
        before = read(tmp_path)
        again = simulate(study, tmp_path).run()
        assert again.jobs == []
        assert again.conductor.n_left == 0
        pd.testing.assert_frame_equal(read(tmp_path).trials, before.trials)

    def test_a_trial_that_depends_on_the_past_is_on_disk_before_it_runs(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        """Its number must keep its parameters: a checkpoint of this number has the weights of the first ones."""
        job = simulate(study_of(search="tpe"), tmp_path).conductor.next_job()
        assert set(trials_of(tmp_path)) == {job.trial}

    def test_trials_that_a_kill_keeps_from_the_records_are_handed_out_again(
        self, simulate: Any, study: Study, tmp_path: Path, report_of: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed between epochs and trials: the fourth trial has an epoch on disk, the first three have none."""
        conductor = simulate(study, tmp_path).conductor
        jobs = [conductor.next_job() for _ in range(4)]
        conductor.on_report(jobs[3].trial, report_of(jobs[3], 1, {}))
        write = writer.write_part

        def killed(folder: Path, content: Any, table: Any, *rows: int) -> Any:
            if table is TRIALS:
                raise Killed
            return write(folder, content, table, *rows)

        monkeypatch.setattr(writer, "write_part", killed)
        with pytest.raises(Killed):
            conductor.flush(force=True)
        monkeypatch.undo()
        assert read_table(tmp_path, EPOCHS)["trial"].tolist() == [jobs[3].trial]
        assert read(tmp_path).trials.empty
        again = simulate(study, tmp_path).conductor
        handed_out = {job.trial: job for _ in range(4) if (job := again.next_job())}
        assert {trial: job.config for trial, job in handed_out.items()} == {job.trial: job.config for job in jobs}
        assert handed_out[jobs[3].trial].recorded_epochs == 1

    def test_a_state_stays_until_the_end_of_its_trial_is_on_disk(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        simulation = simulate(study_of(budget=no_stopping(max_epochs=2)), tmp_path, n_workers=1).run(2)
        assert [path.stem for path in (tmp_path / "checkpoints").iterdir()] == ["off-0000"]
        simulation.conductor.flush(force=True)
        assert not list((tmp_path / "checkpoints").iterdir())

    def test_gives_the_same_jobs(self, simulate: Any, study: Study, tmp_path: Path) -> None:
        """Seeds, parameters and the whole configuration of a trial stay the same."""
        first = simulate(study, tmp_path, n_workers=3).run(2)
        second = simulate(study, tmp_path, n_workers=3).run(2)
        assert [(job.trial, job.config) for job in second.jobs] == [(job.trial, job.config) for job in first.jobs]

    def test_a_diverged_trial_stays_diverged(self, simulate: Any, study: Study, tmp_path: Path) -> None:
        simulate(study, tmp_path, curve=ends("val_nll")).run(8)
        simulate(study, tmp_path, curve=ends("val_nll")).run()
        rows = trials_of(tmp_path)
        assert [rows[f"{arm}-0000"]["status"] for arm in study.arms] == ["diverged"] * 3
        assert_by_the_rule(read(tmp_path).decisions, study)

    @pytest.mark.parametrize("n_ended", [1, 5, 9, 16])
    def test_tpe_proposes_as_if_never_interrupted(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, n_ended: int
    ) -> None:
        """One worker, interrupted between two trials: the same searches, the same results."""
        study = study_of(search="tpe", budget={**study_of().budget.model_dump(), "trials": 6})
        simulate(study, tmp_path / "whole", n_workers=1).run()
        session = simulate(study, tmp_path / "cut", n_workers=1)
        while session.conductor.n_trials - session.conductor.n_left < n_ended:
            session.run(1)
        simulate(study, tmp_path / "cut", n_workers=1).run()
        columns = ["trial", "params.optimizer.lr", "params.mix.apply.prob", "status", "epochs", "seed"]
        pd.testing.assert_frame_equal(
            read(tmp_path / "cut").trials[columns].sort_values("trial", ignore_index=True),
            read(tmp_path / "whole").trials[columns].sort_values("trial", ignore_index=True),
        )


class TestRetryFailed:
    def test_failed_trials_are_left_alone_unless_asked(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        study = study_of(budget=no_stopping())
        simulate(study, tmp_path, curve=ends("failed")).run()
        assert simulate(study, tmp_path).run().jobs == []

    def test_failed_trials_are_taken_up_where_they_were(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        study = study_of(budget=no_stopping())
        simulate(study, tmp_path, curve=ends("failed")).run()
        assert {path.stem for path in (tmp_path / "checkpoints").iterdir()} == {f"{arm}-0000" for arm in study.arms}
        again = simulate(study, tmp_path, retry_failed=True)
        assert again.conductor.n_left == 3
        again.run()
        assert [(job.trial, job.recorded_epochs) for job in again.jobs] == [(f"{arm}-0000", 1) for arm in study.arms]
        assert not list((tmp_path / "checkpoints").iterdir())
        rows = trials_of(tmp_path)
        assert {row["status"] for row in rows.values()} == {"completed"}
        assert {row["why"] for row in rows.values()} == {""}
        assert rows["off-0000"]["attempts"] == 2
        assert rows["off-0000"]["resumed_at_epoch"] == 1
        assert rows["off-0001"]["attempts"] == 1

    def test_the_kind_of_a_failure_is_kept_until_then(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(budget=no_stopping())
        failing = lambda job, epoch: {"failed": "no", "fault": "memory"} if job.trial == "off-0000" else {}  # noqa: E731
        session = simulate(study, tmp_path, curve=failing, n_workers=3).run(1)
        session.conductor.on_loss("cutout-0000", Loss(CRASHES, "stalled"))
        lose_worker(session.conductor, "cutout-0000", "Local disk is full")
        lose_worker(session.conductor, "cutmix-0000")
        session.conductor.flush(force=True)
        for _ in range(2):
            kinds = {name: row["fault"] for name, row in trials_of(tmp_path).items() if row["status"] == "failed"}
            assert kinds == {"off-0000": "memory", "cutout-0000": "disk", "cutmix-0000": "worker"}
            simulate(study, tmp_path).conductor.flush(force=True)
        simulate(study, tmp_path, retry_failed=True).run()
        assert read_table(tmp_path, TRIALS)["fault"].isna().all()

    def test_a_trial_may_fail_again(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(budget=no_stopping())
        simulate(study, tmp_path, curve=ends("failed")).run()
        simulate(study, tmp_path, curve=ends("failed"), retry_failed=True).run()
        row = trials_of(tmp_path)["off-0000"]
        assert (row["status"], row["attempts"]) == ("failed", 2)

    def test_only_failed_ones(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        """Diverged is a result, not a failure."""
        study = study_of()
        simulate(study, tmp_path, curve=ends("val_nll")).run()
        assert simulate(study, tmp_path, retry_failed=True).run().jobs == []


def test_keeps_its_checkpoint_path() -> None:
    """Recorded sweeps depend on it."""
    assert checkpoint_path(Path("sweep"), "off-0001") == Path("sweep/checkpoints/off-0001.pt")
