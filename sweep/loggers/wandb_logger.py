"""Live logging to Weights & Biases: one run per trial, all of them from this process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweep.log_to import LogTo
from sweep.loggers.base import LiveLogger, LoggedTrial, check_server
from trainables.errors import UserError

SERVER = "https://api.wandb.ai"
"""Address of the public server; ``WANDB_BASE_URL`` names another one."""

LOCAL_MODES = ("offline", "dryrun", "disabled")
"""Values of ``WANDB_MODE`` with which nothing is sent."""


class WandbLogger(LiveLogger):
    """Logger to a project; the group has the name of the sweep.

    The files of the runs, for example of offline runs (``WANDB_MODE=offline``), are in ``DIR/wandb``.
    """

    def __init__(self, log_to: LogTo, sweep_dir: Path, *, study: str) -> None:
        """Check that there is a key and that the server answers, unless nothing is sent.

        Raises:
            UserError: there is no key, or the server does not answer.
        """
        self._project, self._sweep_dir, self._study = log_to.target, sweep_dir, study
        self._runs: dict[str, Any] = {}
        if os.environ.get("WANDB_MODE") in LOCAL_MODES:
            return
        url = os.environ.get("WANDB_BASE_URL", SERVER)
        check_server(log_to, url, name="Weights & Biases", advice="check WANDB_BASE_URL, or set WANDB_MODE=offline")
        import wandb

        if not os.environ.get("WANDB_API_KEY") and not wandb.login(prompt=False):
            raise UserError(
                f"{log_to}: no key of Weights & Biases was found: run wandb login, set WANDB_API_KEY, or set "
                "WANDB_MODE=offline"
            )

    def begin(self, trial: LoggedTrial) -> int:
        """Begin a run; the run of a resumed trial continues, because its id is the same."""
        import wandb

        settings = wandb.Settings(  # this process trains nothing, and its output belongs to no trial
            console="off", silent=True, x_disable_stats=True, disable_git=True, disable_code=True, save_code=False
        )
        self._runs[trial.trial_id] = wandb.init(
            project=self._project,
            group=self._sweep_dir.name,
            job_type=self._study,
            id=trial.trial_id,
            name=trial.name,
            config={**trial.facts, "config": dict(trial.config)},
            allow_val_change=True,
            resume="allow",
            reinit="create_new",
            dir=str(self._sweep_dir.absolute()),
            settings=settings,
        )
        return 0

    def log(self, trial: LoggedTrial, epoch: int, values: Mapping[str, float]) -> None:
        """Log the values of an epoch at this step."""
        self._runs[trial.trial_id].log(dict(values), step=epoch)

    def end(self, trial: LoggedTrial, *, failed: bool) -> None:
        """End a run, and wait until it is sent."""
        if run := self._runs.pop(trial.trial_id, None):
            run.finish(exit_code=int(failed))
