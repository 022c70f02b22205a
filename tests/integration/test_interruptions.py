"""Killed drivers, lost workers, Ctrl-C: nothing is lost, nothing doubled, the numbers stay the same."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import psutil
import pytest
from rich.console import Console

from search_spaces.discover import load_study
from sweep.launch import resume, start
from sweep.records.errors import RecordsError
from sweep.records.reader import SweepRecords, read_sweep

pytestmark = pytest.mark.ray

SETTINGS = ["budget.trials=1", "budget.max_epochs=6", "budget.early_stopping.rule=none", "base.data.train_frac=0.3"]
TIMING = ["seconds", "images_per_s", "attempt"]


@contextmanager
def running(study_file: Path, out: Path) -> Iterator[subprocess.Popen[str]]:
    """The real command line in a process of its own, with a Ray of its own."""
    command = [sys.executable, "-c", "from sweep.cli import main; main()", "run", str(study_file), "--out", str(out)]
    command += [part for setting in SETTINGS for part in ("--set", setting)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def epochs_recorded(out: Path) -> int:
    try:
        return len(read_sweep(out).epochs)
    except RecordsError:
        return 0


def wait_for(condition: object, timeout_s: float = 120) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, "timed out"
        time.sleep(0.05)


def curves(records: SweepRecords) -> pd.DataFrame:
    return records.epochs.drop(columns=TIMING).sort_values(["trial", "epoch"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def uninterrupted(ray_cluster: None, study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> SweepRecords:
    out = tmp_path_factory.mktemp("straight") / "sweep"
    study = load_study(str(study_file), settings=SETTINGS)
    start(study, out=out, address=None, download=False, command="", console=Console(quiet=True))
    return read_sweep(out)


def test_sigkill_of_the_driver(uninterrupted: SweepRecords, study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    with running(study_file, out) as process:
        wait_for(lambda: epochs_recorded(out) >= 5)
        process.send_signal(signal.SIGKILL)
        process.wait()
    cut = read_sweep(out)
    assert (cut.trials["status"] == "running").sum() > 0
    resume(out, address=None, retry_failed=False, command="resume", console=Console(quiet=True))
    whole = read_sweep(out)
    assert (whole.trials["status"] == "completed").all()
    assert sorted(whole.trials["trial"]) == sorted(uninterrupted.trials["trial"])
    resumed = set(whole.trials.loc[whole.trials["attempts"] > 1, "trial"])
    assert resumed == set(cut.trials.loc[cut.trials["status"] == "running", "trial"])
    assert whole.trials.set_index("trial").loc[sorted(resumed), "resumed_at_epoch"].notna().all()
    pd.testing.assert_frame_equal(curves(whole), curves(uninterrupted), check_exact=True)
    assert len(whole.manifest["runs"]) == 2


def test_ctrl_c_says_how_to_resume(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    with running(study_file, out) as process:
        wait_for(lambda: epochs_recorded(out) >= 2)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert output.splitlines()[-1].endswith(f"cutmix-sweep resume {out}")
    assert "Traceback" not in output


def test_a_lost_worker_is_replaced(uninterrupted: SweepRecords, study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    with running(study_file, out) as process:
        wait_for(lambda: epochs_recorded(out) >= 3)
        workers = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if child.name().startswith("ray::") and "CutMix" in " ".join(child.cmdline())
        ]
        assert workers
        workers[0].kill()
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    whole = read_sweep(out)
    assert (whole.trials["status"] == "completed").all()
    assert (whole.trials["attempts"] == 2).sum() == 1
    pd.testing.assert_frame_equal(curves(whole), curves(uninterrupted), check_exact=True)
