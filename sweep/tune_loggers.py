"""Live loggers as a callback of Tune: the reports of all trials, under the names of the sweep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune import Callback

from sweep.conductor import Conductor
from sweep.display import Display
from sweep.entry import Entry
from sweep.ledger import EPOCH_COLUMNS
from sweep.log_to import MLFLOW, TENSORBOARD, WANDB, LogTo
from sweep.loggers.base import Fact, LiveLogger, LoggedTrial
from sweep.loggers.sender import Sender
from sweep.records.reader import read_manifest
from sweep.records.schema import DIVERGED, FAILED

UPLOAD_TIMEOUT_S = 120.0
"""Longest time that a logger may need after the last trial."""


def open_logger(log_to: LogTo, sweep_dir: Path, *, study: str) -> LiveLogger:
    """Open one logger, before Ray starts. It runs in this process: no other node needs its package.

    Raises:
        UserError: not logged in, or a store or server that cannot be used.
    """
    if log_to.package == WANDB:
        from sweep.loggers.wandb_logger import WandbLogger

        return WandbLogger(log_to, sweep_dir, study=study)
    if log_to.package == MLFLOW:
        from sweep.loggers.mlflow_logger import MlflowLogger

        return MlflowLogger(log_to, sweep_dir, study=study)
    if log_to.package == TENSORBOARD:
        from sweep.loggers.tensorboard_logger import TensorboardLogger

        return TensorboardLogger(log_to, sweep_dir, study=study)
    from sweep.loggers.trackio_logger import TrackioLogger

    return TrackioLogger(log_to, sweep_dir, study=study)


def open_callbacks(
    loggers: Sequence[tuple[LogTo, LiveLogger]], conductor: Conductor, sweep_dir: Path, display: Display
) -> list[LoggingCallback]:
    """Return a callback of Tune per logger."""
    return [LoggingCallback(logger, log_to, conductor, sweep_dir, display) for log_to, logger in loggers]


class LoggingCallback(Callback):  # type: ignore[misc]
    """Pass Tune's events to a logger, from one thread for all trials.

    A resumed trial continues its run. A logger that raises is not called again: the records do not depend on it.
    """

    def __init__(
        self, logger: LiveLogger, log_to: LogTo, conductor: Conductor, sweep_dir: Path, display: Display
    ) -> None:
        """Log to ``logger``."""
        self._logger = logger
        self._log_to = log_to
        self._conductor = conductor
        self._dir = sweep_dir
        self._display = display
        self._sender = Sender(f"logger {log_to.package}")
        self._is_said = False
        self._sweep_started_at = read_manifest(sweep_dir)["runs"][0]["started_at"]
        self._trials: dict[str, LoggedTrial] = {}
        self._has_epoch: dict[str, int] = {}  # used by the thread of the sender only

    def on_trial_start(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Begin a run, once per trial."""
        if (name := trial.config["trial"]) not in self._trials:
            self._trials[name] = logged = self._new_trial(trial.config)
            self._send(lambda: self._begin(logged))

    def on_trial_result(
        self, iteration: int, trials: Sequence[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        """Log an epoch that was not logged yet."""
        logged = self._trials.get(trial.config["trial"])
        # a failed trial reports no epoch, and a trial that lost its worker repeats some
        if logged is None or result.get("epoch", 0) <= logged.epoch:
            return
        logged.epoch = epoch = result["epoch"]
        values = logged_values(result)
        self._send(lambda: self._log(logged, epoch, values))

    def _begin(self, logged: LoggedTrial) -> None:
        self._has_epoch[logged.trial_id] = self._logger.begin(logged)

    def _log(self, logged: LoggedTrial, epoch: int, values: Mapping[str, float]) -> None:
        if epoch > self._has_epoch[logged.trial_id]:
            self._logger.log(logged, epoch, values)

    def on_trial_complete(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """End a run. Tune sees every trial as successful, so the status comes from the conductor."""
        name = trial.config["trial"]
        self._end(name, failed=self._conductor.entries[name].status in (FAILED, DIVERGED))

    def on_trial_error(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """End the run of a trial that lost its worker too often."""
        self._end(trial.config["trial"], failed=True)

    def on_experiment_end(self, trials: Sequence[Any], **info: Any) -> None:
        """End the runs of interrupted trials, then wait until all results are sent."""
        for name in list(self._trials):
            self._end(name, failed=True)
        if not self._sender.wait(UPLOAD_TIMEOUT_S) and not self._sender.problem:
            self._say(f"not all results were sent within {UPLOAD_TIMEOUT_S:g} s")
        if self._sender.n_dropped:
            self._say(f"it is too slow: {self._sender.n_dropped} results were not logged")
        self._say_problem()

    def _end(self, name: str, *, failed: bool) -> None:
        if (logged := self._trials.pop(name, None)) is not None:
            self._send(lambda: self._logger.end(logged, failed=failed))

    def _new_trial(self, tune_config: Mapping[str, Any]) -> LoggedTrial:
        entry = self._conductor.entries[tune_config["trial"]]
        # two sweeps may have the same name, but they started at different times
        key = f"{self._dir.name} {self._sweep_started_at} {entry.trial}"
        return LoggedTrial(
            trial_id=hashlib.sha256(key.encode()).hexdigest()[:16],
            name=entry.trial,
            arm=entry.arm,
            facts=logged_facts(entry, tune_config, study=self._conductor.study.name, sweep=self._dir.name),
            config=json.loads(tune_config["config"]),
            epoch=entry.epochs,  # a trial that begins again repeats them
        )

    def _send(self, call: Callable[[], object]) -> None:
        self._say_problem()
        self._sender.put(call)

    def _say_problem(self) -> None:
        if self._sender.problem and not self._is_said:
            self._is_said = True
            self._say(f"logging stopped, the sweep continues: {self._sender.problem}")

    def _say(self, text: str) -> None:
        self._display.show_warning(f"{self._log_to}: {text}")


def logged_facts(entry: Entry, tune_config: Mapping[str, Any], *, study: str, sweep: str) -> dict[str, Fact]:
    """Return the facts by which trials are compared: flat, sampled parameters by dotted path, without unknown ones."""
    facts = {
        **{"sweep": sweep, "study": study, "phase": entry.phase, "arm": entry.arm, "trial": entry.trial},
        **{"replicate": entry.replicate, "seed": json.loads(tune_config["config"])["seed"], "control": entry.control},
        **{"confirms": entry.confirms, "search": entry.search},
    }
    return {name: value for name, value in facts.items() if value is not None} | entry.params


def logged_values(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of an epoch's report, with test values as ``test_<metric>``; the epoch is the step."""
    tests = json.loads(result["test"])["metrics"] if "test" in result else {}
    values = {name: result[name] for name in EPOCH_COLUMNS if name != "epoch"}
    return {**values, **{f"test_{name}": value for name, value in tests.items()}}
