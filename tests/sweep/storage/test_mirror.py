"""A sweep in an object store: after a kill at any request no row is lost or doubled, on this or another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from search_spaces.study import Study
from sweep import driver
from sweep.records import writer
from sweep.records.reader import read_table
from sweep.records.schema import EPOCHS, TRIALS
from sweep.records.table_files import lost_rows
from sweep.storage import lease, mirror, opened
from tests.sweep.conftest import Simulation
from tests.sweep.storage.conftest import Killed, Requests, use_machine
from trainables.object_store import ObjectStore
from trainables.storage_url import parse_url

EPOCH_VALUES = ["trial", "epoch", "val_nll"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "SAVE_AFTER_S", 0.0)
    monkeypatch.setattr(driver, "EXPIRY_S", 0.0)  # a killed driver of a test is a process that lives
    monkeypatch.setattr(lease.BucketSource, "look_s", 0.0)
    monkeypatch.setattr(writer, "MERGE_PARTS", 4)


@pytest.fixture
def study(study_of: Any) -> Study:
    return study_of(budget={"trials": 2, "max_epochs": 3, "early_stopping": {"rule": "none"}})


def run(url: str, study: Study, *, new: bool = False) -> None:
    """Run a sweep to its end, or until the process is killed."""
    with opened(url, write=True, new=new) as sweep:
        Simulation(study, sweep.path).run()


def tables(url: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what a reader on another machine finds: the epochs, and the end of each trial."""
    with opened(url) as sweep:
        epochs, trials = read_table(sweep.path, EPOCHS), read_table(sweep.path, TRIALS)
        assert not any(lost_rows(sweep.path).values())  # lost rows would be computed again: no repair was needed
    return (
        epochs[EPOCH_VALUES].sort_values(EPOCH_VALUES, ignore_index=True),
        trials[["trial", "status", "epochs"]].sort_values("trial", ignore_index=True),
    )


def stored(url: str) -> list[str]:
    """Return the names of all objects of a sweep."""
    address = parse_url(url)
    assert not isinstance(address, Path)
    return sorted(ObjectStore(address).list())


def test_kill_at_any_request(
    bucket: str, requests: Requests, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run after the kill is on the same machine or on another one in turn."""
    run(bucket, study, new=True)
    n_requests, expected, names = requests.n_changes, tables(bucket), stored(bucket)
    assert len(expected[0]) == 3 * len(expected[1])
    assert "lock" not in names
    for number, kill_at in enumerate(range(2, n_requests, 13)):
        url = f"{bucket}-{kill_at}"
        use_machine(monkeypatch, tmp_path / f"{kill_at}-a")
        requests.n_changes, requests.kill_at = 0, kill_at
        with pytest.raises(Killed):
            run(url, study, new=True)
        requests.kill_at = None
        if number % 2:
            use_machine(monkeypatch, tmp_path / f"{kill_at}-b")
        run(url, study, new="sweep.json" not in stored(url))
        for found, table in zip(tables(url), expected, strict=True):
            pd.testing.assert_frame_equal(found, table)
        assert "lock" not in stored(url)


def test_a_state_that_a_killed_driver_has_left_is_removed(bucket: str, study: Study) -> None:
    run(bucket, study, new=True)
    address = parse_url(bucket)
    assert not isinstance(address, Path)
    ObjectStore(address).write("checkpoints/off-0000.pt", b"a state")
    run(bucket, study)
    assert not any(name.startswith("checkpoints/") for name in stored(bucket))
