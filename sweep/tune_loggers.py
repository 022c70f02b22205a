"""Tune's own callbacks for Weights & Biases and MLflow, shown trials as a person knows them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.logger import LoggerCallback
from rich.console import Console

from sweep.conductor import Conductor
from sweep.entry import Entry
from sweep.ledger import EPOCH_COLUMNS
from sweep.log_to import WANDB, LogTo
from sweep.records.reader import read_manifest
from sweep.records.schema import DIVERGED, FAILED
from trainables.errors import UserError

UPLOAD_TIMEOUT_S = 120
"""How long Weights & Biases may go on uploading after the last trial."""


def open_logger(log_to: LogTo, sweep_dir: Path, *, study: str) -> LoggerCallback:
    """Open one logger, before Ray starts.

    Weights & Biases has the sweep's name as group and one run a trial; what it keeps on disk, such as offline runs
    (``WANDB_MODE=offline``), lies in ``sweep_dir / "wandb"``. MLflow has the sweep's name as experiment. Tune's
    callback calls MLflow's server from the driver, several times an epoch and trial: a slow server slows the sweep.

    Raises:
        UserError: not logged in, or a store or server that cannot be used.
    """
    sweep = sweep_dir.name
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
    except Exception as error:  # whatever the package raises: the user's to mend
        raise UserError(f"{log_to}: {error}") from None
    return logger


class ShownTrial:
    """What a logger sees in place of Tune's trial, whose parameters are one JSON text and paths of files.

    Attributes:
        trial_id: equal each time the trial is taken up again, in this session or another.
        config: arm, seed, drawn parameters by dotted path, and so on.
        experiment_dir_name: the sweep's name.
        local_path: where the logger may put files.
        epoch: the last one that was logged.
    """

    def __init__(self, entry: Entry, *, trial_id: str, config: Mapping[str, Any], sweep_dir: Path) -> None:
        """Show ``entry``."""
        self.trial_id = trial_id
        self.config = dict(config)
        self.experiment_dir_name = sweep_dir.name
        self.local_path = str(sweep_dir.absolute())
        self.epoch = 0
        self._name = entry.trial

    def __str__(self) -> str:
        """Name of the run."""
        return self._name


class ShowingCallback(Callback):  # type: ignore[misc]
    """Passes what Tune tells on to a logger, in the words of the sweep.

    Each time that a trial is taken up again, Weights & Biases goes on with its run; to MLflow it is one more run of
    that name, which begins at the next epoch. A logger that raises is left out from then on: the records do not depend
    on it.
    """

    def __init__(
        self, logger: LoggerCallback, log_to: LogTo, conductor: Conductor, sweep_dir: Path, console: Console
    ) -> None:
        """Serve ``logger``, which is set up already."""
        self._logger: LoggerCallback | None = logger
        self._log_to = log_to
        self._conductor = conductor
        self._dir = sweep_dir
        self._console = console
        self._began_at = read_manifest(sweep_dir)["runs"][0]["started_at"]
        self._shown: dict[str, ShownTrial] = {}

    def on_trial_start(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Begin a run, once for each of Tune's trials."""
        if trial.trial_id not in self._shown:
            self._shown[trial.trial_id] = self._show(trial.config)
        shown = self._shown[trial.trial_id]
        self._tell(lambda logger: logger.log_trial_start(shown))

    def on_trial_result(
        self, iteration: int, trials: Sequence[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        """Log an epoch that was not logged yet."""
        shown = self._shown.get(trial.trial_id)
        if shown is None or result.get("epoch", 0) <= shown.epoch:  # it failed, or lost its worker and repeats
            return
        shown.epoch = result["epoch"]
        self._tell(lambda logger: logger.log_trial_result(iteration, shown, shown_result(result)))

    def on_trial_complete(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """End a run; to Tune every trial ends well."""
        self._end(trial.trial_id, failed=self._conductor.entries[trial.config["trial"]].status in (FAILED, DIVERGED))

    def on_trial_error(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """End the run of a trial that lost its worker too often."""
        self._end(trial.trial_id, failed=True)

    def on_experiment_end(self, trials: Sequence[Any], **info: Any) -> None:
        """End the runs of trials that were interrupted, then wait for what is still on its way."""
        for trial_id in list(self._shown):
            self._end(trial_id, failed=True)
        self._tell(lambda logger: logger.on_experiment_end(trials, **info))

    def _end(self, trial_id: str, *, failed: bool) -> None:
        shown = self._shown.pop(trial_id, None)
        if shown is not None:
            self._tell(lambda logger: logger.log_trial_end(shown, failed=failed))

    def _show(self, config: Mapping[str, Any]) -> ShownTrial:
        entry = self._conductor.entries[config["trial"]]
        about = shown_config(entry, config, study=self._conductor.study.name, sweep=self._dir.name)
        if self._log_to.package == WANDB:  # MLflow would take a request for each value
            about["config"] = json.loads(config["config"])
        key = f"{self._dir.name} {self._began_at} {entry.trial}"  # sweeps of equal name began at different times
        trial_id = hashlib.sha256(key.encode()).hexdigest()[:16]
        return ShownTrial(entry, trial_id=trial_id, config=about, sweep_dir=self._dir)

    def _tell(self, call: Callable[[LoggerCallback], object]) -> None:
        if self._logger is None:
            return
        try:
            call(self._logger)
        except Exception as error:  # whatever the package raises must not end the sweep
            self._logger = None
            self._console.print(
                f"{self._log_to}: nothing more is logged there, the sweep goes on: {error}",
                style="yellow",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


def shown_config(entry: Entry, config: Mapping[str, Any], *, study: str, sweep: str) -> dict[str, Any]:
    """Return what a trial is compared by: flat, drawn parameters by dotted path, without what is not known of it."""
    about = {
        **{"sweep": sweep, "study": study, "phase": entry.phase, "arm": entry.arm, "trial": entry.trial},
        **{"replicate": entry.replicate, "seed": json.loads(config["config"])["seed"], "control": entry.control},
        **{"confirms": entry.confirms, "recorded_epochs": config["recorded_epochs"]},
    }
    return {name: value for name, value in about.items() if value is not None} | entry.params


def shown_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of an epoch's report, with test values as ``test_<metric>`` and the epoch as the step."""
    tests = json.loads(result["test"])["metrics"] if "test" in result else {}
    return {
        "training_iteration": result["epoch"],  # the step of both loggers
        **{name: result[name] for name in EPOCH_COLUMNS},
        **{f"test_{name}": value for name, value in tests.items()},
    }
