"""Live loggers: what each trial logs, and that no logger delays or ends a sweep; the real packages where installed."""

from __future__ import annotations

import json
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from search_spaces.study import Study
from sweep import tune_loggers
from sweep.conductor import Job
from sweep.display import SilentDisplay
from sweep.log_to import MLFLOW, TENSORBOARD, TRACKIO, WANDB, LogTo, parse_log_to
from sweep.loggers.base import LiveLogger, LoggedTrial
from sweep.records.reader import read_sweep
from sweep.tune_loggers import LoggingCallback, open_logger
from trainables.errors import UserError

MakeStudy = Callable[..., Study]
SMALL = {"budget": {"trials": 1, "max_epochs": 2, "early_stopping": {"rule": "none"}}}
"""Changes for a sweep of three trials."""


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all packages be found."""
    monkeypatch.setattr("sweep.log_to.find_spec", lambda name: object())


class TestOption:
    def test_is_read(self, packages: None) -> None:
        given = ["wandb:mine", "mlflow:http://localhost:5000", "mlflow:sqlite:///a.db", "wandb:mine"]
        assert parse_log_to(given) == [
            LogTo(WANDB, "mine"),
            LogTo(MLFLOW, "http://localhost:5000"),
            LogTo(MLFLOW, "sqlite:///a.db"),
        ]

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ("wandbb:mine", "--log-to 'wandbb:mine': unknown logger 'wandbb'; did you mean 'wandb'?"),
            ("loguru:x", "unknown logger 'loguru'; valid: mlflow, tensorboard, trackio, wandb"),
            ("tensorboard", "--log-to 'tensorboard': no target given: name a folder"),
            ("wandb", "--log-to 'wandb': no target given: name a project"),
            ("mlflow:", "--log-to 'mlflow:': no target given: name a store or server"),
        ],
    )
    def test_is_refused(self, packages: None, given: str, words: str) -> None:
        with pytest.raises(UserError) as refused:
            parse_log_to([given])
        assert words in str(refused.value)

    def test_a_password_is_refused_and_not_repeated(self, packages: None) -> None:
        with pytest.raises(UserError, match="MLFLOW_TRACKING_USERNAME") as refused:
            parse_log_to(["mlflow:https://me:geheim@host"])
        assert "geheim" not in str(refused.value)

    @pytest.mark.parametrize("package", [WANDB, MLFLOW])
    def test_a_missing_package_is_named(self, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
        monkeypatch.setattr("sweep.log_to.find_spec", lambda name: None)
        with pytest.raises(UserError, match=f"the package {package} is not installed: pip install {package}"):
            parse_log_to([f"{package}:mine"])

    def test_is_refused_before_anything_begins(self, study_of: MakeStudy, tmp_path: Path) -> None:
        from sweep.launch import resume_sweep, start_sweep

        given: dict[str, Any] = {"command": "", "log_to": ["x:y"]}
        with pytest.raises(UserError, match="unknown logger 'x'"):
            start_sweep(study_of(), out=tmp_path / "new", download=False, **given)
        with pytest.raises(UserError, match="unknown logger 'x'"):
            resume_sweep(tmp_path / "new", retry_failed=False, **given)
        assert not (tmp_path / "new").exists()


class Told:
    """A simulated sweep whose reports a callback hears of as Tune would tell it."""

    def __init__(self, simulation: Any, callback: Any) -> None:
        self.simulation = simulation
        self.callback = callback
        self._trials: dict[str, Any] = {}
        conductor = simulation.conductor
        next_job, on_report = conductor.next_job, conductor.on_report

        def begun() -> Job | None:
            job = next_job()
            if job is not None:
                config = {"trial": job.trial, "config": job.config.model_dump_json()}
                config |= {"recorded_epochs": job.recorded_epochs, "weights_path": "no/one/asks"}
                self._trials[job.trial] = SimpleNamespace(config=config)
                callback.on_trial_start(0, [], self._trials[job.trial])
            return job

        def reported(trial: str, report: dict[str, Any]) -> bool:
            ended: bool = on_report(trial, report)
            callback.on_trial_result(0, [], self._trials[trial], result=report)
            if ended:
                callback.on_trial_complete(0, [], self._trials[trial])
            return ended

        conductor.next_job, conductor.on_report = begun, reported

    def run(self, n_reports: int | None = None) -> None:
        self.simulation.run(n_reports)
        self.callback.on_experiment_end([])


class Recorder(LiveLogger):
    """Keeps what is logged, and the threads that log."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.threads: set[str] = set()
        self.raises: Exception | None = None

    def _note(self) -> None:
        self.threads.add(threading.current_thread().name)
        if self.raises is not None:
            raise self.raises

    def begin(self, trial: LoggedTrial) -> int:
        self._note()
        self.runs.setdefault(trial.name, {"id": trial.trial_id, "values": []}).update(trial=trial, end=None)
        return 0

    def log(self, trial: LoggedTrial, epoch: int, values: Mapping[str, float]) -> None:
        self._note()
        self.runs[trial.name]["values"].append((epoch, dict(values)))

    def end(self, trial: LoggedTrial, *, failed: bool) -> None:
        self.runs[trial.name]["end"] = "failed" if failed else "finished"


