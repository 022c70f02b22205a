"""Confirmation of winners on fresh seeds: which trials, when, and their records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import Study
from sweep.confirm import confirming, winners
from sweep.entry import Entry
from sweep.ledger import Ledger
from sweep.losses import MAX_LOST_WORKERS, classify
from sweep.records.reader import read_sweep

pytestmark = pytest.mark.usefixtures("one_reader")

MakeStudy = Callable[..., Study]

CONFIRM = {"configs": 1, "searches": 1, "seeds": 3}


def entry(number: int, error: float, *, status: str = "completed", **params: Any) -> Entry:
    return Entry(
        trial=f"off-{number:04d}",
        arm="off",
        search=0,
        number=number,
        replicate=number,
        control=False,
        params=params,
        status=status,
        curve={1: {"val_nll": 9.0}, 2: {"val_nll": error}},
    )


def names(entries: list[Entry]) -> list[str]:
    return [entry.trial for entry in entries]


class TestWinners:
    def test_best_after_the_last_epoch_first(self) -> None:
        entries = [entry(0, 0.5, lr=1), entry(1, 0.3, lr=2), entry(2, 0.4, lr=3)]
        assert names(winners(entries, metric="val_nll", count=2)) == ["off-0001", "off-0002"]

    def test_replicates_count_together(self) -> None:
        lucky = [entry(0, 0.1, lr=1), entry(1, 0.9, lr=1)]  # the mean of both counts
        steady = [entry(2, 0.4, lr=2), entry(3, 0.4, lr=2)]
        assert names(winners([*lucky, *steady], metric="val_nll", count=1)) == ["off-0002"]

    @pytest.mark.parametrize("status", ["stopped", "failed", "diverged"])
    def test_only_what_ran_to_the_end(self, status: str) -> None:
        entries = [entry(0, 0.1, status=status, lr=1), entry(1, 0.3, lr=2)]
        assert names(winners(entries, metric="val_nll", count=2)) == ["off-0001"]

    def test_of_equal_ones_the_earlier(self) -> None:
        entries = [entry(2, 0.3, lr=3), entry(1, 0.3, lr=2)]
        assert names(winners(entries, metric="val_nll", count=2)) == ["off-0001", "off-0002"]

    def test_not_what_is_no_number(self) -> None:
        assert winners([entry(0, float("nan"))], metric="val_nll", count=1) == []

    def test_the_same_seeds_for_each(self, study_of: MakeStudy) -> None:
        confirm = study_of(confirm=CONFIRM | {"configs": 2}).confirm
        assert confirm
        trials = list(confirming([entry(4, 0.1, lr=1), entry(2, 0.2, lr=2)], confirm))
        assert [(trial.confirms, trial.number) for trial in trials] == [
            *(("off-0004", 0), ("off-0002", 0), ("off-0004", 1), ("off-0002", 1)),
            *(("off-0004", 2), ("off-0002", 2)),
        ]


class TestConductor:
    @pytest.fixture
    def study(self, study_of: MakeStudy) -> Study:
        return study_of(confirm=CONFIRM)

    def test_confirms_each_arms_best(self, simulate: Any, study: Study, tmp_path: Path) -> None:
        ended = simulate(study, tmp_path).run()
        assert ended.conductor.n_left == 0
        assert not ended.conductor.may_go_on
        search, confirm = read_sweep(tmp_path), read_sweep(tmp_path, "confirm")
        assert len(search.trials) == 3 * 4
        assert len(confirm.trials) == 3 * 3
        final = search.epochs[search.epochs["epoch"] == 5]
        for arm, rows in confirm.trials.groupby("arm"):
            best = final[final["arm"] == arm].sort_values("val_nll")["trial"].iloc[0]
            assert set(rows["confirms"]) == {best}
            assert set(rows["status"]) == {"completed"}
            params = search.trials.set_index("trial").loc[best].filter(like="params.")
            assert (rows.filter(like="params.").fillna(-1) == params.fillna(-1)).all(axis=None)

    def test_on_seeds_that_chose_nothing_the_same_in_all_arms(
        self, simulate: Any, study: Study, tmp_path: Path
    ) -> None:
        simulate(study, tmp_path).run()
        search, confirm = read_sweep(tmp_path).trials, read_sweep(tmp_path, "confirm").trials
        by_arm = [sorted(rows["seed"]) for _, rows in confirm.groupby("arm")]
        assert by_arm[0] == by_arm[1] == by_arm[2]
        assert len(set(by_arm[0])) == 3
        assert not set(by_arm[0]) & set(search["seed"])

    def test_only_they_are_tested_and_none_is_stopped(self, simulate: Any, study: Study, tmp_path: Path) -> None:
        simulated = simulate(study, tmp_path).run()
        assert all(job.test == ("confirm" in job.trial) for job in simulated.jobs)
        search, confirm = read_sweep(tmp_path), read_sweep(tmp_path, "confirm")
        assert search.evaluations.empty
        assert confirm.decisions.empty
        assert (confirm.trials["epochs"] == study.budget.max_epochs).all()
        values = confirm.evaluations
        assert set(values["trial"]) == set(confirm.trials["trial"])
        assert (values.groupby("trial")["metric"].nunique() == 4).all()
        assert set(values["split"]) == {"test"}
        assert set(values["n"]) == {50}
        seeds = confirm.trials.set_index("trial")["seed"]
        assert (values["seed"] == values["trial"].map(seeds)).all()

    def test_search_is_what_it_is_without_confirmation(
        self, simulate: Any, study: Study, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        simulate(study, tmp_path / "with").run()
        simulate(study_of(), tmp_path / "without").run()
        ours, others = (read_sweep(tmp_path / name).trials for name in ("with", "without"))
        columns = ["trial", "seed", "status", "epochs", "params.optimizer.lr"]
        assert ours[columns].equals(others[columns])

    def test_an_arm_without_a_completed_trial_has_no_winner(self, simulate: Any, study: Study, tmp_path: Path) -> None:
        def curve(job: Any, epoch: int) -> dict[str, Any]:
            return {"failed": "bug"} if job.trial.startswith("cutout") else {"val_nll": 1.0}

        ended = simulate(study, tmp_path, curve=curve).run()
        assert ended.conductor.n_left == 0
        assert set(read_sweep(tmp_path, "confirm").trials["arm"]) == {"off", "cutmix"}

    def test_a_kill_between_the_last_epoch_and_its_test_values(
        self, simulate: Any, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = simulate(study, tmp_path, n_workers=1).run(1)
        while not (job := first.jobs[-1]).test:
            first.run(1)
        monkeypatch.setattr(Ledger, "add_test", lambda *_: None)
        first.run(4)  # all epochs of the first confirmation, but no test values
        first.conductor.flush(force=True)
        monkeypatch.undo()
        assert read_sweep(tmp_path, "confirm").evaluations.empty
        again = simulate(study, tmp_path, n_workers=1)
        taken_up = again.conductor.next_job()
        assert (taken_up.trial, taken_up.recorded_epochs) == (job.trial, study.budget.max_epochs)
        again = simulate(study, tmp_path, n_workers=1).run()
        confirm = read_sweep(tmp_path, "confirm")
        assert set(confirm.trials["status"]) == {"completed"}
        assert job.trial in set(confirm.evaluations["trial"])
        assert (confirm.epochs.groupby("trial").size() == 5).all()


class TestAWorkerThatDiesBetweenTwoTrials:
    def test_another_worker_takes_the_trial_over(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulated = simulate(study_of(confirm=CONFIRM), tmp_path)
        left = simulated.conductor.next_job().trial
        simulated.conductor.put_back(left)
        assert simulated.conductor.running == []
        simulated.run()
        assert simulated.conductor.n_left == 0
        assert simulated.conductor.entries[left].attempts == 2
        assert left in set(read_sweep(tmp_path).trials["trial"])

    def test_a_trial_that_kills_its_workers_fails(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        conductor = simulate(study_of(), tmp_path).conductor
        first = conductor.next_job().trial
        for _ in range(MAX_LOST_WORKERS + 1):
            conductor.put_back(first)
            conductor.on_loss(first, classify("killed"))
            following = conductor.next_job().trial
            assert (following == first) == (conductor.entries[first].status == "running")
        assert conductor.entries[first].why == "its worker was lost 4 times: killed"


def test_promotion_then_confirmation(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    stopping = {"rule": "asha", "mode": "promote", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}
    budget = {"trials": 6, "max_epochs": 5, "early_stopping": stopping}
    ended = simulate(study_of(confirm=CONFIRM, budget=budget), tmp_path).run()
    assert ended.conductor.n_left == 0
    assert not ended.conductor.may_go_on
    assert (read_sweep(tmp_path, "confirm").trials.groupby("arm").size() == 3).all()


class TestExtended:
    def test_more_seeds_repeat_nothing(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(confirm=CONFIRM), tmp_path).run()
        more = simulate(study_of(confirm=CONFIRM | {"seeds": 5}), tmp_path).run()
        assert len(more.jobs) == 3 * 2
        confirm = read_sweep(tmp_path, "confirm").trials
        assert (confirm.groupby("arm").size() == 5).all()
        assert (confirm["attempts"] == 1).all()

    def test_more_trials_repeat_nothing(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        budget = study_of().budget.model_dump()
        simulate(study_of(confirm=CONFIRM), tmp_path).run()
        before = read_sweep(tmp_path).trials.set_index("trial")
        more = simulate(study_of(confirm=CONFIRM, budget=budget | {"trials": 7}), tmp_path).run()
        after = read_sweep(tmp_path).trials.set_index("trial")
        assert (after.groupby("arm").size() == 7).all()
        columns = ["seed", "status", "epochs", "attempts", "params.optimizer.lr"]
        assert after.loc[before.index, columns].equals(before[columns])
        assert not {job.trial for job in more.jobs} & set(before.index)
        assert more.conductor.n_left == 0
        assert not more.conductor.may_go_on

    @pytest.mark.parametrize("n_reports", [0, 1, 7, 20, 45, 60])
    def test_new_winners_are_confirmed_whenever_it_is_cut_short(
        self, n_reports: int, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        """The search gets a better trial in every arm: former winners stay recorded but do not count as done work."""
        budget = study_of().budget.model_dump() | {"early_stopping": {"rule": "none"}}

        def better_and_better(job: Any, _: int) -> dict[str, Any]:
            number = int((job.trial.partition("-confirm")[0])[-4:])
            return {"val_nll": 1 / (1 + number), "val_top1_error": 0.5}

        simulate(study_of(confirm=CONFIRM, budget=budget), tmp_path, curve=better_and_better).run()
        longer = study_of(confirm=CONFIRM, budget=budget | {"trials": 5})
        simulate(longer, tmp_path, curve=better_and_better).run(n_reports)
        ended = simulate(longer, tmp_path, curve=better_and_better).run()
        assert ended.conductor.n_left == 0
        assert not ended.conductor.may_go_on
        confirm = read_sweep(tmp_path, "confirm").trials
        assert set(confirm["confirms"]) == {f"{arm}-{n:04d}" for arm in longer.arms for n in (3, 4)}
        assert ended.conductor.n_trials == 3 * (5 + 2 * 3)
        assert (confirm["attempts"] <= 2).all()

    def test_retried_replicates_confirm_nothing_twice(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(confirm=CONFIRM, space={}, arms={"off": {"mix": "off"}})

        def curve(job: Any, _: int) -> dict[str, Any]:
            return {"failed": "bug"} if job.trial == "off-0000" else {}

        simulate(study, tmp_path, curve=curve).run()
        simulate(study, tmp_path, retry_failed=True).run()
        assert set(read_sweep(tmp_path, "confirm").trials["confirms"]) == {"off-0000"}

    def test_more_arms_repeat_nothing(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(confirm=CONFIRM)
        simulate(study, tmp_path).run()
        arms = {name: arm.model_dump() for name, arm in study.arms.items()} | {"mixup": {"mix": "mixup"}}
        more = simulate(study_of(confirm=CONFIRM, arms=arms), tmp_path).run()
        assert {job.trial.split("-")[0] for job in more.jobs} == {"mixup"}
        assert len(more.jobs) == 4 + 3
