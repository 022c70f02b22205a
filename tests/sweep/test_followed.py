"""A sweep observed by its records: at every instant what its conductor knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import Study
from sweep.followed import FollowedSweep
from sweep.progress import ProgressTracker, SweepProgress
from sweep.records.reader import read_manifest
from sweep.remaining import read_remaining

MakeStudy = Callable[..., Study]
BUDGET = {"max_epochs": 2, "early_stopping": {"rule": "none"}}
PROMOTING = {"rule": "asha", "mode": "promote", "min_recorded": 2, "grace_period_epochs": 1}
GRID = {"optimizer.max_epochs": {"kind": "choice", "values": [1, 2]}}


def curve(job: Any, epoch: int) -> dict[str, Any]:
    """Return failures in the arm ``off``, which then has no winner to confirm."""
    if job.trial.startswith("off"):
        return {"failed": "no", "node": "b"}
    return {"val_nll": 1 / epoch + len(job.trial), "val_top1_error": 0.5 / epoch}


def comparable(progress: SweepProgress) -> SweepProgress:
    """Return what a conductor and its records both know: not times."""
    return replace(progress, elapsed_s=0.0, left_s=None)


@pytest.mark.parametrize(
    "changes",
    [
        {"confirm": {"searches": 1, "seeds": 2, "configs": 2}},
        {"confirm": {"searches": 1, "seeds": 2}, "replicates": 2},
        {"budget": {"trials": 4, "max_epochs": 4, "early_stopping": PROMOTING}},
        {"search": "grid", "arms": {"off": {}, "cutout": {}}, "space": GRID, "budget": BUDGET},
    ],
)
def test_shows_what_the_conductor_shows(
    simulate: Any, study_of: MakeStudy, tmp_path: Path, changes: dict[str, Any]
) -> None:
    session = simulate(study_of(**changes), tmp_path, curve=curve)
    conductor, followed = session.conductor, FollowedSweep(tmp_path)
    own, theirs = ProgressTracker(conductor), followed.tracker()
    while True:
        session.run(3)
        conductor.flush(force=True)
        followed.update()
        assert comparable(theirs.snapshot()) == comparable(own.snapshot())
        assert theirs.new_events() == own.new_events()
        assert followed.epochs_left == conductor.epochs_left
        recorded = read_remaining(tmp_path, read_manifest(tmp_path))
        assert recorded == (conductor.n_left, conductor.n_trials, "", conductor.dropped, conductor.n_to_confirm)
        if not conductor.n_left:
            break


def test_joins_a_resumed_run(
    simulate: Any, study_of: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time, epochs, running trials and failures are those of the last run; what was before it is no event."""
    study = study_of(budget={"trials": 4, "max_epochs": 4, "early_stopping": {"rule": "none"}})
    monkeypatch.setattr("sweep.ledger.time.time", lambda: 1000.0)
    simulate(study, tmp_path, curve=curve, n_workers=3).run(6).conductor.flush(force=True)
    monkeypatch.setattr("sweep.followed._start_of_last_run", lambda manifest: 2000.0)
    monkeypatch.setattr("sweep.ledger.time.time", lambda: 2060.0)
    again = simulate(study, tmp_path, curve=curve)
    own = ProgressTracker(again.conductor)
    assert not FollowedSweep(tmp_path).running
    again.run(5).conductor.flush(force=True)
    tracker = FollowedSweep(tmp_path).tracker()
    shown, expected = tracker.snapshot(), own.snapshot()
    assert comparable(shown) == comparable(expected)
    assert 0 < shown.n_epochs < sum(entry.epochs for entry in again.conductor.entries.values())
    assert 60 <= shown.elapsed_s < 1000
    assert tracker.new_events() == []
    assert own.new_events() != []


def test_follows_the_records_of_an_older_version() -> None:
    """Older versions did not record the search of a trial: there was one per arm."""
    followed = FollowedSweep(Path(__file__).parent / "records" / "version_1")
    assert followed.entries
    assert {entry.search for entry in followed.entries.values()} == {0}
    assert followed.n_left == read_remaining(followed._dir, read_manifest(followed._dir)).n_left
