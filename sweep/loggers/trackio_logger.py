"""Live logging to Trackio: one run per trial, in the files of this machine."""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweep.log_to import LogTo
from sweep.loggers.base import LiveLogger, LoggedTrial


class TrackioLogger(LiveLogger):
    """Logger to a project of Trackio; the group has the name of the sweep."""

    def __init__(self, log_to: LogTo, sweep_dir: Path, *, study: str) -> None:
        """Remember the project; Trackio writes to files of this machine, so there is no server to ask."""
        self._project, self._sweep, self._study = log_to.target, sweep_dir.name, study
        self._runs: dict[str, Any] = {}

    def begin(self, trial: LoggedTrial) -> int:
        """Begin a run, or continue the run of the same name."""
        import trackio

        for module in (trackio, trackio.run, trackio.utils):
            module.print = _print_nothing  # it would write into the live table
        # in a context of its own: otherwise Trackio ends the run that was begun last
        self._runs[trial.trial_id] = contextvars.Context().run(
            trackio.init,
            project=self._project,
            name=f"{self._sweep}-{trial.name}",
            group=self._sweep,
            config={"study": self._study, **trial.facts},
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
        return 0

    def log(self, trial: LoggedTrial, epoch: int, values: Mapping[str, float]) -> None:
        """Log the values of an epoch at this step."""
        self._runs[trial.trial_id].log(dict(values), step=epoch)

    def end(self, trial: LoggedTrial, *, failed: bool) -> None:
        """End a run."""
        if run := self._runs.pop(trial.trial_id, None):
            run.finish()


def _print_nothing(*_: object, **__: object) -> None:
    """Print nothing, in place of ``print``."""