class Warned(SilentDisplay):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def show_warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def told(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Callable[..., Told]:
    """Begin a simulated sweep with a live logger: the one that an option names, or one that is given."""

    def begin(logger: LogTo | LiveLogger, *, changes: dict[str, Any] | None = None, **given: Any) -> Told:
        study, log_to, display = study_of(**changes or {}), LogTo(TRACKIO, "mine"), Warned()
        simulation = simulate(study, tmp_path / "mine", **given)
        if isinstance(logger, LogTo):
            log_to = logger
            logger = open_logger(log_to, tmp_path / "mine", study=study.name)
        told = Told(simulation, LoggingCallback(logger, log_to, simulation.conductor, tmp_path / "mine", display))
        told.logger, told.warnings = logger, display.warnings
        return told

    return begin


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


class TestTrials:
    def test_have_one_run_each_with_facts_and_curve(
        self, told: Callable[..., Told], recorder: Recorder, tmp_path: Path
    ) -> None:
        told(recorder, changes={"confirm": {"configs": 1, "searches": 1, "seeds": 2}}).run()
        search, confirming = read_sweep(tmp_path / "mine"), read_sweep(tmp_path / "mine", "confirm")
        trials = pd.concat([search.trials, confirming.trials])
        epochs = pd.concat([search.epochs, confirming.epochs])
        assert set(recorder.runs) == set(trials["trial"])
        assert len({run["id"] for run in recorder.runs.values()}) == len(trials)
        assert len(recorder.threads) == 1
        assert threading.current_thread().name not in recorder.threads
        for row in trials.to_dict("records"):
            run, rows = recorder.runs[row["trial"]], epochs[epochs["trial"] == row["trial"]]
            facts, config = run["trial"].facts, run["trial"].config
            assert (facts["arm"], facts["seed"], facts["replicate"]) == (row["arm"], row["seed"], row["replicate"])
            assert facts["optimizer.lr"] == row["params.optimizer.lr"] == config["optimizer"]["lr"]
            assert ("mix.apply.prob" in facts) == (row["arm"] == "cutmix")
            assert all(isinstance(value, str | int | float | bool) for value in facts.values())
            assert [epoch for epoch, _ in run["values"]] == rows["epoch"].tolist()
            for column in ("val_nll", "train_loss", "images_per_s"):
                assert [values[column] for _, values in run["values"]] == rows[column].tolist()
            assert ("test_top1_error" in run["values"][-1][1]) == (row["phase"] == "confirm")
            assert run["end"] == "finished"

    def test_that_fail_are_said(self, told: Callable[..., Told], recorder: Recorder) -> None:
        def curve(job: Job, epoch: int) -> dict[str, Any]:
            return {"failed": "out of luck"} if (job.trial, epoch) == ("off-0001", 2) else {}

        told(recorder, curve=curve).run()
        assert {name for name, run in recorder.runs.items() if run["end"] == "failed"} == {"off-0001"}
        assert len(recorder.runs["off-0001"]["values"]) == 1

    def test_continue_their_run_after_an_interruption(self, told: Callable[..., Told], recorder: Recorder) -> None:
        told(recorder).run(3)
        assert [run["end"] for run in recorder.runs.values()] == ["failed", "failed"]
        before = {name: run["id"] for name, run in recorder.runs.items()}
        told(recorder).run()
        assert before.items() <= {name: run["id"] for name, run in recorder.runs.items()}.items()
        for run in recorder.runs.values():
            epochs = [epoch for epoch, _ in run["values"]]
            assert epochs == list(range(1, len(epochs) + 1))

    def test_that_repeat_an_epoch_log_it_once(
        self, told: Callable[..., Told], recorder: Recorder, report_of: Any
    ) -> None:
        sweep = told(recorder)
        sweep.simulation.run(1)
        (job, *_) = sweep.simulation.jobs
        for epoch in (1, 2):
            sweep.simulation.conductor.on_report(job.trial, report_of(job, epoch, {}))
        sweep.callback.on_experiment_end([])
        assert [epoch for epoch, _ in recorder.runs[job.trial]["values"]] == [1, 2]


class TestNoLogger:
    def test_that_raises_ends_a_sweep(self, told: Callable[..., Told], recorder: Recorder, tmp_path: Path) -> None:
        sweep = told(recorder)
        sweep.simulation.run(4)
        recorder.raises = ConnectionError("connection refused")
        sweep.run()
        assert sweep.warnings == ["--log-to trackio:mine: logging stopped, the sweep continues: connection refused"]
        assert not sweep.simulation.conductor.n_left
        assert len(read_sweep(tmp_path / "mine").trials) == 12

    def test_that_hangs_delays_a_sweep(
        self, told: Callable[..., Told], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        goes_on = threading.Event()
        monkeypatch.setattr(recorder, "begin", lambda trial: goes_on.wait(60))
        monkeypatch.setattr(tune_loggers, "UPLOAD_TIMEOUT_S", 0.1)
        sweep = told(recorder)
        sweep.run()
        assert not sweep.simulation.conductor.n_left
        assert sweep.warnings == ["--log-to trackio:mine: not all results were sent within 0.1 s"]
        goes_on.set()

    def test_gets_more_than_it_can_take(
        self, told: Callable[..., Told], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        goes_on = threading.Event()
        monkeypatch.setattr("sweep.loggers.sender.MAX_WAITING", 3)
        monkeypatch.setattr(recorder, "begin", lambda trial: goes_on.wait(60))
        monkeypatch.setattr(tune_loggers, "UPLOAD_TIMEOUT_S", 0.1)
        sweep = told(recorder)
        sweep.run()
        assert "it is too slow: " in sweep.warnings[-1]
        goes_on.set()


@pytest.mark.parametrize(("package", "target"), [(MLFLOW, "http://127.0.0.1:9"), (WANDB, "mine")])
class TestDeadServer:
    @pytest.fixture(autouse=True)
    def dead(self, packages: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        monkeypatch.delenv("WANDB_MODE", raising=False)

    def test_is_refused_within_ten_seconds(self, tmp_path: Path, package: str, target: str) -> None:
        began_s = time.monotonic()
        with pytest.raises(UserError, match=r"no .* server answers at http://127.0.0.1:9: Connection refused; "):
            open_logger(LogTo(package, target), tmp_path, study="small")
        assert time.monotonic() - began_s < 10

    def test_is_refused_before_ray_starts(
        self, run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, target: str
    ) -> None:
        monkeypatch.setattr("sweep.engine.cluster", None)
        out = tmp_path / "new"
        status, _, err = run("run", "quickstart", "--scale", "smoke", "--out", out, "--log-to", f"{package}:{target}")
        assert status == 2
        (line,) = err.splitlines()
        assert line.startswith(f"error: --log-to {package}:{target}: no ")
        assert not out.exists()


def test_tensorboard(told: Callable[..., Told], tmp_path: Path) -> None:
    log_to = LogTo(TENSORBOARD, str(tmp_path / "boards"))
    told(log_to, changes=SMALL).run(3)
    told(log_to, changes=SMALL).run()
    epochs = read_sweep(tmp_path / "mine").epochs
    for (arm, trial), rows in epochs.groupby(["arm", "trial"]):
        board = EventAccumulator(str(tmp_path / "boards" / "mine" / str(arm) / str(trial))).Reload()
        # a kill loses rows that were logged already: these epochs are logged again
        assert [event.step for event in board.Scalars("val/nll")] == rows["epoch"].tolist()
        assert [event.value for event in board.Scalars("val/nll")] == pytest.approx(rows["val_nll"].tolist())


@pytest.mark.filterwarnings("ignore")
def test_mlflow_in_sqlite(told: Callable[..., Told], tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/runs.db"
    told(LogTo(MLFLOW, uri), changes=SMALL).run(3)
    told(LogTo(MLFLOW, uri), changes=SMALL).run()
    records, client = read_sweep(tmp_path / "mine"), MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert sorted(run.info.run_name for run in runs) == sorted(records.trials["trial"])
    for run in runs:
        assert run.info.status == "FINISHED"
        rows = records.epochs[records.epochs["trial"] == run.info.run_name]
        history = client.get_metric_history(run.info.run_id, "val_nll")
        logged = [(point.step, point.value) for point in history]
        assert logged == list(zip(rows["epoch"], rows["val_nll"], strict=True))
        row = records.trials.set_index("trial").loc[run.info.run_name]
        assert float(run.data.params["optimizer.lr"]) == row["params.optimizer.lr"]
        assert (run.data.params["arm"], run.data.tags["study"]) == (row["arm"], "small")


@pytest.mark.filterwarnings("ignore")
def test_mlflow_refuses_a_folder_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(UserError, match=r"refuses a folder as its store: use mlflow:sqlite:///FILE.db, or set"):
        open_logger(LogTo(MLFLOW, str(tmp_path / "runs")), tmp_path / "mine", study="small")


@pytest.mark.filterwarnings("ignore")
def test_trackio_in_files(told: Callable[..., Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    told(LogTo(TRACKIO, "digits"), changes=SMALL).run()
    records = read_sweep(tmp_path / "mine")
    assert sorted(SQLiteStorage.get_runs("digits")) == sorted(f"mine-{trial}" for trial in records.trials["trial"])
    for trial, rows in records.epochs.groupby("trial"):
        logged = {row["step"]: row["val_nll"] for row in SQLiteStorage.get_logs("digits", f"mine-{trial}")}
        assert logged == pytest.approx(dict(zip(rows["epoch"], rows["val_nll"], strict=True)))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Weights & Biases write to files; end its process afterwards."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789012345678901234567890123456789")
    yield
    wandb.teardown()


@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_is_one_process_for_all_trials(offline: None, told: Callable[..., Told], tmp_path: Path) -> None:
    told(LogTo(WANDB, "mine"), changes=SMALL).run()
    records = read_sweep(tmp_path / "mine")
    files = list((tmp_path / "mine" / "wandb").glob("offline-run-*/run-*.wandb"))
    runs = dict(map(read_offline_run, files))
    assert set(runs) == set(records.trials["trial"])
    for trial, values in runs.items():
        rows = records.epochs[records.epochs["trial"] == trial]
        assert values == list(zip(rows["epoch"], rows["val_nll"], strict=True))
    assert sum("wandb-core" in " ".join(child.cmdline()) for child in psutil.Process().children()) == 1
    assert not any(os.environ["WANDB_API_KEY"].encode() in file.read_bytes() for file in files)


BLOCK = 2**15
"""Bytes per block of a file of Weights & Biases: LevelDB's format of logs, behind 7 bytes."""


def read_offline_run(path: Path) -> tuple[str, list[tuple[int, float]]]:
    """Return the name of a run of Weights & Biases, and its steps with ``val_nll``, from its file."""
    from wandb.proto.wandb_internal_pb2 import Record

    name, values = "", []
    for content in read_log_records(path.read_bytes()):
        record = Record.FromString(content)
        name = record.run.display_name or name
        items = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        if "val_nll" in items:
            values.append((items["_step"], items["val_nll"]))
    return name, values


def read_log_records(content: bytes) -> Iterator[bytes]:
    place, parts = 7, []
    while place + 7 <= len(content):
        left = BLOCK - place % BLOCK
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        if left < 7 or not kind:
            place += left
            continue
        parts.append(content[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield b"".join(parts)
            parts = []
