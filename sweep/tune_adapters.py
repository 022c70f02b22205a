"""The conductor as Ray Tune's searcher and scheduler."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune import PlacementGroupFactory, ProgressReporter
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search_spaces.resources import Resources
from sweep.conductor import Conductor
from sweep.ledger import trial_places
from sweep.lock import LockLost
from sweep.mirrored import Mirrored, mirror_of
from sweep.records.schema import RECORDS
from sweep.slots import NODE_LABEL, Slots
from trainables.data.places import Place, format_places


class ConductorSearcher(Searcher):  # type: ignore[misc]
    """Pass the conductor's next trial to Tune."""

    def __init__(self, conductor: Conductor, sweep_dir: Path, slots: Slots, places: Mapping[str, Place]) -> None:
        """Take trials from ``conductor`` as long as there are ``slots``; their images are at ``places``."""
        super().__init__()
        self._conductor = conductor
        self._dir = sweep_dir
        self._resources: Resources = conductor.resources
        self._slots = slots
        self._live: set[str] = set()  # ids of Tune's trials that have not ended
        self._places = places
        sign = sweep_dir / RECORDS
        self._sign = str(sign) if sign.exists() and mirror_of(sweep_dir) is None else ""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration that the trainable reads; None if no slot is free or no trial is ready.

        A trial that was cancelled keeps its slot until its worker is free.
        """
        is_full = len(self._live) >= self._slots.limit(self._conductor.max_trials)
        job = None if is_full else self._conductor.next_job()
        if job is None:
            return None if self._conductor.may_go_on else str(Searcher.FINISHED)
        self._live.add(trial_id)
        self._conductor.without_worker.add(job.trial)
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
            "pause_epochs": job.pause_epochs,
            "workers": self._resources.workers,
            "threads": self._resources.cpus,
            "device": "cuda" if self._resources.gpus else "cpu",
            "gpus": self._resources.gpus,
            "streams": self._conductor.is_turn_of_whole_gpus,  # all memory for the network of a trial that did not fit
            "images": format_places({source: self._places[source]} if source in self._places else {}),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Receive that a slot is free; the conductor learns of results through the scheduler."""
        self._live.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the records are the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the records are the only state."""


class ConductorScheduler(FIFOScheduler):  # type: ignore[misc]
    """Pass every report to the conductor, which decides when a trial ends and how, and choose who gets a worker.

    Attributes:
        fault: error that ends the run, because the records could not be written; None if there was none.
    """

    def __init__(self, conductor: Conductor, slots: Slots, mirror: Mirrored | None = None) -> None:
        """Report to ``conductor``; ``mirror`` is the store of the sweep, which counts the requests of the workers."""
        super().__init__()
        self._conductor = conductor
        self._slots = slots
        self._mirror = mirror
        self._left_out: dict[str, list[str]] = {}  # nodes that a waiting trial does not get, by id of Tune's trial
        self._place: dict[str, int] = {}  # place of a trial that has not ended in the order of waiting, by the same id
        self._n_added = 0
        self.fault: OSError | LockLost | None = None

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Make a trial wait for a node that can run it."""
        super().on_trial_add(tune_controller, trial)
        self._n_added += 1
        self._place[trial.trial_id] = self._n_added
        left_out = self._conductor.nodes.unfit_for(trial.config["trial"])
        if left_out:
            trial.update_resources(resource_request(self._conductor.resources, left_out))
            self._left_out[trial.trial_id] = left_out

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the trial that gets the next worker; None if all that wait have one that starts, or none waits.

        A trial that can take over an idle worker precedes one for which a worker must start. A trial whose worker is
        starting keeps it: Tune would give it the next idle worker too, and end the new one. Where workers start slowly,
        this would repeat, and no new worker would ever train.

        A trial that must not run now, or not on the nodes for which it waits, is given back to the conductor. If no
        trial may start now, the idle workers are ended, which keep memory of the GPU.
        """
        waiting = []
        for trial in list(tune_controller.get_live_trials()):
            if trial.status != Trial.PENDING or trial in tune_controller._resetting_trials:
                continue  # the latter has a worker already
            if not self._may_wait(trial):
                self._withdraw(tune_controller, trial)
            elif self._has_starting_worker(tune_controller, trial):
                # from there, Tune gives trials to idle workers
                tune_controller._resources_to_pending_trials[trial.placement_group_factory].discard(trial)
            else:
                waiting.append(trial)
        self._bound_requests(tune_controller)
        if not waiting:
            if self._conductor.is_full:
                tune_controller._cleanup_cached_actors(force_all=True)
            return None
        has_idle = tune_controller._actor_cache.has_cached_object
        return min(waiting, key=lambda each: (not has_idle(each.placement_group_factory), self._place[each.trial_id]))

    @staticmethod
    def _has_starting_worker(tune_controller: Any, trial: Any) -> bool:
        actor = tune_controller._trial_to_actor.get(trial)
        return actor is not None and bool(tune_controller._actor_manager.is_actor_started(actor))

    def _may_wait(self, trial: Any) -> bool:
        """Return whether a waiting trial may wait on, for the nodes that it has asked for."""
        name = trial.config["trial"]
        unfit = self._conductor.nodes.unfit_for(name)
        return self._conductor.may_run(name) and unfit == self._left_out.get(trial.trial_id, [])

    def _bound_requests(self, tune_controller: Any) -> None:
        """Set how many workers Tune may ask for: as many as trials may wait. Its own bound is fixed at the start."""
        limit = self._slots.limit(self._conductor.max_trials)
        tune_controller.update_max_pending_trials(max(1, limit - len(tune_controller._running_trials)))

    def _withdraw(self, tune_controller: Any, trial: Any) -> None:
        """Return a waiting trial to the conductor: Tune cannot change the request of a trial that it has staged."""
        self._conductor.put_back(trial.config["trial"])
        tune_controller.stop_trial(trial)
        if trial in tune_controller._staged_trials:  # Tune would keep a worker free for it
            tune_controller._unstage_trial_with_resources(trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that has ended while it waited for a worker."""
        self._left_out.pop(trial.trial_id, None)
        self._place.pop(trial.trial_id, None)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Forget a trial that has ended."""
        self.on_trial_remove(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return Tune's constant for continuing or for stopping the trial."""
        if self._mirror is not None and "requests" in result:
            self._mirror.add_requests(json.loads(result["requests"]))
        try:
            ended = self._conductor.on_report(result["trial"], result)
        except (OSError, LockLost) as error:
            self.fault = error  # Tune turns an error that is raised here into text
            raise
        if ended and self._conductor.has_paused(result["trial"]):
            _keep_state(trial)
        return str(TrialScheduler.STOP if ended else TrialScheduler.CONTINUE)


