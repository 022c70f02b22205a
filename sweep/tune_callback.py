"""The conductor as Ray Tune's callback: what happens after each step, and to trials that have lost their workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from sweep.conductor import Conductor
from sweep.lock import LockLost
from sweep.losses import Loss
from sweep.lost_workers import LostWorkers
from sweep.slots import Slots
from sweep.watch import Watch

IDLE_S = 0.2
"""Pause between two looks while the sweep is paused, or has no slots, and no trial runs."""


class EndOfRun(Exception):
    """Ends Tune's loop before all trials have ended: Tune then stops its workers."""


class Parked(Exception):
    """Ends Tune's loop while no trial may run: its workers free their GPUs, and Tune would wait for a trial."""


class ConductorCallback(Callback):  # type: ignore[misc]
    """Report lost workers to the conductor, end the run where the watch says so, and update the display."""

    def __init__(
        self,
        conductor: Conductor,
        update: Callable[[], None],
        watch: Watch,
        slots: Slots,
        *,
        poll: Callable[[], None] = lambda: None,
        show: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Report to ``conductor`` and ``watch``.

        Args:
            conductor: conductor of the run.
            update: is called after each event of Tune.
            watch: watch of the run.
            slots: slots of the run.
            poll: is called after each event of Tune.
            show: shows one line.
        """
        self._conductor = conductor
        self._update = update
        self._poll = poll
        self._show = show
        self._watch = watch
        self._slots = slots
        self._lost = LostWorkers(slots, shares_gpus=lambda: conductor.resources.workers_per_gpu > 1)
        self._recovered: set[str] = set()  # trials whose loss was reported in the present step

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Write the records that are due, and update the display; Tune calls this every 0.1 s while it waits.

        Raises:
            EndOfRun: a signal or a limit ends the run; all records are written.
            Parked: the sweep is paused or there is no slot, and no trial runs.
            LockLost: another process has taken the sweep over.
        """
        self._recovered.clear()
        for name, loss in self._lost.settled():
            self._on_loss(name, loss)
        try:
            is_over = self._is_over()
        except LockLost:
            _kill_workers(trials)
            raise
        if is_over:
            _kill_workers(trials)  # Tune would wait for the end of an epoch; each trial continues from its last state
            raise EndOfRun
        if self._must_hold and not self._conductor.running:
            _kill_workers(trials)  # those of cancelled trials
            raise Parked
        if silent := self._watch.silent_trials():
            self._lost.add_silent(silent)
            _kill_workers([trial for trial in trials if trial.config.get("trial") in silent])
        self._update()

    def hold(self) -> bool:
        """Wait without Tune as long as no trial may run; return whether the run continues afterwards.

        Raises:
            LockLost: another process has taken the sweep over.
        """
        while self._must_hold:
            if self._is_over():
                return False
            self._update()
            time.sleep(IDLE_S)
        return True

    def close(self) -> None:
        """Report the losses whose kind is not known yet; the run is over."""
        for name, loss in self._lost.settled(all_of_them=True):
            self._on_loss(name, loss)

    @property
    def _must_hold(self) -> bool:
        return bool(self._conductor.paused) or not self._slots.limit(self._conductor.max_trials)

    def _is_over(self) -> bool:
        """Look at the nodes, apply requests, write the records that are due; return whether the run is over."""
        self._poll()
        self._slots.update()
        self._conductor.capacity = self._slots.n_slots, self._slots.n_nodes
        if line := self._slots.waiting_line():
            self._show(line)
        self._conductor.nodes.failing = self._conductor.nodes.failing or self._slots.timeout()
        is_over = self._watch.is_over()
        self._conductor.flush(force=is_over)
        if is_over:
            self._watch.on_over()
        return is_over

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report that a worker has begun a trial."""
        name = trial.config["trial"]
        self._conductor.without_worker.discard(name)
        self._lost.on_start(name)
        self._watch.on_start(name)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """Report an epoch or a failure to the watch, after the conductor."""
        self._lost.on_report(trial.config["trial"], result)
        self._watch.on_report(trial.config["trial"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report that a trial has lost its worker, and restarts on another one unless that was too often."""
        name = trial.config["trial"]
        self._recovered.add(name)
        self._watch.on_stop(name)
        self._conductor.without_worker.add(name)
        self._conductor.on_restart(name)
        self._lost.add(name, trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report a trial that Tune gives up, because its worker died between two trials: it is proposed again."""
        name = trial.config["trial"]
        self._conductor.put_back(name)
        if name not in self._recovered:  # Tune also tells both for one death
            self._lost.add(name, trial)
        self._watch.on_report(name)
        self._watch.on_stop(name)

    def _on_loss(self, name: str, loss: Loss) -> None:
        had_not_ended = self._conductor.runs(name)
        self._conductor.on_loss(name, loss)
        if had_not_ended and not self._conductor.runs(name):  # it has failed
            self._watch.on_report(name)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Drop Tune's statistics of each reported number: they take 80 KiB per trial, and nothing reads them."""
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()
        # without any key, Tune would ask the worker
        trial.run_metadata.last_result = {"training_iteration": trial.last_result.get("training_iteration", 0)}


def _kill_workers(trials: Sequence[Any]) -> None:
    """Kill the workers of running trials, also those that do not answer."""
    for trial in trials:
        if trial.status == Trial.RUNNING and (actor := trial.temporary_state.ray_actor):
            ray.kill(actor)
