"""Live loggers: Tune's own callbacks for MLflow and Weights & Biases, over stand-ins for the two packages.

What the stand-ins have is what Tune's callbacks call; whether the real packages take it is not tested here.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces.study import Study
from sweep.conductor import Job
from sweep.display import SILENT, Display, SilentDisplay
from sweep.log_to import MLFLOW, WANDB, LogTo, parse_log_to
from sweep.records.reader import read_sweep
from trainables.errors import UserError

MakeStudy = Callable[..., Study]

MLFLOW_STAND_IN = '''
"""Keeps everything that is logged in RUNS."""
__version__ = "3.0.0"
RUNS = {}
URIS = []

class _Client:
    def create_run(self, experiment_id, run_name, tags):
        from types import SimpleNamespace
        run_id = str(len(RUNS))
        RUNS[run_id] = {"name": run_name, "tags": tags, "experiment": experiment_id, "params": {}, "metrics": {}}
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))
    def log_param(self, run_id, key, value):
        RUNS[run_id]["params"][key] = value
    def log_metric(self, run_id, key, value, step):
        RUNS[run_id]["metrics"].setdefault(key, []).append((step, value))
    def set_terminated(self, run_id, status):
        RUNS[run_id]["status"] = status

def set_tracking_uri(uri):
    if "broken" in uri:
        raise OSError("no such server")
    URIS.append(uri)
def set_registry_uri(uri): pass
def get_tracking_uri(): return URIS[-1]
def get_registry_uri(): return None
def get_experiment_by_name(name): return None
def create_experiment(name, artifact_location): return f"experiment {name}"
def get_run(run_id): return RUNS[run_id]
def active_run(): return None
'''


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let stand-ins of both packages be found; forget them afterwards, and what Tune made of them."""
    files = {
        "mlflow/__init__.py": MLFLOW_STAND_IN,
        "mlflow/exceptions.py": "class MlflowException(Exception): pass",
        "mlflow/tracking.py": "from mlflow import _Client\nMlflowClient = lambda tracking_uri, registry_uri: _Client()",
        "mlflow/utils/mlflow_tags.py": "MLFLOW_RUN_NAME = 'mlflow.runName'",
        "wandb/__init__.py": "api = type('Api', (), {'api_key': 'a key'})\ndef ensure_configured(): pass",
        "wandb/sdk/data_types/base_types/wb_value.py": "class WBValue: pass",
        "wandb/sdk/data_types/image.py": "class Image: pass",
        "wandb/sdk/data_types/video.py": "class Video: pass",
        "wandb/util.py": "import json\njson_dumps_safer = json.dumps",
        "wandb/wandb_run.py": "class Run: pass",
    }
    for name, text in files.items():
        path = tmp_path / "packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    made = (WANDB, MLFLOW, "ray.air.integrations.wandb", "ray.air.integrations.mlflow")
    before = {name: module for name, module in sys.modules.items() if name.startswith(made)}
    for name in before:
        del sys.modules[name]
    yield
    for name in [name for name in sys.modules if name.startswith(made)]:
        del sys.modules[name]


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
            ("tensorboard", "unknown logger 'tensorboard'; valid: mlflow, wandb"),
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

        given: dict[str, Any] = {"address": None, "command": "", "log_to": ["x:y"]}
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
                self._trials[job.trial] = SimpleNamespace(trial_id=f"tune {len(self._trials)}", config=config)
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


