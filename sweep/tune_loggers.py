"""Tune's own callbacks for Weights & Biases and MLflow, which see trials under the names of the sweep."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.tune import Callback
from ray.tune.logger import LoggerCallback

from sweep.conductor import Conductor
from sweep.display import Display
from sweep.endings import reason_of
from sweep.entry import Entry
from sweep.formats import cut
from sweep.ledger import EPOCH_COLUMNS
from sweep.log_to import MLFLOW, WANDB, LogTo
from sweep.records.reader import read_manifest
from sweep.records.schema import DIVERGED, FAILED
from trainables.errors import UserError

UPLOAD_TIMEOUT_S = 120
"""Longest time that Weights & Biases may upload after the last trial."""

SERVER_TIMEOUT_S = 5.0
"""Time that an MLflow server has to answer before a sweep starts."""

NODES_TIMEOUT_S = 60.0
"""Time that the nodes of a cluster have to say whether they have a package."""

_MLFLOW_SETTINGS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's own defaults block the driver for minutes if the server goes away; what the user has set stays."""


def open_logger(log_to: LogTo, sweep_dir: Path, *, study: str) -> LoggerCallback:
    """Open one logger, before Ray starts.

    Weights & Biases: the group has the sweep's name, and each trial is one run. Its files, for example offline runs
    (``WANDB_MODE=offline``), are in ``sweep_dir / "wandb"``. MLflow: the experiment has the sweep's name. Tune's
    callback calls MLflow's server from the driver, several times per epoch and trial: a slow server slows the sweep.

    Raises:
        UserError: not logged in, or a store or server that cannot be used.
    """
    sweep = sweep_dir.name
    if log_to.package == MLFLOW:
        _check_server(log_to)
        for name, value in _MLFLOW_SETTINGS.items():
            os.environ.setdefault(name, value)
    try:
        if log_to.package == WANDB:
            from ray.air.integrations.wandb import WandbLoggerCallback

            logger = WandbLoggerCallback(
                project=log_to.target, group=sweep, resume="allow", upload_timeout=UPLOAD_TIMEOUT_S
            )
        else:
            from ray.air.integrations.mlflow import MLflowLoggerCallback

            tags = {"sweep": sweep, "study": study}
            logger = MLflowLoggerCallback(tracking_uri=log_to.target, experiment_name=sweep, tags=tags)
        logger.setup()
    except Exception as error:  # the packages raise many types, and each has a cause that the user can fix
        if "MLFLOW_ALLOW_FILE_STORE" in str(error):
            advice = "use mlflow:sqlite:///FILE.db, or set MLFLOW_ALLOW_FILE_STORE=true"
            raise UserError(f"{log_to}: this version of MLflow refuses a folder as its store: {advice}") from None
        raise UserError(f"{log_to}: {reason_of(error)}") from None
    return logger


def _check_server(log_to: LogTo) -> None:
    """Check that an MLflow server answers; any answer will do, also one that refuses the request.

    Raises:
        UserError: nothing answers within ``SERVER_TIMEOUT_S``.
    """
    if urllib.parse.urlsplit(log_to.target).scheme not in ("http", "https"):
        return
    try:
        with urllib.request.urlopen(log_to.target, timeout=SERVER_TIMEOUT_S):
            return
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = reason_of(error)
    raise UserError(f"{log_to}: no MLflow server answers there: {reason}; check the address, or start: mlflow server")


