"""Trials that run out of GPU memory: they wait, run again last and alone, and only then they have failed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import Study
from sweep.conductor import Conductor, Job
from sweep.documents import status_document
from sweep.entry import MAX_NEIGHBOUR_FAULTS
from sweep.followed import FollowedSweep
from sweep.losses import Loss
from sweep.progress import ProgressTracker
from sweep.records.reader import read_table
from sweep.records.schema import EPOCHS, LIVING, NEIGHBOUR_FAULTS, TRIALS
from tests.sweep.conftest import falling

pytestmark = pytest.mark.usefixtures("one_reader")

ERROR = {"out_of_memory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.", "node": "here"}
SHARED = {"trials_per_gpu": 4}
CONFIRMED = {"trials": 4, "max_epochs": 3, "early_stopping": {"rule": "none"}}

MakeStudy = Callable[..., Study]


class Card:
    """A GPU on which some trials run out of memory; ``n_times``: how often, in any turn, after their first epoch."""

    def __init__(self, **n_times: int) -> None:
        self.left = {name.replace("_", "-"): number for name, number in n_times.items()}

    def __call__(self, job: Job, epoch: int) -> Mapping[str, Any]:
        if epoch > 1 and self.left.get(job.trial):
            self.left[job.trial] -= 1
            return ERROR
        return falling(job, epoch)


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["trial"]: row for row in read_table(folder, TRIALS).to_dict("records")}


def curves_of(folder: Path) -> set[tuple[str, int, float]]:
    epochs = read_table(folder, EPOCHS)
    return set(zip(epochs["trial"], epochs["epoch"], epochs["val_nll"], strict=True))


def test_the_trial_runs_last_with_a_whole_gpu_as_if_nothing_had_happened(
    simulate: Any, study_of: MakeStudy, tmp_path: Path
) -> None:
    study = study_of(budget=CONFIRMED, resources=SHARED, confirm={"searches": 2, "seeds": 1})
    simulate(study, tmp_path / "undisturbed").run()
    turns: list[tuple[str, float]] = []

    class Watched(simulate):  # type: ignore[misc]
        def _fill(self) -> None:
            n_jobs = len(self.jobs)
            super()._fill()
            turns.extend((job.trial, self.conductor.resources.gpus) for job in self.jobs[n_jobs:])

    folder = tmp_path / "disturbed"
    ended = Watched(study, folder, curve=Card(cutmix_0001=1)).run()
    assert curves_of(folder) == curves_of(tmp_path / "undisturbed")
    alone = [place for place, turn in enumerate(turns) if turn == ("cutmix-0001", 1.0)]
    assert [gpus for _, gpus in turns].count(1.0) == 1
    (after,) = (trial for trial, _ in turns[alone[0] + 1 :])  # only what needs its result: its search's confirmation
    confirms = rows_of(folder)[after]
    assert (confirms["phase"], confirms["arm"], confirms["search"]) == ("confirm", "cutmix", 1)
    assert ended.jobs[alone[0]].recorded_epochs == 1
    row = rows_of(folder)["cutmix-0001"]
    assert (row["status"], row["gpu_out_of_memory"], row["attempts"], row["why"]) == ("completed", 1, 2, "")
    assert ended.conductor.lost == [
        "cutmix-0001 ran out of GPU memory on here and runs again last, alone with a whole GPU, continues after epoch 1"
    ]


def test_a_trial_that_does_not_fit_alone_has_failed_and_says_what_to_do(
    simulate: Any, study_of: MakeStudy, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    study = study_of(budget=CONFIRMED, resources=SHARED)
    ended = simulate(study, tmp_path, curve=Card(off_0000=2)).run()
    row = rows_of(tmp_path)["off-0000"]
    assert (row["status"], row["fault"], row["gpu_out_of_memory"], row["epochs"]) == ("failed", "memory", 2, 1)
    assert "lower data.batch_size, set model.precision to bf16 or fp16" in row["why"]
    assert "CUDA out of memory" in row["why"]
    assert (ended.conductor.n_left, ended.conductor.nodes.failing) == (0, None)
    again = simulate(study, tmp_path, retry_failed=True).run()
    assert [(job.trial, job.recorded_epochs) for job in again.jobs] == [("off-0000", 1)]
    assert rows_of(tmp_path)["off-0000"]["status"] == "completed"
    sentence = "1 trial did not fit in the memory of its share of a GPU; with a whole GPU: 1 completed."
    assert status_document(tmp_path)["gpu_memory"] == sentence
    _, out, _ = run("status", str(tmp_path))
    shown = " ".join(out.split())
    assert sentence in shown
    assert ", 4 trials per GPU;" in shown


def test_a_trial_waits_over_a_kill_and_is_shown_as_waiting(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
    study = study_of(budget=CONFIRMED, resources=SHARED)
    first = simulate(study, tmp_path, curve=Card(off_0000=1)).run(8)
    first.conductor.flush(force=True)
    assert "off-0000" not in {entry.trial for entry in first.conductor.running}
    arms = ProgressTracker(first.conductor).snapshot().arms
    assert (arms[0].counts["paused"], arms[0].counts["failed"]) == (1, 0)
    followed = FollowedSweep(tmp_path)
    assert "off-0000" not in {entry.trial for entry in followed.running}
    assert rows_of(tmp_path)["off-0000"]["why"] == "waits: for a whole GPU, after the other trials"
    conductor = Conductor(study, tmp_path)
    shared = []
    while (job := conductor.next_job()) is not None:
        shared.append(job.trial)
    ended = {trial for trial, row in rows_of(tmp_path).items() if row["status"] == "completed"}
    assert len(shared) == 12 - len(ended) - 1
    assert "off-0000" not in shared
    for trial in shared:
        conductor.on_report(trial, {"trial": trial, "failed": "its code", "node": "here"})
    assert (conductor.next_job(), conductor.may_go_on) == (None, False)
    assert (conductor.begin_next_turn(), conductor.resources.gpus) == (True, 1.0)
    last = conductor.next_job()
    assert last is not None
    assert (last.trial, last.recorded_epochs, conductor.next_job()) == ("off-0000", 1, None)


def test_a_paused_trial_that_is_promoted_waits_for_a_whole_gpu_again(
    simulate: Any, study_of: MakeStudy, tmp_path: Path
) -> None:
    stopping = {"rule": "asha", "mode": "promote", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}
    budget = {"trials": 4, "max_epochs": 2, "early_stopping": stopping}
    study = study_of(arms={"off": {"mix": "off"}}, budget=budget, resources=SHARED)
    ranks = {"off-0000": 1.0, "off-0001": 3.0, "off-0002": 2.0, "off-0003": 4.0}
    seen: list[tuple[str, int, bool]] = []

    def card(job: Job, epoch: int) -> Mapping[str, Any]:
        seen.append((job.trial, epoch, is_alone := session.conductor.is_turn_of_whole_gpus))
        is_too_large = job.trial in ("off-0002", "off-0003") and not is_alone
        return ERROR if is_too_large else {"val_nll": ranks[job.trial]}

    session = simulate(study, tmp_path, curve=card, n_workers=1)
    session.run()
    of_promoted = [report for report in seen if report[0] == "off-0002"]
    assert of_promoted == [("off-0002", 1, False), ("off-0002", 1, True), ("off-0002", 2, True)]
    assert seen.index(("off-0003", 1, True)) < seen.index(("off-0002", 2, True))  # until then, it was paused
    assert {trial: row["status"] for trial, row in rows_of(tmp_path).items()} == {
        **dict.fromkeys(("off-0000", "off-0002"), "completed"),
        **dict.fromkeys(("off-0001", "off-0003"), "stopped"),
    }


@pytest.mark.parametrize("seed", range(3))
def test_paused_and_killed_trials_that_ran_out_of_memory_all_end(
    simulate: Any, study_of: MakeStudy, tmp_path: Path, seed: int
) -> None:
    stopping = {"rule": "asha", "kind": "promoting"} if False else {"rule": "promoting_asha"}
    stopping = {"rule": "asha", "mode": "promote", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}
    study = study_of(
        budget={"trials": 6, "max_epochs": 4, "early_stopping": stopping},
        resources=SHARED,
        confirm={"searches": 2, "seeds": 1},
    )
    draws = random.Random(seed)

    def card(job: Job, epoch: int) -> Mapping[str, Any]:
        is_alone = session.conductor.is_turn_of_whole_gpus
        assert session.conductor.entries[job.trial].needs_whole_gpu == is_alone
        return ERROR if draws.random() < (0.02 if is_alone else 0.15) else falling(job, epoch)

    while True:
        session = simulate(study, tmp_path, curve=card)
        if not session.conductor.n_left:
            break
        session.run(draws.randrange(1, 25))
    rows = rows_of(tmp_path).values()
    assert not {row["status"] for row in rows} & set(LIVING)
    assert all(row["gpu_out_of_memory"] > 1 for row in rows if row["status"] == "failed")
    assert any(row["gpu_out_of_memory"] for row in rows)


def test_errors_of_a_neighbour_cost_no_life_and_end_in_a_turn_alone(
    simulate: Any, study_of: MakeStudy, tmp_path: Path
) -> None:
    conductor: Conductor = simulate(study_of(resources=SHARED), tmp_path).conductor
    job = conductor.next_job()
    assert job is not None
    for number in range(MAX_NEIGHBOUR_FAULTS + 1):
        assert conductor.may_run(job.trial), number
        conductor.on_restart(job.trial)
        conductor.on_loss(job.trial, Loss(NEIGHBOUR_FAULTS, "worker", "here"))
    assert not conductor.may_run(job.trial)  # it waits for a worker beside others: it gets none
    conductor.put_back(job.trial)
    assert conductor.entries[job.trial].status == "running"
    others = [conductor.next_job() for _ in range(12)]
    assert job.trial not in {other.trial for other in others if other}