@pytest.fixture
def told(packages: None, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Callable[..., Told]:
    """Begin a simulated sweep with a live logger."""

    def begin(log_to: LogTo, *, display: Display = SILENT, changes: dict[str, Any] | None = None, **given: Any) -> Told:
        from sweep.tune_loggers import LoggingCallback, open_logger

        study = study_of(**changes or {})
        simulation = simulate(study, tmp_path / "mine", **given)
        logger = open_logger(log_to, tmp_path / "mine", study=study.name)
        callback = LoggingCallback(logger, log_to, simulation.conductor, tmp_path / "mine", display)
        return Told(simulation, callback)

    return begin


def runs() -> dict[str, dict[str, Any]]:
    """What MLflow's stand-in kept, by the name of the run."""
    kept = sys.modules["mlflow"].RUNS  # type: ignore[attr-defined]
    return {run["name"]: run for run in kept.values()}


class TestMlflow:
    def test_has_a_run_a_trial_with_what_was_drawn(self, told: Callable[..., Told], tmp_path: Path) -> None:
        told(LogTo(MLFLOW, "sqlite:///a.db")).run()
        assert sys.modules["mlflow"].URIS == ["sqlite:///a.db"]  # type: ignore[attr-defined]
        records = read_sweep(tmp_path / "mine")
        assert set(runs()) == set(records.trials["trial"])
        for row in records.trials.to_dict("records"):
            run = runs()[row["trial"]]
            assert run["experiment"] == "experiment mine"
            assert run["tags"] == {"sweep": "mine", "study": "small", "trial_name": row["trial"]}
            params = run["params"]
            assert (params["arm"], params["seed"], params["replicate"]) == (row["arm"], row["seed"], row["replicate"])
            assert params["optimizer.lr"] == row["params.optimizer.lr"]
            assert ("mix.apply.prob" in params) == (row["arm"] == "cutmix")
            assert not {"config", "weights_path"} & set(params)
            assert run["status"] == "FINISHED"

    def test_has_the_curves(self, told: Callable[..., Told], tmp_path: Path) -> None:
        told(LogTo(MLFLOW, "here")).run()
        records = read_sweep(tmp_path / "mine")
        for trial, epochs in records.epochs.groupby("trial"):
            for column in ("val_nll", "train_loss", "images_per_s"):
                expected = list(zip(epochs["epoch"], epochs[column], strict=True))
                assert runs()[str(trial)]["metrics"][column] == expected

    def test_has_test_values_of_a_confirmation(self, told: Callable[..., Told]) -> None:
        told(LogTo(MLFLOW, "here"), changes={"confirm": {"configs": 1, "searches": 1, "seeds": 2}}).run()
        confirming = [run for run in runs().values() if run["params"]["phase"] == "confirm"]
        assert len(confirming) == 6
        for run in confirming:
            assert [step for step, _ in run["metrics"]["test_top1_error"]] == [5]
            assert run["params"]["confirms"] in runs()

    def test_says_which_trials_failed(self, told: Callable[..., Told]) -> None:
        def curve(job: Job, epoch: int) -> dict[str, Any]:
            return {"failed": "out of luck"} if (job.trial, epoch) == ("off-0001", 2) else {}

        told(LogTo(MLFLOW, "here"), curve=curve).run()
        status = {name: run["status"] for name, run in runs().items()}
        assert {name for name, word in status.items() if word == "FAILED"} == {"off-0001"}
        assert len(runs()["off-0001"]["metrics"]["val_nll"]) == 1

    def test_ends_the_runs_of_an_interrupted_sweep(self, told: Callable[..., Told]) -> None:
        told(LogTo(MLFLOW, "here")).run(3)
        assert [run["status"] for run in runs().values()] == ["FAILED", "FAILED"]

    def test_an_epoch_that_comes_twice_is_logged_once(self, told: Callable[..., Told], report_of: Any) -> None:
        sweep = told(LogTo(MLFLOW, "here"))
        sweep.simulation.run(1)
        (job, *_) = sweep.simulation.jobs
        for epoch in (1, 2):
            sweep.simulation.conductor.on_report(job.trial, report_of(job, epoch, {}))
        assert [step for step, _ in runs()[job.trial]["metrics"]["val_nll"]] == [1, 2]

    def test_a_server_that_is_not_there_is_the_users_to_mend(self, told: Callable[..., Told]) -> None:
        with pytest.raises(UserError, match="--log-to mlflow:broken: no such server"):
            told(LogTo(MLFLOW, "broken"))

    def test_a_server_that_does_not_answer_is_said_at_once(self, told: Callable[..., Told]) -> None:
        began_s = time.monotonic()
        with pytest.raises(UserError) as refused:
            told(LogTo(MLFLOW, "http://127.0.0.1:9"))
        assert str(refused.value).startswith("--log-to mlflow:http://127.0.0.1:9: no MLflow server answers there: ")
        assert "Connection refused" in str(refused.value)
        assert time.monotonic() - began_s < 60

    def test_a_refused_folder_is_said_in_one_line(self, told: Callable[..., Told], packages: None) -> None:
        import mlflow

        def refuse(uri: str) -> None:
            raise OSError("The filesystem backend is deprecated ... set MLFLOW_ALLOW_FILE_STORE=true. " * 9)

        mlflow.set_tracking_uri = refuse
        with pytest.raises(UserError, match=r"refuses a folder as its store: use mlflow:sqlite:///FILE.db, or set"):
            told(LogTo(MLFLOW, "runs"))

    def test_a_server_that_goes_away_does_not_end_the_sweep(self, told: Callable[..., Told], tmp_path: Path) -> None:
        warnings: list[str] = []

        class Warned(SilentDisplay):
            def show_warning(self, text: str) -> None:
                warnings.append(text)

        sweep = told(LogTo(MLFLOW, "here"), display=Warned())
        sweep.simulation.run(4)

        def gone(*_: Any, **__: Any) -> None:
            raise ConnectionError("connection refused")

        sys.modules["mlflow"]._Client.log_metric = gone  # type: ignore[attr-defined]
        sweep.run()
        assert warnings == ["--log-to mlflow:here: logging stopped, the sweep continues: connection refused"]
        assert not sweep.simulation.conductor.n_left
        assert len(read_sweep(tmp_path / "mine").trials) == 12


class Queue:
    """Keeps what is sent to the process that talks to Weights & Biases."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def put(self, item: Any) -> None:
        self.items.append(item)


class TestWandb:
    @pytest.fixture
    def started(self, packages: None, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
        """Note the arguments of each run in place of starting a process for it."""
        monkeypatch.setenv("WANDB_API_KEY", "a key")
        from ray.air.integrations.wandb import WandbLoggerCallback

        begun: dict[str, dict[str, Any]] = {}

        def start(self: Any, trial: Any, exclude: list[str], **init: Any) -> None:
            queue = Queue()
            self._trial_queues[trial] = self._trial_logging_actors[trial] = queue
            begun[init["name"]] = {**init, "queue": queue, "folder": trial.local_path}

        monkeypatch.setattr(WandbLoggerCallback, "_start_logging_actor", start)
        monkeypatch.setattr(WandbLoggerCallback, "_cleanup_logging_actors", lambda self, **_: None)
        # it ends once more, whenever it is collected, what was not cleaned up
        monkeypatch.setattr(WandbLoggerCallback, "__del__", lambda self: None)
        return begun

    def test_has_a_run_a_trial(self, started: Any, told: Callable[..., Told], tmp_path: Path) -> None:
        told(LogTo(WANDB, "mine")).run()
        records = read_sweep(tmp_path / "mine")
        assert set(started) == set(records.trials["trial"])
        assert len({init["id"] for init in started.values()}) == len(started)
        for row in records.trials.to_dict("records"):
            init = started[row["trial"]]
            assert (init["project"], init["group"], init["resume"]) == ("mine", "mine", "allow")
            assert init["config"]["optimizer.lr"] == row["params.optimizer.lr"]
            assert init["config"]["config"]["optimizer"]["lr"] == row["params.optimizer.lr"]
            assert init["folder"] == str(tmp_path / "mine")
            *results, (end, _) = init["queue"].items
            recorded = records.epochs[records.epochs["trial"] == row["trial"]]
            assert [result["training_iteration"] for _, result in results] == recorded["epoch"].tolist()
            assert [result["val_nll"] for _, result in results] == recorded["val_nll"].tolist()
            assert end.name == "END"

    def test_goes_on_with_its_run_after_an_interruption(self, started: Any, told: Callable[..., Told]) -> None:
        told(LogTo(WANDB, "mine")).run(3)
        before = {name: init["id"] for name, init in started.items()}
        started.clear()
        told(LogTo(WANDB, "mine")).run()
        assert before.items() <= {name: init["id"] for name, init in started.items()}.items()
        first = next(iter(before))
        assert started[first]["config"]["recorded_epochs"] > 0

    def test_without_a_key_it_says_so(
        self, told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, packages: None
    ) -> None:
        monkeypatch.delenv("WANDB_API_KEY", raising=False)
        import wandb

        monkeypatch.setattr(wandb.api, "api_key", None)
        with pytest.raises(UserError, match="--log-to wandb:mine: No WandB API key found"):
            told(LogTo(WANDB, "mine"))


def test_results_are_plain_json(told: Callable[..., Told], report_of: Any, study_of: MakeStudy) -> None:
    from sweep.tune_loggers import logged_result

    sweep = told(LogTo(MLFLOW, "here"))
    sweep.simulation.run(1)
    report = report_of(sweep.simulation.jobs[0], 1, {})
    assert set(json.loads(json.dumps(logged_result(report)))) >= {"training_iteration", "val_ece", "lr"}