def nodes_without(package: str) -> list[str]:
    """Return the names of the nodes of the running Ray that lack a package; a node that does not answer has it."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
    def has_package() -> bool:
        from importlib.util import find_spec

        return find_spec(package) is not None

    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[has_package.options(scheduling_strategy=strategy).remote()] = node["NodeManagerHostname"]
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=NODES_TIMEOUT_S)
    missing = []
    for answer in answered:
        with contextlib.suppress(RayError):
            if not ray.get(answer):
                missing.append(asked[answer])
    return sorted(missing)


def open_callbacks(
    loggers: Sequence[tuple[LogTo, LoggerCallback]], conductor: Conductor, sweep_dir: Path, display: Display
) -> list[LoggingCallback]:
    """Return a callback of Tune per logger; Weights & Biases logs from workers on any node, which need its package."""
    callbacks = []
    for log_to, logger in loggers:
        if log_to.package == WANDB and (nodes := nodes_without(WANDB)):
            names = cut(", ".join(nodes), 100)
            display.show_warning(
                f"{log_to}: nothing is logged, the sweep continues: the package {WANDB} is not installed on {names}"
            )
        else:
            callbacks.append(LoggingCallback(logger, log_to, conductor, sweep_dir, display))
    return callbacks


class LoggedTrial:
    """A trial as a logger sees it: Tune's own trial has one JSON text and paths of files as parameters.

    Attributes:
        trial_id: the same each time that the trial is resumed, in this run of the sweep or a later one.
        config: arm, seed, sampled parameters by dotted path, and so on.
        experiment_dir_name: name of the sweep.
        local_path: folder for files of the logger.
        epoch: last epoch that was logged.
    """

    def __init__(self, entry: Entry, *, trial_id: str, config: Mapping[str, Any], sweep_dir: Path) -> None:
        """Describe ``entry`` to a logger."""
        self.trial_id = trial_id
        self.config = dict(config)
        self.experiment_dir_name = sweep_dir.name
        self.local_path = str(sweep_dir.absolute())
        self.epoch = entry.epochs  # a trial that begins again repeats them
        self._name = entry.trial

    def __str__(self) -> str:
        """Return the name of the run."""
        return self._name


class LoggingCallback(Callback):  # type: ignore[misc]
    """Pass Tune's events to a logger, with the names of the sweep.

    When a trial is resumed, Weights & Biases continues its run. MLflow gets another run of that name, which begins at
    the next epoch. A logger that raises is not called again: the records do not depend on it.
    """

    def __init__(
        self, logger: LoggerCallback, log_to: LogTo, conductor: Conductor, sweep_dir: Path, display: Display
    ) -> None:
        """Log to ``logger``, which is set up already."""
        self._logger: LoggerCallback | None = logger
        self._log_to = log_to
        self._conductor = conductor
        self._dir = sweep_dir
        self._display = display
        self._sweep_started_at = read_manifest(sweep_dir)["runs"][0]["started_at"]
        self._trials: dict[str, LoggedTrial] = {}

    def on_trial_start(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Begin a run, once for each of Tune's trials."""
        if trial.trial_id not in self._trials:
            self._trials[trial.trial_id] = self._new_trial(trial.config)
        logged = self._trials[trial.trial_id]
        self._call(lambda logger: logger.log_trial_start(logged))

    def on_trial_result(
        self, iteration: int, trials: Sequence[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        """Log an epoch that was not logged yet."""
        logged = self._trials.get(trial.trial_id)
        # a failed trial reports no epoch, and a trial that lost its worker repeats some
        if logged is None or result.get("epoch", 0) <= logged.epoch:
            return
        logged.epoch = result["epoch"]
        self._call(lambda logger: logger.log_trial_result(iteration, logged, logged_result(result)))

    def on_trial_complete(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """End a run. Tune sees every trial as successful, so the status comes from the conductor."""
        self._end(trial.trial_id, failed=self._conductor.entries[trial.config["trial"]].status in (FAILED, DIVERGED))

    def on_trial_error(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """End the run of a trial that lost its worker too often."""
        self._end(trial.trial_id, failed=True)

    def on_experiment_end(self, trials: Sequence[Any], **info: Any) -> None:
        """End the runs of interrupted trials, then wait until all results are sent."""
        for trial_id in list(self._trials):
            self._end(trial_id, failed=True)
        self._call(lambda logger: logger.on_experiment_end(trials, **info))

    def _end(self, trial_id: str, *, failed: bool) -> None:
        logged = self._trials.pop(trial_id, None)
        if logged is not None:
            self._call(lambda logger: logger.log_trial_end(logged, failed=failed))

    def _new_trial(self, tune_config: Mapping[str, Any]) -> LoggedTrial:
        entry = self._conductor.entries[tune_config["trial"]]
        config = logged_config(entry, tune_config, study=self._conductor.study.name, sweep=self._dir.name)
        if self._log_to.package == WANDB:  # MLflow would send one request per value
            config["config"] = json.loads(tune_config["config"])
        # two sweeps may have the same name, but they started at different times
        key = f"{self._dir.name} {self._sweep_started_at} {entry.trial}"
        trial_id = hashlib.sha256(key.encode()).hexdigest()[:16]
        return LoggedTrial(entry, trial_id=trial_id, config=config, sweep_dir=self._dir)

    def _call(self, call: Callable[[LoggerCallback], object]) -> None:
        if self._logger is None:
            return
        try:
            call(self._logger)
        except Exception as error:  # no error of a logging package may end the sweep
            self._logger = None
            self._display.show_warning(f"{self._log_to}: logging stopped, the sweep continues: {reason_of(error)}")


def logged_config(entry: Entry, tune_config: Mapping[str, Any], *, study: str, sweep: str) -> dict[str, Any]:
    """Return the facts by which trials are compared: flat, sampled parameters by dotted path, without unknown ones."""
    facts = {
        **{"sweep": sweep, "study": study, "phase": entry.phase, "arm": entry.arm, "trial": entry.trial},
        **{"replicate": entry.replicate, "seed": json.loads(tune_config["config"])["seed"], "control": entry.control},
        **{"confirms": entry.confirms, "recorded_epochs": tune_config["recorded_epochs"]},
    }
    return {name: value for name, value in facts.items() if value is not None} | entry.params


def logged_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of an epoch's report, with test values as ``test_<metric>`` and the epoch as the step."""
    tests = json.loads(result["test"])["metrics"] if "test" in result else {}
    return {
        "training_iteration": result["epoch"],  # the step of both loggers
        **{name: result[name] for name in EPOCH_COLUMNS},
        **{f"test_{name}": value for name, value in tests.items()},
    }
