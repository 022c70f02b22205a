"""The conductor as Ray Tune's searcher, scheduler and callback."""

from __future__ import annotations

import contextlib
import json
import re
import time
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
from sweep.ledger import log_path, trial_places
from sweep.lock import LockLost
from sweep.mirrored import Mirrored, mirror_of
from sweep.records.schema import RECORDS
from sweep.watch import Watch
from trainables.data.places import Place, format_places
from trainables.faults import STALLED

IDLE_S = 0.2
"""Pause between two looks while the sweep is paused and no trial runs."""


class EndOfRun(Exception):
    """Ends Tune's loop before all trials have ended: Tune then stops its workers."""


class Parked(Exception):
    """Ends Tune's loop while the sweep is paused: its workers free their GPUs, and Tune would wait for a trial."""


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
        sign = sweep_dir / RECORDS
        self._sign = str(sign) if sign.exists() and mirror_of(sweep_dir) is None else ""

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
            "sign_of_sweep": self._sign,
            "checkpoint_s": self._resources.checkpoint_s,
            "log_path": str(log_path(self._dir, job.trial)),
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
    """Pass every report to the conductor, which decides when a trial ends and how.

    Attributes:
        fault: error that ends the run, because the records could not be written; None if there was none.
    """

    def __init__(self, conductor: Conductor, mirror: Mirrored | None = None) -> None:
        """Report to ``conductor``; ``mirror`` is the store of the sweep, which counts the requests of the workers."""
        super().__init__()
        self._conductor = conductor
        self._mirror = mirror
        self._left_out: dict[str, list[str]] = {}  # nodes that a waiting trial does not get, by id of Tune's trial
        self.fault: OSError | LockLost | None = None

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Make a trial wait for a node that can run it."""
        super().on_trial_add(tune_controller, trial)
        left_out = self._conductor.nodes.unfit_for(trial.config["trial"])
        if left_out:
            trial.update_resources(request_without(self._conductor.study.resources, left_out))
            self._left_out[trial.trial_id] = left_out

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the next trial; a trial that waits for other nodes than it may get is given back to the conductor.

        If no trial may start now, the idle workers are ended, which keep memory of the GPU.
        """
        for trial in list(tune_controller.get_live_trials()):
            if trial.status != Trial.PENDING or trial in tune_controller._resetting_trials:
                continue  # the latter has a worker already
            if self._conductor.nodes.unfit_for(trial.config["trial"]) != self._left_out.get(trial.trial_id, []):
                self._withdraw(tune_controller, trial)
        chosen = super().choose_trial_to_run(tune_controller)
        if chosen is None and self._conductor.is_full:
            tune_controller._cleanup_cached_actors(force_all=True)
        return chosen

    def _withdraw(self, tune_controller: Any, trial: Any) -> None:
        """Return a waiting trial to the conductor: Tune cannot change the request of a trial that it has staged."""
        self._left_out.pop(trial.trial_id, None)
        self._conductor.put_back(trial.config["trial"])
        tune_controller.stop_trial(trial)
        if trial in tune_controller._staged_trials:  # Tune would keep a worker free for it
            tune_controller._unstage_trial_with_resources(trial)

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


def request_without(resources: Resources, node_ids: Sequence[str]) -> PlacementGroupFactory:
    """Return the request for the resources of a trial on a node that is not one of ``node_ids``."""
    selector = {"ray.io/node-id": f"!in({','.join(node_ids)})"}
    bundle = {"CPU": resources.cpus, "GPU": resources.gpus}
    return PlacementGroupFactory([bundle], bundle_label_selector=[selector])


class ConductorCallback(Callback):  # type: ignore[misc]
    """Report lost workers to the conductor, end the run where the watch says so, and update the display."""

    def __init__(
        self,
        conductor: Conductor,
        update: Callable[[], None],
        watch: Watch,
        poll: Callable[[], None] = lambda: None,
    ) -> None:
        """Report to ``conductor`` and ``watch``; ``update`` and ``poll`` are called after each event of Tune."""
        self._conductor = conductor
        self._update = update
        self._poll = poll
        self._watch = watch
        self._silent: set[str] = set()  # trials whose worker was killed because they reported nothing

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Write the records that are due, and update the display; Tune calls this every 0.1 s while it waits.

        Raises:
            EndOfRun: a signal or a limit ends the run; all records are written.
            Parked: the sweep is paused and no trial runs.
            LockLost: another process has taken the sweep over.
        """
        self._poll()
        try:
            is_over = self._is_over()
        except LockLost:
            _kill_workers(trials)
            raise
        if is_over:
            _kill_workers(trials)  # Tune would wait for the end of an epoch; the state is saved after each epoch
            raise EndOfRun
        if self._conductor.paused and not self._conductor.running:
            _kill_workers(trials)  # those of cancelled trials
            raise Parked
        if silent := self._watch.silent_trials():
            self._silent.update(silent)
            _kill_workers([trial for trial in trials if trial.config.get("trial") in silent])
        self._update()

    def hold(self) -> bool:
        """Wait as long as the sweep is paused, without Tune; return whether the run continues afterwards.

        Raises:
            LockLost: another process has taken the sweep over.
        """
        while self._conductor.paused:
            if self._is_over():
                return False
            self._update()
            time.sleep(IDLE_S)
        return True

    def _is_over(self) -> bool:
        """Apply requests, write the records that are due, and return whether a signal or a limit ends the run."""
        is_over = self._watch.is_over()
        self._conductor.flush(force=is_over)
        if is_over:
            self._watch.on_over()
        return is_over

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
        else:
            error = _last_error(trial)
            reason = error.splitlines() or ["no reason given"]
            why, fault = f"its worker died {trial.num_failures} times: {reason[-1]}", fault_of_worker(error)
            if name in self._silent:
                why = f"it reported nothing for too long, {trial.num_failures} times (budget.limits.silent_min)"
                fault = STALLED
            self._conductor.on_lost(name, why, fault=fault, node=_lost_node(error))
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


def _lost_node(error: str) -> str:
    """Return the name of the node of a lost worker, by the address in Ray's text; "" if the text has none."""
    found = re.search(r"^\s*ip: (\S+)$", error, flags=re.MULTILINE)
    if found is None:
        return ""
    names = {node["NodeManagerAddress"]: node["NodeManagerHostname"] for node in ray.nodes()}
    return str(names.get(found[1], found[1]))


class NoReporter(ProgressReporter):  # type: ignore[misc]
    """Show nothing: Tune's own reporter for notebooks clears the output of the cell, also if it has nothing to show."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        """Return that nothing is reported."""
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: str) -> None:
        """Do nothing."""
