"""The lease of a sweep in an object store: one driver at any time, also when drivers are stopped or killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from search_spaces.study import Study
from sweep import driver
from sweep.driver import find_driver
from sweep.lock import LockLost
from sweep.storage import lease, mirror, opened
from tests.sweep.conftest import Simulation
from tests.sweep.storage.conftest import use_machine
from tests.sweep.storage.test_mirror import stored, tables
from trainables.errors import UserError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, seconds in (
        (lease, "RENEW_S", 0.02),
        (lease, "CONFIRM_S", 0.0),
        (lease.BucketSource, "look_s", 0.01),
        (mirror, "SAVE_AFTER_S", 0.0),
    ):
        monkeypatch.setattr(owner, name, seconds)


@pytest.fixture
def study(study_of: object) -> Study:
    return study_of(budget={"trials": 1, "max_epochs": 2, "early_stopping": {"rule": "none"}})  # type: ignore[operator]


def test_a_second_driver_is_refused(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(bucket, write=True, new=True):
        with pytest.raises(UserError) as on_this_machine, opened(bucket, write=True):
            pass
        use_machine(monkeypatch, tmp_path / "node-b")
        with pytest.raises(UserError) as on_another, opened(bucket, write=True):
            pass
    for refused in (on_this_machine, on_another):
        assert f"'{bucket}' is in use by process {os.getpid()} on " in str(refused.value)
        assert str(refused.value).endswith(f"cutmix-sweep status {bucket} --follow")
    assert "lock" not in stored(bucket)


def test_readers_see_the_driver(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(bucket, write=True, new=True):
        use_machine(monkeypatch, tmp_path / "node-b")
        with opened(bucket) as sweep:
            found = find_driver(sweep.path)
        assert found is not None
        assert found.process == os.getpid()
    with opened(bucket) as sweep:
        assert find_driver(sweep.path) is None


def test_a_stopped_driver_loses_the_sweep(
    bucket: str, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken over after its heartbeats have ended; when it continues, it writes nothing and keeps the new lock."""
    monkeypatch.setattr(lease, "RENEW_S", 1000.0)
    monkeypatch.setattr(driver, "EXPIRY_S", 0.1)

    def stop_and_continue() -> None:
        with opened(bucket, write=True, new=True) as sweep:
            stopped = Simulation(study, sweep.path).run(2)
            use_machine(monkeypatch, tmp_path / "node-b")
            with opened(bucket, write=True) as again:
                Simulation(study, again.path).run()
                held = stored(bucket)
                with pytest.raises(LockLost):
                    stopped.run()
                assert stored(bucket) == held
                assert "lock" in held
                stopped.run()

    with pytest.raises(LockLost) as lost:
        stop_and_continue()
    assert f"'{bucket}' was taken over by process {os.getpid()} on " in str(lost.value)
    assert set(tables(bucket)[1]["status"]) == {"completed"}


def test_rows_of_a_driver_that_was_too_late_are_taken_back(
    bucket: str, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is lost while parts are sent: the successor may have written the same rows."""
    before: list[str] = []

    def run_until_lost() -> None:
        with opened(bucket, write=True, new=True) as sweep:
            simulation = Simulation(study, sweep.path).run(2)
            before.extend(stored(bucket))
            answers = iter([True, False])

            def confirm(self: lease.BucketLease) -> None:
                if not next(answers, False):
                    raise LockLost("taken over")

            monkeypatch.setattr(lease.BucketLease, "confirm", confirm)
            simulation.run()

    with pytest.raises(LockLost):
        run_until_lost()
    assert set(stored(bucket)) - {"lock"} == set(before) - {"lock"}
