"""A sweep as a job of a real Ray cluster: submitted, steered, its driver killed, and whole at the end."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest

from search_spaces.discover import load_study
from sweep.control import pause_sweep, resume_paused, stop_trials
from sweep.dashboard import find_dashboard
from sweep.driver import find_driver
from sweep.jobs import Job, find_job, read_logs, stop_job, submit
from sweep.log_files import read_log
from sweep.records.errors import RecordsError
from sweep.records.reader import read_rows, read_table
from sweep.records.schema import EPOCHS, TRIALS
from sweep.status import read_status
from trainables.errors import UserError

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
PATIENCE_S = 150.0
"""Longest wait for one step; a busy machine starts Ray's processes slowly."""

STUDY = {
    "question": "Does the job come back?",
    "arms": {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}},
    "space": {"optimizer.lr": {"kind": "loguniform", "lo": 0.01, "hi": 0.1}},
    "budget": {"trials": 2, "max_epochs": 40, "early_stopping": {"rule": "none"}},
    "base": {"data": {"train_frac": 0.1, "batch_size": 64}, "model": {"width": 0.25}},
}


def wait_for(find: Callable[[], T | None]) -> T:
    """Return what ``find`` returns as soon as it is something."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(UserError, RecordsError, FileNotFoundError):
            if (found := find()) is not None:
                return found
        time.sleep(0.3)
    raise AssertionError(f"nothing came within {PATIENCE_S} s")


@pytest.fixture
def dashboard_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start the head of a cluster with a token; yield the address of its dashboard."""
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    bin_dir = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_dir}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_raylet_start_wait_time_s": "120",
        "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
    }
    with TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        options = ["--head", "--block", "--port=0", "--node-ip-address=127.0.0.1", f"--dashboard-port={port}"]
        sizes = ["--num-cpus=2", "--object-store-memory=80000000", f"--temp-dir={folder}", "--disable-usage-stats"]
        command = [bin_dir / "ray", "start", *options, *sizes]
        log = (tmp_path / "head.txt").open("wb")
        with log, subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as head:
            try:
                url = f"http://127.0.0.1:{port}"
                wait_for(lambda: find_dashboard(url))
                yield url
            finally:
                head.send_signal(signal.SIGTERM)  # which ends the cluster in order
                with contextlib.suppress(subprocess.TimeoutExpired):
                    head.wait(30)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(head.pid, signal.SIGKILL)


def n_epochs(box: Path) -> int:
    return len(read_table(box, EPOCHS))


def ended(name: str, url: str) -> Job | None:
    job = find_job(name, url)
    return job if job.status in ("succeeded", "failed", "stopped") else None


@pytest.mark.ray
@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_job_is_steered_and_outlives_its_driver(dashboard_url: str, tmp_path: Path) -> None:
    url, box = dashboard_url, tmp_path / "box"
    study = load_study({"name": "small", **STUDY})
    name, _ = submit(study, address=url, out=str(box))
    assert name == "box"
    wait_for(lambda: n_epochs(box) > 4 or None)
    running = next(iter(read_table(box, TRIALS)["trial"]))
    assert "is cancelled after" in stop_trials(box, trial=running, reason="wrong")
    assert pause_sweep(box).startswith("paused, ")
    wait_for(lambda: "no trial runs" in (box / "sweep.log").read_text() or None)
    before = n_epochs(box)
    time.sleep(1.0)
    assert n_epochs(box) == before
    assert resume_paused(box).startswith("the sweep continues")
    wait_for(lambda: n_epochs(box) > before + 2 or None)
    driver = find_driver(box)
    assert driver is not None
    assert driver.process is not None
    os.kill(driver.process, signal.SIGKILL)
    job = wait_for(lambda: ended("box", url))
    output = "".join(read_logs("box", url))
    assert (job.status, job.exit_code) == ("succeeded", 0), output[-2000:]
    assert "the driver ended by signal 9 before all trials had ended: it is started again" in output
    status = read_status(box)
    assert status.state == "ended"
    counts = status.trials["status"].value_counts().to_dict()
    assert counts == {"completed": 3, "cancelled": 1}
    assert not read_rows(box, EPOCHS).to_pandas().duplicated(["trial", "epoch"]).any()
    whole = status.trials[status.trials["status"] == "completed"]
    assert set(whole["epochs"]) == {40}
    assert " epoch 40: train_loss " in "".join(read_log(box, whole["trial"].iloc[0]))
    again, _ = submit(study, address=url, out=str(tmp_path / "other"))
    wait_for(lambda: n_epochs(tmp_path / "other") or None)
    assert "ends within" in stop_job(again, url)
    assert wait_for(lambda: ended(again, url)).status == "stopped"
    assert read_status(tmp_path / "other").state == "interrupted"
    assert "interrupted by SIGTERM" in "".join(read_logs(again, url))
