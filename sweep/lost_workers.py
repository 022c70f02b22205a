"""Workers that Ray Tune has lost: which trial each of them had, and why it was lost."""

from __future__ import annotations

import contextlib
import pickle
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.experiment import Trial

from sweep.faults import is_gpu_fault
from sweep.losses import Loss, as_lost_node, as_neighbour_fault, classify, may_be_lost_node
from sweep.slots import LiveNode, Slots

PATIENCE_S = 20.0
"""Longest time until Ray knows that a node has gone whose workers have died with it, seconds."""


@dataclass(frozen=True)
class _Undecided:
    """A loss that is a crash, unless its node turns out to be gone.

    Attributes:
        trial: name of the trial.
        loss: the loss as it looks now.
        node_id: Ray's id of the node.
        until_s: monotonic time at which it is a crash.
        is_gpu_fault: whether its error came from a GPU that trials share.
    """

    trial: str
    loss: Loss
    node_id: str
    until_s: float
    is_gpu_fault: bool = False


class LostWorkers:
    """Losses of workers in one run.

    When a node dies, its workers may seem to have crashed: the head of the cluster notices the loss of the node later.
    So such a loss is decided later, and the trial need not wait for that.

    With MPS, an error of one trial on a GPU ends all trials there. All of them have errors of the GPU then, or one
    process has died, and nothing tells which of them is at fault. So none of these errors of the GPU counts as a crash.
    """

    def __init__(
        self,
        slots: Slots,
        *,
        shares_gpus: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without losses.

        Args:
            slots: they know the nodes that are there.
            shares_gpus: returns whether several trials are on one GPU now.
            clock: monotonic clock, seconds.
        """
        self._slots, self._shares_gpus, self._clock = slots, shares_gpus, clock
        self._crashes: list[tuple[str, str, float]] = []  # id of the node, trial and time of the last crashes
        self._node_of: dict[str, tuple[str, str]] = {}  # id and name of the node that a trial has reported from
        self._seen: dict[str, LiveNode] = {}
        self._was_draining: set[str] = set()
        self._undecided: list[_Undecided] = []
        self._decided: list[tuple[str, Loss]] = []
        self._silent: set[str] = set()

    def on_start(self, trial: str) -> None:
        """Receive that a worker has begun a trial; its node is not known yet."""
        self._node_of.pop(trial, None)
        self._silent.discard(trial)

    def on_report(self, trial: str, report: Mapping[str, Any]) -> None:
        """Receive from which node a trial has reported."""
        if "node" in report:
            self._node_of[trial] = str(report.get("node_id") or ""), str(report["node"])

    def add_silent(self, trials: Iterable[str]) -> None:
        """Receive that the workers of trials are killed now, because they reported nothing for too long."""
        self._silent.update(trials)

    def add(self, name: str, trial: Any) -> None:
        """Receive that a trial has lost its worker.

        Args:
            name: name of the trial.
            trial: the trial of Tune, which knows the error.
        """
        error = last_error(trial)
        reported_from = self._node_of.pop(name, None)
        node_id, node = reported_from or self._by_address(error)
        is_preempted, is_silent = was_preempted(trial), name in self._silent
        self._silent.discard(name)
        loss = classify(error, node=node, is_preempted=is_preempted, is_silent=is_silent)
        for earlier in [each for each in self._undecided if each.trial == name]:
            self._undecided.remove(earlier)  # otherwise a trial that crashes again and again would do so for long
            self._decided.append((name, self._decide(earlier) or earlier.loss))
        of_gpu, now_s = is_gpu_fault(error) and self._shares_gpus(), self._clock()
        if may_be_lost_node(loss) and node_id:
            self._crashes = [crash for crash in self._crashes if now_s - crash[2] <= PATIENCE_S]
            self._crashes.append((node_id, name, now_s))
        if may_be_lost_node(loss) and node_id and (self._slots.is_elastic or of_gpu):
            self._undecided.append(_Undecided(name, loss, node_id, now_s + PATIENCE_S, of_gpu))
        else:
            self._decided.append((name, loss))

    def settled(self, *, all_of_them: bool = False) -> list[tuple[str, Loss]]:
        """Return trials and losses whose kind has become known since the last call; it does not wait.

        Args:
            all_of_them: whether the others are returned too, as they look now.
        """
        living = {node.node_id: node for node in self._slots.living()}
        self._seen.update(living)
        self._was_draining.update(node.node_id for node in living.values() if node.is_draining)
        for each in list(self._undecided):
            loss = self._decide(each)
            if loss is None and (all_of_them or self._clock() >= each.until_s):
                loss = each.loss
            if loss is not None:
                self._undecided.remove(each)
                self._decided.append((each.trial, loss))
        decided, self._decided = self._decided, []
        return decided

    def _decide(self, each: _Undecided) -> Loss | None:
        """Return the loss if its node is gone or about to leave, or had another crash then; None if it had not."""
        if each.is_gpu_fault and any(
            node_id == each.node_id and trial != each.trial for node_id, trial, _ in self._crashes
        ):
            return as_neighbour_fault(each.loss)
        was_draining = each.node_id in self._was_draining
        if not was_draining and any(node.node_id == each.node_id for node in self._slots.living()):
            return None
        return as_lost_node(each.loss, was_draining=was_draining)

    def _by_address(self, error: str) -> tuple[str, str]:
        """Return id and name of the node whose address is in Ray's text; "" for what is not known."""
        found = re.search(r"(?:^\s*ip: |\bip=)([\w.:]+)", error, flags=re.MULTILINE)
        if found is None:
            return "", ""
        nodes = {node.node_id: node for node in [*self._seen.values(), *self._slots.living()]}
        there = [node for node in nodes.values() if node.address == found[1]]
        return (there[0].node_id, there[0].name) if len(there) == 1 else ("", found[1])


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


def was_preempted(trial: Any) -> bool:
    """Return whether Ray says that the node of a trial's last failure was preempted."""
    file = trial.pickled_error_file
    with contextlib.suppress(Exception):  # an error that cannot be read says nothing
        return bool(getattr(pickle.loads(Path(file).read_bytes()), "preempted", False))
    return False


def last_error(trial: Any) -> str:
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
