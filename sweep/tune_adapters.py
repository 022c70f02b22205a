"""The conductor as Ray Tune's searcher, scheduler and callback."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune import Callback, PlacementGroupFactory, ProgressReporter
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search_spaces.study import Resources
from sweep.conductor import MAX_LOST_WORKERS, Conductor
from sweep.faults import fault_of_worker
from sweep.ledger import trial_places
from sweep.lock import LockLost
from sweep.mirrored import Mirrored
from sweep.watch import Watch
from trainables.data.places import Place, format_places
from trainables.faults import STALLED


class EndOfRun(Exception):
    """Ends Tune's loop before all trials have ended: Tune then stops its workers."""


class ConductorSearcher(Searcher):  # type: ignore[misc]
    """Pass the conductor's next trial to Tune."""

    def __init__(
        self, conductor: Conductor, sweep_dir: Path, resources: Resources, places: Mapping[str, Place]
    ) -> None:
        """Take trials from ``conductor``; each of them uses ``resources``, and images at ``places``."""
        super().__init__()
        self._conductor = conductor
        self._dir = sweep_dir
        self._resources = resources
        self._places = places

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration that the trainable reads; None if no trial is ready at present."""
        job = self._conductor.next_job()
        if job is None:
            return None if self._conductor.may_go_on else str(Searcher.FINISHED)
        source = job.config.data.source
        # small and flat, the trial's configuration as one JSON text: Tune copies it often
        return {
            "trial": job.trial,
            "config": job.config.model_dump_json(),
            "recorded_epochs": job.recorded_epochs,
            "last_epoch": job.last_epoch,
            "test": job.test,
            "model_sha256": job.model_sha256 or "",
            **trial_places(self._dir, job.trial),
            "checkpoint_s": self._resources.checkpoint_s,
            "workers": self._resources.workers,
            "threads": self._resources.cpus,
            "device": "cuda" if self._resources.gpus else "cpu",
            "images": format_places({source: self._places[source]} if source in self._places else {}),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the conductor learns of results through the scheduler."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the records are the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the records are the only state."""


class ConductorScheduler(FIFOScheduler):  # type: ignore[misc]
    """Pass every report to the conductor, which decides when a trial ends: completed, stopped, diverged, failed.

    Attributes:
        fault: error that ends the run, because the records could not be written; None if there was none.
    """

    def __init__(self, conductor: Conductor, mirror: Mirrored | None = None) -> None:
        """Report to ``conductor``; ``mirror`` is the store of the sweep, which counts the requests of the workers."""
        super().__init__()
        self._conductor = conductor
        self._mirror = mirror
        self.fault: OSError | LockLost | None = None

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return Tune's constant for continuing or for stopping the trial."""
        if self._mirror is not None and "requests" in result:
            self._mirror.add_requests(json.loads(result["requests"]))
        try:
            ended = self._conductor.on_report(result["trial"], result)
        except (OSError, LockLost) as error:
            self.fault = error  # Tune turns an error that is raised here into text
            raise
        return str(TrialScheduler.STOP if ended else TrialScheduler.CONTINUE)


def resource_request(resources: Resources) -> PlacementGroupFactory:
    """Return the request for the resources of a trial: one bundle per worker, on as few nodes as possible.

    The process that waits for several workers is beside the first one and needs no core of its own.

    Examples:
        >>> resource_request(Resources(cpus=2, workers=2)).bundles
        [{'CPU': 2.0}, {'CPU': 2.0}]
    """
    bundle = {"CPU": resources.cpus, "GPU": resources.gpus}
    if resources.workers == 1:
        return PlacementGroupFactory([bundle])
    return PlacementGroupFactory([{}, *[bundle] * resources.workers], strategy="PACK")


