"""Steering a sweep in an object store from another machine: the requests are objects, which its driver looks for."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sweep import control, mirrored
from sweep.inbox import Inbox, new_request
from sweep.lock import locked
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import TRIALS
from sweep.request_files import MAX_READ
from sweep.restart import has_begun, run_again
from sweep.steering import Steering
from sweep.storage import mirror, opened
from sweep.storage.inbox import StoredRequests
from tests.sweep.conftest import Simulation
from tests.sweep.fake_dashboard import fake_dashboard
from tests.sweep.storage.conftest import use_machine
from tests.sweep.storage.test_mirror import stored
from trainables.object_store import ObjectStore
from trainables.storage_url import StorageUrl, parse_url

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredRequests, "answer_s", 0.01)
    monkeypatch.setattr(mirror, "SAVE_AFTER_S", 0.0)


@contextmanager
def driven(url: str, study: Any) -> Iterator[tuple[Simulation, Steering]]:
    """Run a sweep at an address in another thread, which applies requests, as long as the context lasts."""
    ended = threading.Event()
    with opened(url, write=True, new=True) as sweep:
        session = Simulation(study, sweep.path).run(3)
        with locked(sweep.path) as lock:
            steering = Steering(session.conductor, sweep.path, lock=lock, clock=itertools.count(0, 5).__next__)

            def drive() -> None:
                while not ended.wait(0.01):
                    steering.update()

            thread = threading.Thread(target=drive)
            thread.start()
            try:
                yield session, steering
            finally:
                ended.set()
                thread.join()


def test_verbs_reach_the_driver(
    bucket: str, study_of: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with driven(bucket, study_of()) as (session, steering):
        use_machine(monkeypatch, tmp_path / "node-b")
        trial = session.conductor.running[0].trial
        code, out, err = run("stop", bucket, "--trial", trial, "--reason", "its loss jumps")
        assert (code, err) == (0, "")
        assert out.startswith(f"trial {trial} is cancelled after ")
        resume = f"cutmix-sweep resume {bucket}"
        assert run("pause", bucket)[:2] == (
            0,
            f"paused, 1 running trials end at their next epoch; resume with: {resume}\n",
        )
        code, _, err = run("pause", bucket)
        assert (code, f"'{bucket}' is paused already, by " in err, resume in err) == (2, True, True)
        assert "paused by " in run("status", bucket)[1]
        code, out, _ = run("resume", bucket)
        assert (code, out.startswith("the sweep continues; it was paused by ")) == (0, True)
        assert run("set", bucket, "max_trials=1")[:2] == (
            0,
            "max_trials is 1; 0 of 1 running trials end at their next epoch\n",
        )
        code, out, _ = run("extend", bucket, "--add-trials", 2)
        assert (code, out.startswith("added: trials per search +2; ")) == (0, True)
        assert session.conductor.study.trials_per_arm == 6
        code, _, err = run("stop", bucket, "--trial", trial)
        assert (code, "it has ended already: cancelled" in err) == (2, True)
        code, out, _ = run("stop", bucket, "--no-wait")
        assert (code, out.startswith(f"requested: '{bucket}/inbox/")) == (0, True)
        while not steering.stopped:
            pass
    names = stored(bucket)
    assert sum(name.startswith("inbox/done/") for name in names) == 6
    assert not any(name.startswith("inbox/") and "/done/" not in name for name in names)
    assert not list(tmp_path.rglob("inbox"))  # no process keeps a copy
    with opened(bucket) as sweep:
        assert read_table(sweep.path, TRIALS).set_index("trial").loc[trial, "status"] == "cancelled"


def test_what_is_no_request_is_refused(bucket: str, study_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.storage.inbox.MAX_READ", 10)
    with driven(bucket, study_of()), opened(bucket) as sweep:
        inbox, store = Inbox(sweep.path), store_of(bucket)
        store.write("inbox/1.json", b" " * MAX_READ)
        while (result := inbox.result("1.json")) is None:
            pass
    assert not result.applied
    assert result.text == "it cannot be read: it is not a request"


def test_a_look_of_the_driver_is_one_request(bucket: str, study_of: Any) -> None:
    with opened(bucket, write=True, new=True) as sweep:
        session = Simulation(study_of(), sweep.path).run(3)
        steering = Steering(session.conductor, sweep.path, clock=itertools.count(0, 5).__next__)
        found = mirrored.mirror_of(sweep.path)
        assert found is not None
        before = found.requests()["driver"]
        for _ in range(4):
            steering.update()
        after = found.requests()["driver"]
        assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {"n_listed": 4}


def test_without_a_driver_a_verb_acts_itself_or_takes_its_request_back(
    bucket: str, study_of: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(bucket, write=True, new=True) as sweep:
        session = Simulation(study_of(), sweep.path).run(3)
        session.conductor.flush(force=True)
    trial = session.conductor.running[0].trial
    use_machine(monkeypatch, tmp_path / "node-b")
    code, out, _ = run("stop", bucket, "--trial", trial)
    assert (code, "no worker runs it" in out) == (0, True)
    for words in (["stop", bucket], ["pause", bucket], ["set", bucket, "max_trials=4"]):
        code, _, err = run(*words)
        assert (code, f"no process runs '{bucket}'" in err) == (2, True)
    with opened(bucket) as sweep:
        assert read_table(sweep.path, TRIALS).set_index("trial").loc[trial, "status"] == "cancelled"
        monkeypatch.setattr(control, "DRIVER_S", 0.0)
        monkeypatch.setattr(control, "find_driver", lambda _: control.Driver(paused="by kim", takes_requests=True))
        assert control.resume_paused(sweep.path) == ""
    assert not any(name.startswith("inbox/") for name in stored(bucket))


def test_requests_outlive_the_driver(bucket: str, study_of: Any) -> None:
    study = study_of()
    with opened(bucket, write=True, new=True) as sweep:
        Simulation(study, sweep.path).run(3)
    with opened(bucket) as sweep:
        stale, lasting = (
            Inbox(sweep.path).add(new_request("stop", **content)) for content in ({}, {"trial": "cutmix-0003"})
        )
    with opened(bucket, write=True) as sweep:
        steering = Steering(Simulation(study, sweep.path).conductor, sweep.path, clock=itertools.count(0, 5).__next__)
        steering.update()
    with opened(bucket) as sweep:
        results = [Inbox(sweep.path).result(name) for name in (stale, lasting)]
    assert [result and result.applied for result in results] == [False, True]


def test_logs_are_read_from_the_store(
    bucket: str, study_of: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(bucket, write=True, new=True) as sweep:
        Simulation(study_of(), sweep.path).run(3).conductor.flush(force=True)
        (sweep.path / "sweep.log").write_text("run begins\n")
    use_machine(monkeypatch, tmp_path / "node-b")
    assert run("logs", bucket) == (0, "run begins\n", "")
    code, _, err = run("logs", bucket, "--trial", "off-0000")
    assert (code, "trial 'off-0000' has no log" in err) == (2, True)
    store_of(bucket).write("logs/off-0000.txt", b"epoch 1\n")
    assert run("logs", bucket, "--trial", "off-0000") == (0, "epoch 1\n", "")
    with opened(bucket, write=True):
        pass
    assert "logs/off-0000.txt" in stored(bucket)  # a driver without a copy does not remove it


def test_or_resume_and_restarts_know_what_has_begun(
    bucket: str, study_of: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, ends = study_of(), iter([-9, -9, -9, 0])

    def run_once(command: object) -> int:
        """Run some epochs of the sweep, as a child process does that is killed at last."""
        new = not any(name == "sweep.json" for name in stored(bucket))
        with opened(bucket, write=True, new=new) as sweep:
            assert has_begun(study, sweep.path) is not new
            Simulation(study, sweep.path).run(3)
        return next(ends)

    monkeypatch.setattr("sweep.restart._run", run_once)
    with opened(bucket, read_now=False) as sweep:
        # each run has new epochs, so one restart in a row is enough for three
        assert run_again([], sweep.path, 1, sleep=lambda _: None) == 0
    with opened(bucket) as sweep:
        assert read_manifest(sweep.path)["study"]["name"] == "small"
    code, _, err = run("run", "quickstart", "--scale", "smoke", "--out", bucket, "--or-resume")
    assert (code, f"--out '{bucket}' has a sweep of another study" in err) == (2, True)


def test_a_job_has_its_sweep_in_a_store(
    bucket: str, study_of: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets region and endpoint, but no key; verbs find the sweep by the name of the job."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    with opened(bucket, write=True, new=True) as sweep:
        Simulation(study_of(), sweep.path).run(3).conductor.flush(force=True)
    with fake_dashboard() as dashboard:
        where = ("--address", dashboard.url)
        code, out, _ = run("submit", "quickstart", "--scale", "smoke", "--out", "s3://photos/sweeps/quick/", *where)
        assert (code, "records in s3://photos/sweeps/quick" in out) == (0, True)
        sent = json.loads(next(body for _, _, body in reversed(dashboard.requests) if b"entrypoint" in body))
        assert " --out s3://photos/sweeps/quick --or-resume " in sent["entrypoint"]
        assert sent["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "30", "AWS_REGION": "eu-west-1"}
        assert not any(b"a secret" in body for _, _, body in dashboard.requests)
        code, _, err = run("submit", "quickstart", "--scale", "smoke", "--out", "s3x://photos/quick", *where)
        assert (code, "--out 's3x://photos/quick': storage of the kind 's3x' is unknown" in err) == (2, True)
        dashboard.add_job("there", storage=bucket)
        assert run("stop", "there", "--trial", "off-0000", *where)[1].startswith("trial off-0000 is cancelled")


def store_of(url: str) -> ObjectStore:
    address = parse_url(url)
    assert isinstance(address, StorageUrl)
    return ObjectStore(address)
