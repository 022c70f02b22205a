"""Simulated sweeps under every rule: control cohorts, promotions, and decisions that a kill does not change."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search_spaces.early_stopping.base import Rule
from search_spaces.study import Study
from sweep.records.reader import read_rows, read_sweep, read_table
from sweep.records.schema import DECISIONS, EPOCHS
from tests.search_spaces.early_stopping.variants import variants
from tests.sweep.conftest import lose_worker

pytestmark = pytest.mark.usefixtures("one_reader")

MakeStudy = Callable[..., Study]

STOPPING = {
    name: stopping.model_dump()
    for name, stopping in variants(needed=2, grace_period_epochs=1, reduction_factor=2).items()
}
REPORTS = (0, 1, 4, 9, 16)
"""Numbers of reports after which a simulated driver may be killed: at its start, soon, and late."""

every_rule = pytest.mark.parametrize("rule", STOPPING)


def budget(rule: str, **changes: Any) -> dict[str, Any]:
    return {"trials": 6, "max_epochs": 6, "early_stopping": STOPPING[rule], **changes}


def decisions_by_the_rule(sweep_dir: Path, study: Study) -> list[dict[str, Any]]:
    """Decisions that follow from the recorded epochs in the order in which they were written."""
    rules: dict[tuple[str, int], Rule | None] = {}
    decisions = []
    for row in read_sweep(sweep_dir).epochs.to_dict("records"):
        arm, number = row["arm"], int(row["trial"][-4:])
        search = (arm, study.search_of(arm, number))
        if search not in rules:
            rules[search] = study.budget.early_stopping.build(study.budget.max_epochs)
        rule = rules[search]
        judged = rule and rule.observe(study.index_in_search(arm, number), row["epoch"], row[study.metric])
        if judged:
            spared = study.is_control(arm, number) and judged.verdict != "continue"
            verdict = "spared" if spared else judged.verdict
            decisions.append(
                {"trial": row["trial"], "rung_epochs": row["epoch"], "cutoff": judged.cutoff, "verdict": verdict}
            )
    return decisions


def assert_whole(sweep_dir: Path, study: Study) -> None:
    """Check that every trial is recorded once and has ended at the rule's verdict, with the rule's decisions."""
    records = read_sweep(sweep_dir)
    trials = records.trials.set_index("trial")
    assert sorted(trials.index) == sorted(f"{arm}-{n:04d}" for arm in study.arms for n in range(study.trials_per_arm))
    assert set(trials["status"]) <= {"completed", "stopped"}
    for table in (EPOCHS, DECISIONS):
        raw = read_rows(sweep_dir, table).to_pandas()
        assert not raw.duplicated(list(table.key)).any()
    expected = pd.DataFrame(
        decisions_by_the_rule(sweep_dir, study), columns=["trial", "rung_epochs", "cutoff", "verdict"]
    )
    pd.testing.assert_frame_equal(records.decisions[list(expected)], expected, check_dtype=False)
    last = records.decisions.groupby("trial").last()
    for trial, row in trials.iterrows():
        assert (records.epochs["trial"] == trial).sum() == row["epochs"]
        assert row["control"] == study.is_control(row["arm"], row["number"])
        if row["status"] == "stopped":
            assert not row["control"]
            assert last.loc[trial, "verdict"] in ("stop", "pause")
            assert (last.loc[trial, "rung_epochs"], True) == (row["epochs"], f"at epoch {row['epochs']}" in row["why"])
        else:
            assert (row["epochs"], row["why"]) == (study.budget.max_epochs, "")
    assert not list((sweep_dir / "checkpoints").iterdir())


@every_rule
@pytest.mark.parametrize("control_frac", [0.0, 0.34])
def test_comes_to_its_end(simulate: Any, study_of: MakeStudy, tmp_path: Path, rule: str, control_frac: float) -> None:
    study = study_of(budget=budget(rule, control_frac=control_frac))
    simulate(study, tmp_path, n_workers=3).run()
    assert_whole(tmp_path, study)
    records = read_sweep(tmp_path)
    paused = records.decisions.query("verdict == 'pause'").groupby("trial").size()
    for row in records.trials.to_dict("records"):  # started once, and resumed once per promotion
        assert row["attempts"] == 1 + paused.get(row["trial"], 0) - (row["status"] == "stopped" and "promote" in rule)
    verdicts = set(records.decisions["verdict"])
    assert ("spared" in verdicts) <= (control_frac > 0)
    if rule != "none":
        assert verdicts - {"spared"} == {"continue", "pause" if "promote" in rule else "stop"}


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rule=st.sampled_from(list(STOPPING)), seed=st.integers(0, 10**6))
def test_decides_after_kills_as_if_there_had_been_none(
    simulate: Any, study_of: MakeStudy, tmp_path_factory: pytest.TempPathFactory, rule: str, seed: int
) -> None:
    """One worker, so that reports come in the same order; the buffered rows are sometimes lost."""
    luck, folder = random.Random(seed), tmp_path_factory.mktemp("kills")
    changes = {"trials": 4, "max_epochs": 5, "control_frac": luck.choice([0.0, 0.3])}
    study = study_of(arms={"off": {}, "cutmix": {"mix": "cutmix"}}, budget=budget(rule, **changes), seed=seed)
    simulate(study, folder / "whole", n_workers=1).run()
    while (session := simulate(study, folder / "cut", n_workers=1)).conductor.n_left:
        session.run(luck.choice(REPORTS))
        if luck.random() < 0.5:
            session.conductor.flush(force=True)
    assert_whole(folder / "cut", study)
    whole, cut = (read_sweep(folder / name) for name in ("whole", "cut"))
    pd.testing.assert_frame_equal(cut.decisions.drop(columns="time_s"), whole.decisions.drop(columns="time_s"))
    columns = ["trial", "status", "why", "epochs", "control"]
    pd.testing.assert_frame_equal(
        cut.trials[columns].sort_values("trial", ignore_index=True),
        whole.trials[columns].sort_values("trial", ignore_index=True),
    )


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rule=st.sampled_from(list(STOPPING)), search=st.sampled_from(["random", "tpe"]), seed=st.integers(0, 10**6))
def test_many_workers_and_six_kills(
    simulate: Any, study_of: MakeStudy, tmp_path_factory: pytest.TempPathFactory, rule: str, search: str, seed: int
) -> None:
    """Decisions stay valid, and a trial keeps its sampled parameters."""
    luck, folder = random.Random(seed), tmp_path_factory.mktemp("kills")
    arms = {"off": {}, "cutmix": {"mix": "cutmix"}}
    study = study_of(arms=arms, search=search, seed=seed, budget=budget(rule, control_frac=0.2))
    decided, drawn = [], {}
    for _ in range(6):
        session = simulate(study, folder, n_workers=luck.choice([1, 2, 4])).run(luck.choice(REPORTS))
        drawn |= {job.trial: job.config for job in session.jobs}
        decided.append(read_table(folder, DECISIONS))
    session = simulate(study, folder).run()
    assert_whole(folder, study)
    for before in decided:
        pd.testing.assert_frame_equal(read_table(folder, DECISIONS).iloc[: len(before)], before)
    lr = read_sweep(folder).trials.set_index("trial")["config.optimizer.lr"]
    assert {trial: config.optimizer.lr for trial, config in drawn.items()} == lr[list(drawn)].to_dict()


class TestControlCohort:
    @every_rule
    def test_runs_to_the_end_in_every_arm(self, simulate: Any, study_of: MakeStudy, tmp_path: Path, rule: str) -> None:
        study = study_of(budget=budget(rule, control_frac=0.5))
        simulate(study, tmp_path).run()
        control = read_sweep(tmp_path).trials.query("control")
        assert set(control["status"]) == {"completed"}
        assert control.groupby("arm")["number"].apply(tuple).nunique() == 1
        assert control.groupby("arm").size().to_dict() == {"off": 3, "cutout": 3, "cutmix": 3}

    def test_counts_at_the_rungs(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        """The control trial counts for the cutoff: all other trials but one are worse and stop."""
        study = study_of(arms={"off": {}}, budget=budget("asha", trials=4, control_frac=0.25))
        (control,) = (number for number in range(4) if study.is_control("off", number))
        level = {number: 1.0 if number == control else 2.0 + number for number in range(4)}
        simulate(study, tmp_path, curve=lambda job, _: {"val_nll": level[int(job.trial[-1])]}, n_workers=1).run()
        trials = read_sweep(tmp_path).trials
        assert trials.query("number > @control")["status"].eq("stopped").all()

    def test_a_control_trial_may_diverge(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(budget=budget("asha", control_frac=0.5))
        simulate(study, tmp_path, curve=lambda *_: {"val_nll": float("inf")}).run()
        assert set(read_sweep(tmp_path).trials["status"]) == {"diverged"}


class TestPromotion:
    @pytest.fixture
    def study(self, study_of: MakeStudy) -> Study:
        return study_of(arms={"off": {}}, budget=budget("asha-promote", trials=4, max_epochs=3))

    LEVELS = (0.1, 0.9, 0.2, 0.8)

    def curve(self, job: Any, epoch: int) -> dict[str, Any]:
        return {"val_nll": self.LEVELS[int(job.trial[-1])] + 1 / epoch}

    def test_goes_on_with_a_paused_trial_when_there_is_room(self, simulate: Any, study: Study, tmp_path: Path) -> None:
        """Trial 2 is second of three at its report, and among the best two after the fourth report."""
        session = simulate(study, tmp_path, curve=self.curve, n_workers=1).run()
        assert [(job.trial[-1], job.recorded_epochs) for job in session.jobs] == [
            *(("0", 0), ("1", 0), ("2", 0), ("3", 0), ("2", 1))
        ]
        trials = read_sweep(tmp_path).trials.set_index("number")
        assert trials["status"].to_dict() == {0: "completed", 1: "stopped", 2: "stopped", 3: "stopped"}
        assert trials["epochs"].to_dict() == {0: 3, 1: 1, 2: 2, 3: 1}
        assert trials.loc[1, "why"] == "val_nll 1.9 > 1.1 at epoch 1, never promoted"
        assert trials.loc[2, "attempts"] == 2

    def test_a_paused_trial_keeps_its_checkpoint(self, simulate: Any, study: Study, tmp_path: Path) -> None:
        session = simulate(study, tmp_path, curve=self.curve, n_workers=1).run(5)
        session.conductor.flush(force=True)
        assert read_sweep(tmp_path).trials.set_index("number")["status"].to_dict() == {
            0: "completed",
            1: "paused",
            2: "paused",
        }
        assert {path.stem for path in (tmp_path / "checkpoints").iterdir()} == {"off-0001", "off-0002"}
        assert session.conductor.n_left == 3

    def test_nothing_now_is_not_nothing_more(self, study: Study, simulate: Any, tmp_path: Path, report_of: Any) -> None:
        conductor = simulate(study, tmp_path).conductor
        jobs = [job for _ in range(4) if (job := conductor.next_job())]
        for job in jobs[:3]:
            conductor.on_report(job.trial, report_of(job, 1, self.curve(job, 1)))
        lose_worker(conductor, jobs[0].trial)
        assert (conductor.next_job(), conductor.may_go_on) == (None, True)
        conductor.on_report(jobs[3].trial, report_of(jobs[3], 1, self.curve(jobs[3], 1)))
        promoted = conductor.next_job()
        assert promoted is not None
        assert (promoted.trial, promoted.recorded_epochs) == ("off-0002", 1)
        assert (conductor.next_job(), conductor.may_go_on) == (None, True)
        lose_worker(conductor, promoted.trial)
        assert (conductor.next_job(), conductor.may_go_on, conductor.n_left) == (None, False, 0)

    def test_a_trial_left_without_a_worker_keeps_the_paused_waiting(
        self, study: Study, simulate: Any, tmp_path: Path, report_of: Any
    ) -> None:
        conductor = simulate(study, tmp_path).conductor
        jobs = [job for _ in range(4) if (job := conductor.next_job())]
        for job in jobs[:3]:
            conductor.on_report(job.trial, report_of(job, 1, self.curve(job, 1)))
        for job in (jobs[0], jobs[3]):
            conductor.put_back(job.trial)
        assert (conductor.may_go_on, conductor.n_left) == (True, 4)
        assert {conductor.next_job().trial for _ in range(2)} == {jobs[0].trial, jobs[3].trial}
        simulate(study, tmp_path, curve=self.curve, n_workers=1).run()
        assert_whole(tmp_path, study)

    def test_a_promoted_trial_that_is_killed_before_it_reports_is_not_paused_again(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, report_of: Any
    ) -> None:
        """Better trials may have reached its rung in the meantime; a promoted trial continues."""
        study = study_of(arms={"off": {}}, budget=budget("asha-promote", trials=5, max_epochs=3))
        conductor = simulate(study, tmp_path).conductor
        jobs = [job for _ in range(5) if (job := conductor.next_job())]
        for job in jobs[:4]:
            conductor.on_report(job.trial, report_of(job, 1, self.curve(job, 1)))
        promoted = conductor.next_job()
        assert promoted is not None
        assert (promoted.trial, promoted.recorded_epochs) == ("off-0002", 1)
        conductor.on_report(jobs[4].trial, report_of(jobs[4], 1, {"val_nll": 0.01}))
        conductor.flush(force=True)
        again = simulate(study, tmp_path, curve=lambda *_: {"val_nll": 1.0}, n_workers=1).run()
        assert ("off-0002", 1) in [(job.trial, job.recorded_epochs) for job in again.jobs[:3]]
        assert_whole(tmp_path, study)

    @pytest.mark.parametrize(("rule", "pauses"), [("asha-promote", (1,)), ("asha", ()), ("none", ())])
    def test_a_worker_knows_where_its_trial_may_pause(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, rule: str, pauses: tuple[int, ...]
    ) -> None:
        study = study_of(arms={"off": {}}, budget=budget(rule, trials=4, max_epochs=2, control_frac=0.5))
        conductor = simulate(study, tmp_path).conductor
        for number in range(4):
            job = conductor.next_job()
            assert job.pause_epochs == (() if study.is_control("off", number) else pauses)