class ConductorCallback(Callback):  # type: ignore[misc]
    """Report lost workers to the conductor, end the run where the watch says so, and update the display."""

    def __init__(self, conductor: Conductor, update: Callable[[], None], watch: Watch) -> None:
        """Report to ``conductor`` and ``watch``; ``update`` is called after each event of Tune."""
        self._conductor = conductor
        self._update = update
        self._watch = watch
        self._silent: set[str] = set()  # trials whose worker was killed because they reported nothing

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Write the records that are due, and update the display; Tune calls this every 0.1 s while it waits.

        Raises:
            EndOfRun: a signal or a limit ends the run; all records are written.
            LockLost: another process has taken the sweep over.
        """
        is_over = self._watch.is_over()
        try:
            self._conductor.flush(force=is_over)
        except LockLost:
            _kill_workers(trials)
            raise
        if is_over:
            self._watch.on_over()
            _kill_workers(trials)  # Tune would wait for the end of an epoch; the state is saved after each epoch
            raise EndOfRun
        if silent := self._watch.silent_trials():
            self._silent.update(silent)
            _kill_workers([trial for trial in trials if trial.config.get("trial") in silent])
        self._update()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report that a worker has begun a trial."""
        self._silent.discard(trial.config["trial"])
        self._watch.on_start(trial.config["trial"])

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """Report an epoch or a failure to the watch, after the conductor."""
        self._watch.on_report(trial.config["trial"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report that a trial restarts on another worker."""
        self._watch.on_stop(trial.config["trial"])
        self._conductor.on_restart(trial.config["trial"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report a trial that lost its worker too often.

        Tune also gives up a trial if its worker dies between two trials. The searcher then proposes the trial again.
        """
        name = trial.config["trial"]
        if trial.num_failures <= MAX_LOST_WORKERS:
            self._conductor.on_left(name)
        elif name in self._silent:
            why = f"it reported nothing for too long, {trial.num_failures} times (budget.limits.silent_min)"
            self._conductor.on_lost(name, why, fault=STALLED)
        else:
            error = _last_error(trial)
            reason = error.splitlines() or ["no reason given"]
            why = f"its worker died {trial.num_failures} times: {reason[-1]}"
            self._conductor.on_lost(name, why, fault=fault_of_worker(error))
        self._watch.on_report(name)
        self._watch.on_stop(name)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Drop Tune's statistics of each reported number: they take 80 KiB per trial, and nothing reads them."""
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()
        # without any key, Tune would ask the worker
        trial.run_metadata.last_result = {"training_iteration": trial.last_result.get("training_iteration", 0)}


@contextlib.contextmanager
def system_errors_as_lost_workers() -> Iterator[None]:
    """Treat each error of Ray itself as the loss of a worker, inside this context.

    Tune knows workers that died. Ray 2.60 reports a worker that it killed for lack of memory by another error, and Tune
    ends the whole run with it.
    """
    fail, read_defaults = RayActorManager._actor_task_failed, Trial._get_default_result_or_future

    def fail_as_lost(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            exception = RayActorError(error_msg=str(exception))
        fail(manager, tracked_actor_task=tracked_actor_task, exception=exception)

    def read_defaults_if_any(trial: Any) -> dict[str, Any] | None:
        try:
            return read_defaults(trial)  # type: ignore[no-any-return]
        except RayError:  # the worker has died before its first report
            trial._default_result_or_future = None
            return None

    RayActorManager._actor_task_failed, Trial._get_default_result_or_future = fail_as_lost, read_defaults_if_any
    try:
        yield
    finally:
        RayActorManager._actor_task_failed, Trial._get_default_result_or_future = fail, read_defaults


def _kill_workers(trials: Sequence[Any]) -> None:
    """Kill the workers of running trials, also those that do not answer."""
    for trial in trials:
        if trial.status == Trial.RUNNING and (actor := trial.temporary_state.ray_actor):
            ray.kill(actor)


def _last_error(trial: Any) -> str:
    """Return the text of a trial's last failure; "" if there is none.

    ``Trial.get_error`` would look into Tune's storage, to which the file is copied only when the run ends.
    """
    if trial.error_file is None:
        return ""
    with contextlib.suppress(OSError):
        return _last_failure(Path(trial.error_file).read_text(encoding="utf-8", errors="replace"))
    return ""


def _last_failure(text: str) -> str:
    """Return the last of the failures that Tune has collected in one text.

    Examples:
        >>> _last_failure("Failure # 1 (at 07:00)\\nits node died\\nFailure # 2 (at 07:10)\\nkilled\\n")
        'killed'
    """
    return re.split(r"^Failure # \d+ .*$", text, flags=re.MULTILINE)[-1].strip()


class NoReporter(ProgressReporter):  # type: ignore[misc]
    """Show nothing: Tune's own reporter for notebooks clears the output of the cell, also if it has nothing to show."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        """Return that nothing is reported."""
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: str) -> None:
        """Do nothing."""
