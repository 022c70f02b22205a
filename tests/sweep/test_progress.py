"""Facts about a running sweep: states of arms and trials, events, time left."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import Study
from sweep.progress import ProgressTracker, SweepProgress

MakeStudy = Callable[..., Study]
BUDGET = {"trials": 2, "max_epochs": 4, "early_stopping": {"rule": "none"}}


@pytest.fixture
def session(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Any:
    """Two trials of each of three arms, four epochs each, one at a time."""
    return simulate(study_of(budget=BUDGET), tmp_path, n_workers=1)


def outcomes(job: Any, epoch: int) -> dict[str, Any]:
    """Return a failure in one trial, errors that are not finite in another, and known errors in the rest."""
    if job.trial == "cutout-0001":
        return {
            "failed": 'Traceback:\n  File "net.py", line 3, in run\n    step()\nValueError: bad\nshape',
            "node": "here",
        }
    errors = {"off-0000": 0.3, "off-0001": 0.2, "cutout-0000": 0.4, "cutmix-0000": math.nan}
    error = errors.get(job.trial, 0.5)
    return {"val_top1_error": error, "val_nll": error}


class TestSnapshot:
    def test_arms(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        session = simulate(study_of(budget=BUDGET), tmp_path, curve=outcomes, n_workers=1)
        tracker = ProgressTracker(session.conductor)
        session.run(16)
        shown = tracker.snapshot()
        off, cutout, cutmix = shown.arms
        assert (off.best, off.median, off.best_so_far) == (0.2, 0.25, (0.3, 0.2))
        assert (cutout.best, cutout.median, cutout.best_so_far) == (0.4, 0.4, (0.4,))
        assert (cutmix.best, cutmix.median, cutmix.best_so_far) == (None, None, ())
        assert {arm.arm: {name: n for name, n in arm.counts.items() if n} for arm in shown.arms} == {
            "off": {"completed": 2},
            "cutout": {"completed": 1, "failed": 1},
            "cutmix": {"running": 1, "diverged": 1},
        }
        assert shown.last_failure == "cutout-0001 on here: ValueError: bad shape"
        (running,) = shown.running
        assert (running.trial, running.epoch, running.planned_epochs, running.node) == ("cutmix-0001", 2, 4, "here")

    def test_an_interrupted_trial_waits_until_a_worker_resumes_it(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        simulate(study_of(budget=BUDGET), tmp_path, n_workers=1).run(6).conductor.flush(force=True)
        again = simulate(study_of(budget=BUDGET), tmp_path, n_workers=1)
        tracker = ProgressTracker(again.conductor)
        cutout = tracker.snapshot().arms[1]
        assert (cutout.counts["running"], cutout.counts["paused"]) == (0, 1)
        again._fill()
        cutout, (running,) = tracker.snapshot().arms[1], tracker.snapshot().running
        assert (cutout.counts["running"], cutout.counts["paused"]) == (1, 0)
        assert (running.epoch, running.node) == (2, None)  # it has not reported from its new worker
        again.run()
        assert [len(arm.best_so_far) for arm in tracker.snapshot().arms] == [2, 2, 2]


class TestTimeLeft:
    """Upper bound: the epochs left at the pace of this run."""

    def after(
        self, clock: Any, conductor: Any, run: Callable[[], Any], *, elapsed_s: float
    ) -> tuple[int, float | None]:
        tracker = ProgressTracker(conductor)
        run()
        clock.now_s += elapsed_s
        shown: SweepProgress = tracker.snapshot()
        assert shown.elapsed_s == elapsed_s
        return shown.n_epochs, shown.left_s

    def test_uses_the_pace_so_far(self, session: Any, clock: Any) -> None:
        assert self.after(clock, session.conductor, lambda: session.run(6), elapsed_s=60) == (6, 180)

    def test_does_not_count_epochs_that_stopped_trials_saved(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path, clock: Any
    ) -> None:
        curve = lambda job, epoch: {"failed": "x"} if (job.trial, epoch) == ("off-0000", 2) else {}  # noqa: E731
        session = simulate(study_of(budget=BUDGET), tmp_path, n_workers=1, curve=curve)
        assert self.after(clock, session.conductor, lambda: session.run(2), elapsed_s=10) == (1, 200)

    def test_counts_this_run_only(self, simulate: Any, study_of: MakeStudy, tmp_path: Path, clock: Any) -> None:
        simulate(study_of(budget=BUDGET), tmp_path, n_workers=1).run(12).conductor.flush(force=True)
        again = simulate(study_of(budget=BUDGET), tmp_path, n_workers=1)
        assert self.after(clock, again.conductor, lambda: again.run(3), elapsed_s=30) == (3, 90)

    def test_follows_each_trials_own_plan(self, simulate: Any, study_of: MakeStudy, tmp_path: Path, clock: Any) -> None:
        space = {"optimizer.max_epochs": {"kind": "choice", "values": [1, 4]}}
        study = study_of(arms={"off": {}}, space=space, search="grid", budget=BUDGET | {"trials": 4})
        session = simulate(study, tmp_path, n_workers=1)
        assert self.after(clock, session.conductor, lambda: session.run(3), elapsed_s=30) == (3, 70)

    def test_is_unknown_before_the_first_epoch_and_zero_at_the_end(self, session: Any, clock: Any) -> None:
        assert self.after(clock, session.conductor, lambda: None, elapsed_s=30) == (0, None)
        assert self.after(clock, session.conductor, session.run, elapsed_s=30) == (24, 0)


class TestEvents:
    def test_each_end_once(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(budget=BUDGET, confirm={"configs": 1, "searches": 1, "seeds": 2})
        session = simulate(study, tmp_path, curve=outcomes, n_workers=1)
        tracker = ProgressTracker(session.conductor)
        session.run(5)
        first = tracker.new_events()
        assert [(event.trial, event.kind, event.epoch, event.seconds) for event in first] == [
            ("off-0000", "completed", 4, 8.0)
        ]
        session.run()
        events = {event.trial: event for event in tracker.new_events()}
        assert tracker.new_events() == []
        assert len(events) == len(session.conductor.entries) - 1
        assert events["cutmix-0000"].kind == "diverged"
        assert events["off-0001-confirm-00"].kind == "confirmed"
        failed = events["cutout-0001"]
        assert (failed.kind, failed.epoch, failed.val_top1_error, failed.node, failed.why) == (
            *("failed", 0, None, "here"),
            "ValueError: bad shape",
        )

    def test_a_trial_that_pauses_has_not_ended(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        stopping = {"rule": "asha", "mode": "promote", "min_recorded": 2, "grace_period_epochs": 1}
        session = simulate(study_of(budget=BUDGET | {"trials": 4, "early_stopping": stopping}), tmp_path, n_workers=1)
        tracker = ProgressTracker(session.conductor)
        states: dict[str, str] = {}
        while "paused" not in states.values():
            session.run(1)
            states = {name: entry.status for name, entry in session.conductor.entries.items()}
        ends = [event.trial for event in tracker.new_events()]
        assert all(states[name] == "completed" for name in ends)
        session.run()
        ends += [event.trial for event in tracker.new_events()]
        assert sorted(ends) == sorted(session.conductor.entries)
        stopped = next(entry for entry in session.conductor.ended if entry.status == "stopped")
        assert "never promoted" in stopped.why

    def test_new_epochs(self, session: Any) -> None:
        tracker = ProgressTracker(session.conductor)
        session.run(2)
        assert [(trial.trial, trial.epoch) for trial in tracker.new_epochs()] == [("off-0000", 2)]
        assert tracker.new_epochs() == []
