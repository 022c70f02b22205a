"""The conductor as Ray Tune's searcher, scheduler and callback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search_spaces.study import Resources
from sweep.conductor import MAX_LOST_WORKERS, Conductor
from sweep.ledger import checkpoint_path, weights_path
from sweep.terminal.progress import Progress


class ConductorSearcher(Searcher):  # type: ignore[misc]
    """Hands the conductor's next trial to Tune."""

    def __init__(self, conductor: Conductor, sweep_dir: Path, resources: Resources) -> None:
        """Serve trials of ``conductor`` that hold ``resources`` each."""
        super().__init__()
        self._conductor = conductor
        self._dir = sweep_dir
        self._resources = resources

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration that the trainable reads, small and flat: Tune copies it often."""
        job = self._conductor.next_job()
        if job is None:
            return None if self._conductor.may_go_on else str(Searcher.FINISHED)
        return {
            "trial": job.trial,
            "config": job.config.model_dump_json(),
            "recorded_epochs": job.recorded_epochs,
            "test": job.test,
            "checkpoint_path": str(checkpoint_path(self._dir, job.trial)),
            "weights_path": str(weights_path(self._dir, job.trial)),
            "threads": self._resources.cpus,
            "device": "cuda" if self._resources.gpus else "cpu",
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to do: the conductor learns of everything through the scheduler."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to do: the records are the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to do: the records are the only state."""


class ConductorScheduler(FIFOScheduler):  # type: ignore[misc]
    """Passes every report to the conductor, which also says when a trial ends: completed, stopped, diverged, failed."""

    def __init__(self, conductor: Conductor) -> None:
        """Serve ``conductor``."""
        super().__init__()
        self._conductor = conductor
        self.disk_fault: OSError | None = None

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return Tune's word for going on or stopping."""
        try:
            ended = self._conductor.on_report(result["trial"], result)
        except OSError as error:
            self.disk_fault = error  # Tune wraps what is raised here into text
            raise
        return str(TrialScheduler.STOP if ended else TrialScheduler.CONTINUE)


class ConductorCallback(Callback):  # type: ignore[misc]
    """Tells the conductor of lost workers, and draws the progress."""

    def __init__(self, conductor: Conductor, progress: Progress) -> None:
        """Serve ``conductor`` and ``progress``."""
        self._conductor = conductor
        self._progress = progress

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Write and draw what is due."""
        self._conductor.flush()
        self._progress.update()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note a restart on another worker."""
        self._conductor.on_restart(trial.config["trial"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note a trial whose workers were lost too often.

        Tune also ends a trial whose worker dies while it is handed over; that one is left to be taken up again.
        """
        if trial.num_failures <= MAX_LOST_WORKERS:
            self._conductor.on_left(trial.config["trial"])
            return
        why = str(trial.get_error() or "").strip().splitlines() or ["no reason given"]
        self._conductor.on_lost(trial.config["trial"], f"its worker died {trial.num_failures} times: {why[-1]}")
