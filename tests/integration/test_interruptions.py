"""Killed drivers, lost workers, Ctrl-C: nothing is lost, nothing doubled, the numbers stay the same."""

from __future__ import annotations

import os
import random
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

from search_spaces.discover import load_study
from sweep.launch import resume_sweep, start_sweep
from sweep.records.errors import RecordsError
from sweep.records.reader import SweepRecords, _read_parts, read_sweep, read_table
from sweep.records.schema import DECISIONS, EPOCHS, MANIFEST, RECORDS

pytestmark = pytest.mark.ray

KILLS = int(os.environ.get("CUTMIX_SWEEP_KILLS", "2"))
"""How often a sweep is killed: ``CUTMIX_SWEEP_KILLS=10 pytest -k sigkill`` takes minutes."""

SETTINGS = [f"budget.trials={KILLS + 1}", "base.data.train_frac=0.3"]
WITHOUT_STOPPING = [*SETTINGS, "budget.early_stopping.rule=none"]
WITH_CONTROL = [*SETTINGS, "budget.control_frac=0.34"]
TIMING = ["seconds", "images_per_s", "attempt"]


@contextmanager
def running(study_file: Path, out: Path, settings: list[str] = WITHOUT_STOPPING) -> Iterator[subprocess.Popen[str]]:
    """The real command line in a process of its own, with a Ray of its own: begins the sweep or goes on with it."""
    command = [sys.executable, "-c", "from sweep.cli import main; main()"]
    if (out / MANIFEST).exists():
        command += ["resume", str(out)]
    else:
        command += ["run", str(study_file), "--out", str(out)]
        command += [part for setting in settings for part in ("--set", setting)]
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


def an_epoch_is_done(out: Path) -> bool:
    """Whether a trial is under way: its state is there at once, its records when they have waited for company."""
    return any((out / "checkpoints").glob("*.pt"))


def wait_for(condition: object, timeout_s: float = 240) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, "timed out"
        time.sleep(0.05)


def curves(records: SweepRecords) -> pd.DataFrame:
    return records.epochs.drop(columns=TIMING).sort_values(["trial", "epoch"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def uninterrupted(ray_cluster: None, study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> SweepRecords:
    out = tmp_path_factory.mktemp("straight") / "sweep"
    study = load_study(str(study_file), settings=WITHOUT_STOPPING)
    start_sweep(study, out=out)
    return read_sweep(out)


@pytest.mark.timeout(300 * (KILLS + 1))
def test_sigkill_of_the_driver(uninterrupted: SweepRecords, study_file: Path, tmp_path: Path) -> None:
    """Killed at random moments, with ASHA and a control cohort: decisions stand, each epoch is recorded once."""
    out, luck, decided = tmp_path / "sweep", random.Random(KILLS), []
    for _ in range(KILLS):
        with running(study_file, out, WITH_CONTROL) as process:
            goal = epochs_recorded(out) + luck.randrange(1, 5)
            wait_for(lambda: epochs_recorded(out) >= goal or process.poll() is not None)  # noqa: B023
            time.sleep(luck.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
            process.wait()
        decided.append(read_table(out, DECISIONS))
    resume_sweep(out)
    whole = read_sweep(out)
    assert sorted(whole.trials["trial"]) == sorted(uninterrupted.trials["trial"])
    assert set(whole.trials["status"]) <= {"completed", "stopped"}
    assert set(whole.trials.loc[whole.trials["control"], "status"]) == {"completed"}
    assert 1 < whole.trials["attempts"].max() <= KILLS + 1
    for table in (EPOCHS, DECISIONS):
        written = _read_parts(out / RECORDS / table.name, table).to_pandas()
        assert not written.duplicated(list(table.key)).any()
    for before in decided:
        pd.testing.assert_frame_equal(whole.decisions.iloc[: len(before)], before)
    by_trial = whole.epochs.groupby("trial")["epoch"]
    assert by_trial.max().to_dict() == by_trial.size().to_dict() == whole.trials.set_index("trial")["epochs"].to_dict()
    straight = curves(uninterrupted).merge(whole.epochs[["trial", "epoch"]])
    pd.testing.assert_frame_equal(curves(whole), straight, check_exact=True)
    assert len(whole.manifest["runs"]) == KILLS + 1


def test_ctrl_c_says_how_to_resume(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    with running(study_file, out) as process:
        wait_for(lambda: an_epoch_is_done(out))
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert output.splitlines()[-1].endswith(f"cutmix-sweep resume {out}")
    assert "Traceback" not in output


def test_a_lost_worker_is_replaced(uninterrupted: SweepRecords, study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    with running(study_file, out) as process:
        wait_for(lambda: an_epoch_is_done(out))
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
