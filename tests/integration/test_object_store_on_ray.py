"""A sweep in an S3 bucket on a real Ray: steered from another machine, killed, resumed, measured and checked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sweep.control import pause_sweep
from sweep.records.reader import read_sweep, read_table
from sweep.records.schema import EPOCHS, EVALUATIONS
from sweep.storage import opened
from tests.processes import has_ended
from tests.s3_server import environment_of, s3_server
from trainables.object_store import ObjectStore
from trainables.storage_url import StorageUrl, parse_url

pytest.importorskip("obstore")
pytest.importorskip("moto.server")

pytestmark = [pytest.mark.ray, pytest.mark.cluster]

URL = "s3://photos/sweeps/small"
SETTINGS = ("budget.trials=2", "budget.max_epochs=50", "budget.early_stopping.rule=none", "resources.checkpoint_s=1")


def wait_for(condition: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "timed out"
        time.sleep(0.2)


def test_a_sweep_in_a_bucket_survives_its_driver(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verb(*words: str, machine: str, code: int = 0) -> str:
        """Run a verb in a process that has the cache folder of a machine; return what it prints."""
        environment = {**os.environ, "CUTMIX_SWEEP_CACHE": str(tmp_path / machine)}
        command = [sys.executable, "-m", "cutmix_sweep", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert str(tmp_path) not in done.stdout + done.stderr
        return done.stdout + done.stderr

    with s3_server(tmp_path / "server.log") as server:
        for name, value in environment_of(server).items():
            monkeypatch.setenv(name, value)
        address = parse_url(URL)
        assert isinstance(address, StorageUrl)
        store = ObjectStore(address)
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        command = [sys.executable, "-m", "cutmix_sweep", "run", str(study_file), "--out", URL, *settings]
        environment = {**os.environ, "CUTMIX_SWEEP_CACHE": str(tmp_path / "node-a")}
        driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            wait_for(lambda: bool(store.list("checkpoints")) or driver.poll() is not None)
            with opened(URL) as sweep:  # in this process: a quick machine would end the sweep meanwhile
                assert "paused, " in pause_sweep(sweep.path)
            assert f"process {driver.pid} on " in verb("resume", URL, "--retry-failed", machine="node-b", code=2)
            wait_for(lambda: "logs/off-0000.txt" in store.list("logs"))
            assert b"epoch 1: " in store.read("logs/off-0000.txt")[0]
            wait_for(lambda: any(name.startswith("records/epochs/") for name in store.list("records")))
            processes = [driver, *psutil.Process(driver.pid).children(recursive=True)]
        finally:
            driver.kill()
            driver.wait()
        assert all(has_ended(process.pid) for process in processes)
        with opened(URL) as sweep:
            n_epochs = len(read_table(sweep.path, EPOCHS))
        assert 0 < n_epochs < 400
        assert "storage: " in verb("resume", URL, machine="node-a")
        verb("evaluate", URL, "--trials", "search", "--axes", "calibration", "--quiet", machine="node-b")
        assert "whole" in verb("check", URL, machine="node-b")
        with opened(URL) as sweep:
            records = read_sweep(sweep.path)
            measured = read_table(sweep.path, EVALUATIONS)
        names = store.list()
    assert set(records.trials["status"]) == {"completed"}
    assert len(records.epochs) == 50 * len(records.trials) == 400
    assert not records.epochs.duplicated(["trial", "epoch"]).any()
    assert measured["trial"].nunique() == 8
    assert not any(name.startswith(("checkpoints/", "lock")) for name in names)
