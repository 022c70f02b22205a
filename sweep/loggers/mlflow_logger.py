"""Live logging to MLflow: one run per trial, one request per epoch."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from sweep.endings import reason_of
from sweep.log_to import LogTo
from sweep.loggers.base import LiveLogger, LoggedTrial, check_server
from trainables.errors import UserError

_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # MLflow's own defaults block for minutes if the server is gone
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Settings of MLflow; what the user has set stays."""

TRIAL_TAG = "cutmix_sweep.trial_id"
"""Tag by which the run of a resumed trial is found."""


_EACH_EPOCH = "val_nll"
"""A value that each epoch has."""


class MlflowLogger(LiveLogger):
    """Logger to a server or a store; the experiment has the name of the sweep."""

    def __init__(self, log_to: LogTo, sweep_dir: Path, *, study: str) -> None:
        """Connect, and make the experiment if it is missing.

        Raises:
            UserError: the server does not answer, or the store cannot be used.
        """
        if urlsplit(log_to.target).scheme in ("http", "https"):
            advice = "check the address, or start: mlflow server"
            check_server(log_to, log_to.target, name="MLflow", advice=advice)
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        sweep = sweep_dir.name
        self._tags = {"sweep": sweep, "study": study}
        self._runs: dict[str, str] = {}
        try:
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=log_to.target)
            experiment = self._client.get_experiment_by_name(sweep)
            self._experiment = experiment.experiment_id if experiment else self._client.create_experiment(sweep)
        except Exception as error:  # MLflow raises many types, and each has a cause that the user can fix
            if "MLFLOW_ALLOW_FILE_STORE" in str(error):
                advice = "use mlflow:sqlite:///FILE.db, or set MLFLOW_ALLOW_FILE_STORE=true"
                raise UserError(f"{log_to}: this version of MLflow refuses a folder as its store: {advice}") from None
            raise UserError(f"{log_to}: {reason_of(error)}") from None

    def begin(self, trial: LoggedTrial) -> int:
        """Begin a run, or continue the run that the trial had before; return the last epoch of that run."""
        from mlflow.entities import Param

        found = self._client.search_runs(
            [self._experiment], filter_string=f"tags.`{TRIAL_TAG}` = '{trial.trial_id}'", max_results=1
        )
        if found:
            self._runs[trial.trial_id] = run_id = found[0].info.run_id
            self._client.set_terminated(run_id, status="RUNNING")
            return max((point.step for point in self._client.get_metric_history(run_id, _EACH_EPOCH)), default=0)
        tags = {**self._tags, TRIAL_TAG: trial.trial_id}
        run_id = self._client.create_run(self._experiment, run_name=trial.name, tags=tags).info.run_id
        self._runs[trial.trial_id] = run_id
        self._client.log_batch(run_id, params=[Param(name, str(value)) for name, value in trial.facts.items()])
        return 0

    def log(self, trial: LoggedTrial, epoch: int, values: Mapping[str, float]) -> None:
        """Log the values of an epoch at this step."""
        from mlflow.entities import Metric

        now_ms = int(1000 * time.time())
        metrics = [Metric(name, float(value), now_ms, epoch) for name, value in values.items()]
        self._client.log_batch(self._runs[trial.trial_id], metrics=metrics)

    def end(self, trial: LoggedTrial, *, failed: bool) -> None:
        """End a run."""
        if run_id := self._runs.pop(trial.trial_id, None):
            self._client.set_terminated(run_id, status="FAILED" if failed else "FINISHED")
