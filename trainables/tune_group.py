"""One trial of Ray Tune that several workers train together, each with its own cores and GPU.

Ray Train is not used. Its trainer makes a placement group of its own beside that of the Tune trial, so Tune would
count neither its cores nor its GPUs; it also starts new processes for each trial. Here the workers are plain actors in
the bundles of the trial's placement group. They stay for the following trials, as other workers do.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from trainables.cores import set_threads
from trainables.faults import BrokenGroup
from trainables.tune_trainable import CutMixTrainable

if TYPE_CHECKING:
    from trainables.data.prepared import TrialData
    from trainables.trial import Trial

GRACE_S = 60.0
"""Time for which the cause is awaited after a worker has lost its connection: Ray notices a lost node later."""

CLOSE_S = 30.0
"""Time for which the workers may end a trial before they are killed."""

FAILURES = ("failed", "out_of_memory", "disk_fault", "unfit")
"""Keys of reports after which a trial does not continue."""


class LostWorker(RuntimeError):
    """A worker of a group was lost: the others are ended, and Tune restarts the trial from its last state."""


class GroupTrainable(tune.Trainable):  # type: ignore[misc]
    """Runs one trial after another by a group of workers, which it starts and watches.

    This process needs no core: it waits. Worker 0 saves as a worker does that is alone, and its reports are passed on.
    If a worker is lost, the whole group is ended and the loss is raised, so that Tune retries as for any lost worker.
    If the code of the trial fails on a worker, its report is passed on, and the group is ended: the others wait for
    that worker.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Start the workers, then begin the first trial."""
        self._members: list[Any] = []
        self._following: list[Any] = []
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial with the same workers."""
        self._end_trial()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Return the next report of worker 0, or the report of the worker whose code has failed.

        Raises:
            LostWorker: a worker was lost.
        """
        try:
            report = self._next_report()
        except LostWorker:
            self._kill()
            raise
        if not report.keys().isdisjoint(FAILURES):
            self._kill()
        return report

    def cleanup(self) -> None:
        """End the trial and all workers."""
        self._end_trial()
        self._kill()

    def keep_state(self) -> None:
        """Write the state of the last reported epoch: the trial pauses, and may continue on other workers."""
        if self._members:
            ray.get(self._members[0].keep_state.remote())

    def __repr__(self) -> str:
        """Return the name of the actor in logs and in the dashboard; it keeps the name of its first trial."""
        return f"cutmix-sweep group from {getattr(self, '_name', '?')}"

    def _begin(self, config: dict[str, Any]) -> None:
        self._name = str(config["trial"])
        try:
            if not self._members:
                self._start(config)
            leader, *followers = self._members
            # followers write no file: the files of worker 0 may be on the same node
            of_follower = {**config, "storage": "", "checkpoint_path": "", "weights_path": ""}
            ray.get([leader.begin.remote(config), *(each.begin.remote(of_follower) for each in followers)])
            self._following = [each.step.remote() for each in followers]
        except RayError:
            self._kill()
            raise

    def _start(self, config: dict[str, Any]) -> None:
        n_workers, threads, device = int(config["workers"]), int(config["threads"]), str(config["device"])
        placement = ray.util.get_current_placement_group()
        for rank in range(n_workers):
            options: dict[str, Any] = {"num_cpus": threads, "num_gpus": int(device == "cuda")}
            if placement is not None:
                options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                    placement, placement_group_bundle_index=rank, placement_group_capture_child_tasks=True
                )
            kind = _Follower if rank else _Leader
            self._members.append(ray.remote(kind).options(**options).remote(threads, device))
        host, port = ray.get(self._members[0].open_store.remote(n_workers))
        ray.get([each.join.remote(host, port, rank, n_workers) for rank, each in enumerate(self._members)])

    def _next_report(self) -> dict[str, Any]:
        """Return the first report of worker 0, or of a follower that has failed.

        Raises:
            LostWorker: a worker was lost. A worker that only lost its connection waits for the cause.
        """
        waiting = {self._members[0].step.remote(): 0}
        waiting |= {ref: rank for rank, ref in enumerate(self._following, start=1)}
        broken = ""
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=GRACE_S if broken else None)
            if not ready:
                break
            rank = waiting.pop(ready[0])
            try:
                report: dict[str, Any] = ray.get(ready[0])
            except BrokenGroup as error:
                broken = broken or self._lost(rank, error)
                continue
            except RayError as error:  # its process, its node or its GPU: the code of a trial fails in a report
                raise LostWorker(self._lost(rank, error)) from None
            return report
        raise LostWorker(broken)

    def _lost(self, rank: int, error: Exception) -> str:
        """Return which worker was lost; the text of Ray, which names the node, stays as it is."""
        return f"worker {rank + 1} of {len(self._members)} was lost: {error}"

    def _end_trial(self) -> None:
        """Make the workers free for another trial; kill them if they do not answer."""
        if not self._members:
            return
        try:
            ray.get([self._members[0].end.remote(), *self._following], timeout=CLOSE_S)
        except RayError:
            self._kill()
        self._following = []

    def _kill(self) -> None:
        for member in self._members:
            with contextlib.suppress(RayError, ValueError):
                ray.kill(member)
        self._members, self._following = [], []


class _Member(CutMixTrainable):
    """A worker of a group: what a worker does that is alone, but driven by the group instead of Tune."""

    def __init__(self, threads: int, device: str) -> None:  # without Tune's own: nothing of it is used
        self._threads, self._device = threads, device
        set_threads(threads)

    def open_store(self, n_workers: int) -> tuple[str, int]:
        """Return host and port of the store at which the workers meet."""
        from trainables.distributed import open_store

        host = _own_address()
        self._store = open_store(host, n_workers)
        return host, int(self._store.port)

    def join(self, host: str, port: int, rank: int, n_workers: int) -> None:
        """Join the group."""
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        from trainables.distributed import PATIENCE, join_group

        if rank:
            self._store = TCPStore(host, port, n_workers, is_master=False, timeout=PATIENCE)
        own = _own_address()
        self._group = join_group(self._store, rank=rank, n_workers=n_workers, device=self._device, host=own)

    def begin(self, config: dict[str, Any]) -> None:
        """Begin a trial; an error is kept for its first report."""
        self._begin(config)

    def __repr__(self) -> str:
        """Return the name of the actor in logs and in the dashboard."""
        rank = self._group.rank + 1 if hasattr(self, "_group") else "?"
        return f"cutmix-sweep worker {rank} of a group from {getattr(self, '_name', '?')}"

    def _trial_on(self, data: TrialData) -> Trial:
        from trainables.distributed import GroupTrial

        return GroupTrial(self._config, data, device=self._device, group=self._group)


def _own_address() -> str:
    """Return the address of this node in the cluster: other nodes can reach it."""
    node_id = ray.get_runtime_context().get_node_id()
    return next(str(node["NodeManagerAddress"]) for node in ray.nodes() if node["NodeID"] == node_id)


class _Leader(_Member):
    """Worker 0 of a group."""

    def end(self) -> None:
        """End the trial on all workers, and release it."""
        from trainables.distributed import END

        self._group.give_order(END)
        self.cleanup()


class _Follower(_Member):
    """Another worker of a group; one step is the whole trial, and its report is empty unless the trial fails here."""

    def _load(self) -> Trial:
        from trainables.distributed import GroupTrial

        trial = self._new_trial()
        assert isinstance(trial, GroupTrial)
        trial.follow()
        self._reported = self._last_epoch = 0  # nothing is left to run
        return trial

    def _describe_work(self) -> str:
        return f"{self._name}, worker {self._group.rank + 1} of a group"

    def _report(self, trial: Trial, *, completed: bool) -> dict[str, Any]:
        return {"trial": self._name}
