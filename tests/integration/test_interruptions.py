"""Killed drivers, lost workers, signals, limits: nothing is lost, nothing doubled, the numbers stay the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from search_spaces.discover import load_study
from search_spaces.extension import limited
from sweep.conductor import Conductor
from sweep.display import SilentDisplay
from sweep.endings import LimitReached
from sweep.launch import resume_sweep, start_sweep
from sweep.notices import URL
from sweep.records.errors import RecordsError
from sweep.records.reader import SweepRecords, read_rows, read_sweep, read_table
from sweep.records.schema import DECISIONS, EPOCHS, MANIFEST, TRIALS
from sweep.watch import Watch
from tests.processes import WORKER_TITLE, has_ended
from tests.slots import fixed_slots

pytestmark = pytest.mark.ray

KILLS = int(os.environ.get("CUTMIX_SWEEP_KILLS", "1"))
"""How often a sweep is killed: ``CUTMIX_SWEEP_KILLS=10 pytest -k survives`` takes minutes, and kills a raylet too."""

SETTINGS = [f"budget.trials={KILLS + 2}", "base.data.train_frac=0.3"]
WITHOUT_STOPPING = [*SETTINGS, "budget.early_stopping.rule=none"]
WITH_CONTROL = [*SETTINGS, "budget.control_frac=0.34"]
PATIENT = "from sweep import signals; signals.TEARDOWN_S = 60; "
"""Code with which a command on a busy machine may end in order: a step of Tune may take longer than 5 s there."""

TIMING = ["seconds", "images_per_s", "attempt"]


@contextmanager
def running(
    study_file: Path, out: Path, settings: list[str] = WITHOUT_STOPPING, *, code: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """The real command line in a process of its own, with a Ray of its own: begins the sweep or goes on with it."""
    command = [sys.executable, "-c", f"{code}from sweep.cli import main; main()"]
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


@pytest.mark.timeout(600 + 300 * KILLS)
def test_a_sweep_survives_every_end(
    uninterrupted: SweepRecords, study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sweep with ASHA and a control cohort: killed, ended by SIGTERM, by a limit; a worker dies.

    Decisions stand, each epoch is recorded once, and the numbers are those of a sweep that ran through. The webhook of
    its notices does not answer: one warning per run, and its URL is in no message and no file.
    """
    secret = "T0ken"
    monkeypatch.setenv(URL, f"http://127.0.0.1:9/{secret}")
    out, luck = tmp_path / "sweep", random.Random(KILLS)
    decided: list[pd.DataFrame] = []
    parts_of_ray: list[psutil.Process] = []
    resume = f"cutmix-sweep resume {out}"
    ends: list[signal.Signals | None] = [*[signal.SIGKILL] * KILLS, signal.SIGTERM]
    if KILLS > 1:
        ends.append(None)  # the raylet is killed
    for signum in ends:
        code = PATIENT if signum == signal.SIGTERM else ""
        with running(study_file, out, [*WITH_CONTROL, "budget.limits.wall_clock_h=1"], code=code) as process:
            goal = epochs_recorded(out) + luck.randrange(1, 4)
            wait_for(lambda: epochs_recorded(out) >= goal or process.poll() is not None)  # noqa: B023
            time.sleep(luck.uniform(0, 0.5))
            processes = psutil.Process(process.pid).children(recursive=True)
            if signum is None:
                next(part for part in processes if part.name() == "raylet").kill()
            else:
                process.send_signal(signum)
            output, _ = process.communicate(timeout=200)
        if signum == signal.SIGTERM:
            assert process.returncode == 128 + signum, output
            (line,) = (line for line in output.splitlines() if line.startswith("interrupted"))
            assert line.startswith("interrupted by SIGTERM after")
            assert line.endswith(f"trials; resume with: {resume}")
            assert output.count("a notice could not be sent") == 1
        if signum is None:
            assert process.returncode > 0, output
        parts_of_ray += processes
        assert "Traceback" not in output
        assert secret not in output
        decided.append(read_table(out, DECISIONS))
    _, alive = psutil.wait_procs(parts_of_ray, timeout=120)
    assert not alive
    with pytest.raises(LimitReached) as ended:
        resume_sweep(out, change=lambda study: limited(study, ["budget.limits.wall_clock_h=1e-6"]))
    assert str(ended.value).endswith(f"trials have ended; resume with: {resume}")
    resume_and_kill_a_worker(out)
    check_whole(out, uninterrupted, decided, n_runs=len(ends) + 2)
    assert not [path for path in out.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def check_whole(out: Path, uninterrupted: SweepRecords, decided: list[pd.DataFrame], *, n_runs: int) -> None:
    whole = read_sweep(out)
    assert sorted(whole.trials["trial"]) == sorted(uninterrupted.trials["trial"])
    assert set(whole.trials["status"]) <= {"completed", "stopped"}
    assert set(whole.trials.loc[whole.trials["control"], "status"]) == {"completed"}
    assert 1 < whole.trials["attempts"].max() <= n_runs + 1
    for table in (EPOCHS, DECISIONS):
        written = read_rows(out, table).to_pandas()
        assert not written.duplicated(list(table.key)).any()
    for before in decided:
        pd.testing.assert_frame_equal(whole.decisions.iloc[: len(before)], before)
    by_trial = whole.epochs.groupby("trial")["epoch"]
    assert by_trial.max().to_dict() == by_trial.size().to_dict() == whole.trials.set_index("trial")["epochs"].to_dict()
    straight = curves(uninterrupted).merge(whole.epochs[["trial", "epoch"]])
    pd.testing.assert_frame_equal(curves(whole), straight, check_exact=True)
    assert len(whole.manifest["runs"]) == n_runs


def resume_and_kill_a_worker(out: Path) -> None:
    """Resume without a limit, and kill one worker while it trains; it is replaced."""
    killed: list[psutil.Process] = []

    class Killer(SilentDisplay):
        def show_sweep(self, conductor: Conductor) -> AbstractContextManager[Callable[[], None]]:
            n_recorded = sum(entry.epochs for entry in conductor.entries.values())

            def update() -> None:
                if not killed and sum(entry.epochs for entry in conductor.entries.values()) > n_recorded:
                    workers = [
                        process
                        for process in psutil.Process().children(recursive=True)
                        if WORKER_TITLE.search(" ".join(process.cmdline()))
                    ]
                    killed.append(workers[0])
                    workers[0].kill()

            return nullcontext(update)

    resume_sweep(out, change=lambda study: limited(study, ["budget.limits.wall_clock_h=null"]), display=Killer())
    assert killed


def test_workers_that_die_between_two_trials_or_stop_are_replaced(
    ray_cluster: None, study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune gives up a trial if its worker dies before it has begun the trial; the searcher proposes the trial again.

    A worker that is stopped reports nothing: after the time that the pace of its arm allows, it is killed.
    """
    from sweep.engine import run_trials
    from trainables.tune_trainable import CutMixTrainable

    died, stopped = tmp_path / "died", tmp_path / "stopped"

    class Faulty(CutMixTrainable):
        def reset_config(self, new_config: dict[str, Any]) -> bool:
            if not died.exists():
                died.touch()
                os._exit(1)
            return super().reset_config(new_config)

        def step(self) -> dict[str, Any]:
            if getattr(self, "trained", "") == self._name and not stopped.exists():
                stopped.write_text(f"{os.getpid()} {self._name}")
                os.kill(os.getpid(), signal.SIGSTOP)
            result = super().step()
            self.trained = self._name
            return result

    monkeypatch.setattr("sweep.watch.SILENT_EPOCHS", 3)
    settings = ["budget.trials=1", "budget.max_epochs=2", "budget.limits.silent_min=0.2"]
    study = load_study(str(study_file), settings=[*WITHOUT_STOPPING, *settings])
    conductor, warned = Conductor(study, tmp_path), []
    watch = Watch(conductor, tmp_path, warn=warned.append)
    run_trials(tmp_path, conductor, slots=fixed_slots(2), trainable=Faulty, watch=watch)
    assert died.exists()
    trials = read_table(tmp_path, TRIALS).set_index("trial")
    assert (trials["status"] == "completed").all()
    process, trial = stopped.read_text().split()
    assert f"trial {trial} has reported nothing for" in warned[0]
    assert trials.loc[trial, "resumed_at_epoch"] == 1
    assert has_ended(int(process))
    assert (trials["attempts"] > 1).sum() == 2


def test_results_depend_neither_on_the_order_of_trials_nor_on_the_number_of_workers(
    uninterrupted: SweepRecords, study_file: Path, tmp_path: Path
) -> None:
    from sweep.engine import run_trials

    study = load_study(str(study_file), settings=[*WITHOUT_STOPPING, "budget.trials=1"])
    study = study.model_copy(update={"arms": dict(reversed(study.arms.items()))})
    run_trials(tmp_path, Conductor(study, tmp_path), slots=fixed_slots(1))
    epochs = read_table(tmp_path, EPOCHS)
    assert list(epochs["trial"].unique()) == [f"{arm}-0000" for arm in study.arms]  # one after the other
    together = uninterrupted.epochs[uninterrupted.epochs["trial"].isin(epochs["trial"])]
    rows = [
        frame.drop(columns=TIMING).sort_values(["trial", "epoch"], ignore_index=True) for frame in (epochs, together)
    ]
    pd.testing.assert_frame_equal(*rows, check_exact=True)