def _keep_state(trial: Any) -> None:
    """Request that a worker writes the state of its trial before it gets another trial; the driver does not wait."""
    actor = trial.temporary_state.ray_actor
    if hasattr(actor, "keep_state"):
        actor.keep_state.remote()


def resource_request(resources: Resources, without: Sequence[str] = ()) -> PlacementGroupFactory:
    """Return the request for the resources of a trial: one bundle per worker, on as few nodes as possible.

    The process that waits for several workers is beside the first one and needs no core of its own.

    Args:
        resources: cores and GPUs per worker, and number of workers.
        without: ids of nodes that the trial must not get.

    Examples:
        >>> resource_request(Resources(cpus=2, workers=2)).bundles
        [{'CPU': 2.0}, {'CPU': 2.0}]
    """
    bundle = {"CPU": resources.cpus, "GPU": resources.gpus}
    bundles = [bundle] if resources.workers == 1 else [{}, *[bundle] * resources.workers]
    if not without:
        return PlacementGroupFactory(bundles, strategy="PACK")
    selector = {NODE_LABEL: f"!in({','.join(without)})"}
    return PlacementGroupFactory(bundles, strategy="PACK", bundle_label_selector=[selector] * len(bundles))


class NoTrialLines(TrialProgressCallback):  # type: ignore[misc]
    """Print nothing about trials: Tune's own callback prints a line about each trial that it is told to stop."""

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """Do nothing."""

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Do nothing."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Do nothing."""


class NoReporter(ProgressReporter):  # type: ignore[misc]
    """Show nothing: Tune's own reporter for notebooks clears the output of the cell, also if it has nothing to show."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        """Return that nothing is reported."""
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: str) -> None:
        """Do nothing."""
