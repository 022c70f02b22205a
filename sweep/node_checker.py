"""Checks of the nodes of a cluster, as tasks of Ray: all nodes before the first trial, later the nodes that join."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.resources import Resources
from search_spaces.study import Study
from sweep.display import SILENT, Display
from sweep.endings import Joined, reason_of
from sweep.images import recorded_places
from sweep.live_nodes import read_nodes
from sweep.mirrored import mirror_of
from sweep.mps import mps_of
from sweep.node_check import (
    Answer,
    FolderStorage,
    Request,
    Storage,
    UrlStorage,
    end_mps,
    judge,
    look_around,
    open_images,
    versions_here,
)
from sweep.nodes import UNCHECKED, UNFIT, Nodes, describe_unfit
from sweep.records.beginning import SIGN
from sweep.slots import LiveNode
from trainables.data.places import format_places
from trainables.errors import UserError
from trainables.storage_url import StorageUrl, parse_url

if TYPE_CHECKING:
    import ray

LIMIT_S = 60.0
"""Longest wait for the answer of a node, without its images."""

STOP_S = 20.0
"""Longest wait for the end of the daemons of all nodes."""

LOOK_S = 2.0
"""Time between two looks at the nodes of the cluster while trials run."""


@dataclass
class _Check:
    """A check that runs.

    Attributes:
        node_id: id of the node.
        name: its host name.
        started_s: monotonic time of its start.
        is_decoding: whether the node has answered and decodes the images now.
    """

    node_id: str
    name: str
    started_s: float
    is_decoding: bool = False


class NodeChecker:
    """Checker of the nodes of one run.

    Attributes:
        nodes: what is known about the nodes.
    """

    def __init__(
        self,
        nodes: Nodes,
        request: Request,
        resources: Resources,
        display: Display = SILENT,
        *,
        read: Callable[[], Sequence[LiveNode]] | None = None,
    ) -> None:
        """Check nodes on which a trial with these ``resources`` fits; ``read`` returns all nodes without waiting."""
        self.nodes, self._read = nodes, read
        self._request, self._resources, self._display = request, resources, display
        self._checks: dict[ray.ObjectRef[Any], _Check] = {}
        self._looked_at_s = 0.0
        self._has_begun = False  # trials run

    def check_all(self) -> None:
        """Check all nodes of the cluster, and wait until those that can run trials have decoded the images.

        There may be none yet: they are checked when they join.

        Raises:
            UserError: no node can run trials, or one cannot and ``--strict-nodes`` is set.
        """
        self._look()
        self._wait(self._describe_asked, until_s=time.monotonic() + LIMIT_S)
        self._give_up_on_silent()
        self._wait(self._describe_decoding, until_s=float("inf"))
        if self.nodes.failing is not None:
            reason = self.nodes.failing.message
            raise UserError(f"{reason[:420]}; nothing was started: fix the cause, or leave these nodes out")
        if left_out := self.nodes.record():
            self._display.show_warning(f"{_count(len(left_out), 'node')} left out: {describe_unfit(left_out)}")
        self._has_begun = True

    def _wait(self, describe: Callable[[], str], *, until_s: float) -> None:
        """Collect answers while ``describe`` says what is waited for, at most until a monotonic time."""
        while (text := describe()) and time.monotonic() < until_s:
            with self._display.show_status(text):
                while describe() == text and time.monotonic() < until_s:
                    self._collect(timeout_s=0.5)

    def _describe_asked(self) -> str:
        n_asked = len(self._asked())
        return f"checking {_count(n_asked, 'node')}: storage, versions, GPUs" if n_asked else ""

    def _describe_decoding(self) -> str:
        names = [check.name for check in self._checks.values() if check.is_decoding]
        shown = ", ".join([*names[:3], *(["..."] if len(names) > 3 else [])])
        return f"images are decoded on {_count(len(names), 'node')}: {shown}" if names else ""

    def poll(self) -> None:
        """Check nodes that have joined; it does not wait, and is called after each step of Tune."""
        if time.monotonic() - self._looked_at_s >= LOOK_S:
            self._look()
            self._give_up_on_silent()
        if self._checks:
            self._collect(timeout_s=0.0)

    def stop_mps(self) -> None:
        """End the daemons that the checks have started, one task per node; nodes that do not answer keep theirs."""
        if self._request.mps is None:
            return
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        with contextlib.suppress(Exception):  # Ray may be lost: the next run finds the daemons
            tasks = []
            for node_id in self.nodes.fit:
                here = NodeAffinitySchedulingStrategy(node_id, soft=False)
                options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": here}
                tasks.append(ray.remote(**options)(end_mps).remote(self._request))
            ray.wait(tasks, num_returns=len(tasks), timeout=STOP_S)

    def _look(self) -> None:
        self._looked_at_s = time.monotonic()
        nodes = read_nodes() if self._read is None else self._read()
        fitting = {node.node_id: node.name for node in nodes if fits(node.resources, self._resources)}
        for node_id in self.nodes.fit:
            if node_id not in fitting:
                self._display.show_warning(f"node '{self.nodes.name_of(node_id)}' has left the cluster")
        asked = {check.node_id for check in self._checks.values()}
        for node_id in self.nodes.set_alive(fitting):
            if node_id not in asked:
                self._ask(_Check(node_id, fitting[node_id], time.monotonic()))

    def _asked(self) -> list[_Check]:
        return [check for check in self._checks.values() if not check.is_decoding]

    def _ask(self, check: _Check) -> None:
        """Run the next part of a check on its node; it needs none of the node's resources."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(check.node_id, soft=False)
        options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": here}
        if check.is_decoding:
            task = ray.remote(**options)(open_images).remote(self._request)
        else:
            task = ray.remote(**options)(look_around).remote(self._request, check.node_id)
        self._checks[task] = check

    def _collect(self, *, timeout_s: float) -> None:
        import ray

        ready, _ = ray.wait(list(self._checks), num_returns=1, timeout=timeout_s)
        for task in ready:
            check = self._checks.pop(task)
            try:
                self._receive(check, ray.get(task))
            except Exception as error:  # whatever a node lacks: a worker may not even start
                self._on_error(check, error)

    def _receive(self, check: _Check, answer: Answer | str) -> None:
        if isinstance(answer, Answer):
            why = judge(self._request, answer, check.node_id)
            if not why:
                check.is_decoding = True
                self._ask(check)
                return
        else:
            why = answer
        has_joined = self._has_begun and self.nodes.state_of(check.node_id) == UNCHECKED
        self.nodes.set_checked(check.node_id, check.name, why)
        if has_joined and not why:
            self._display.show_warning(f"node '{check.name}' has joined the cluster and can run trials")

    def _on_error(self, check: _Check, error: Exception) -> None:
        import ray

        if isinstance(error, ray.exceptions.NodeDiedError | ray.exceptions.TaskUnschedulableError):
            return  # it has left the cluster
        cause = getattr(error, "cause", None) or error
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        reason = reason_of(RuntimeError(lines[-1]))
        why = f"cutmix-sweep cannot be imported there ({reason})" if "No module named" in reason else reason
        self.nodes.set_unfit(check.node_id, check.name, f"its check failed: {why}")

    def _give_up_on_silent(self) -> None:
        """Leave out nodes that do not answer; a late answer still counts."""
        for check in self._asked():
            if time.monotonic() - check.started_s >= LIMIT_S and self.nodes.state_of(check.node_id) != UNFIT:
                reason = f"its check has not answered within {LIMIT_S:g} s"
                self.nodes.set_unfit(check.node_id, check.name, reason)


def fits(node: Mapping[str, float], resources: Resources) -> bool:
    """Return whether a trial fits on an empty node.

    Examples:
        >>> fits({"CPU": 2.0}, Resources(cpus=2)), fits({"CPU": 2.0}, Resources(gpus=0.5))
        (True, False)
    """
    return node.get("CPU", 0) >= resources.cpus and node.get("GPU", 0) >= resources.gpus


@contextlib.contextmanager
def checked_nodes(
    study: Study,
    sweep_dir: Path,
    manifest: Mapping[str, Any],
    *,
    joined: Joined,
    display: Display = SILENT,
    read: Callable[[], Sequence[LiveNode]] | None = None,
) -> Iterator[NodeChecker | None]:
    """Check the nodes of the cluster that this process has joined, and yield the checker, which also checks later ones.

    A Ray on this machine needs no check: nothing is done then, and None is yielded.

    Args:
        study: the study whose trials are to run.
        sweep_dir: folder of the sweep, which exists.
        manifest: manifest of the sweep; its last run says where the images lie.
        joined: cluster of the run; a Ray that was started on this machine needs no check.
        display: shows the progress.
        read: returns the nodes of the cluster without waiting; None: the head is asked each time.

    Raises:
        UserError: no node can run trials, or one cannot and ``joined.strict_nodes`` is set.
    """
    if joined.address is None:
        yield None
        return
    storage = _storage_of(sweep_dir)
    data = dict.fromkeys(config.data for arm in study.arms for config in study.extremes(arm))
    request = Request(
        nonce=secrets.token_hex(8),
        storage=storage,
        versions=versions_here(),
        needs_gpu=study.resources.gpus > 0,
        data=[each.model_dump_json() for each in data],
        places=format_places(recorded_places(manifest)),
        reads_test=study.confirm is not None,
        mps=mps_of(study.resources),
    )
    storage.write(f"{SIGN}{request.nonce}", request.nonce)
    try:
        checker = NodeChecker(Nodes(strict=joined.strict_nodes), request, study.resources, display, read=read)
        try:
            checker.check_all()
            yield checker
        finally:
            checker.stop_mps()
    finally:
        storage.remove(f"{SIGN}{request.nonce}")


def remove_signs(sweep_dir: Path) -> None:
    """Remove what checks of killed drivers have left in the folder of a sweep; the caller has locked it."""
    _storage_of(sweep_dir).remove(SIGN)


def _storage_of(sweep_dir: Path) -> Storage:
    """Return the folder of a sweep, or the store behind it, as the nodes see it."""
    mirror = mirror_of(sweep_dir)
    place = None if mirror is None else parse_url(mirror.url)
    return UrlStorage(place) if isinstance(place, StorageUrl) else FolderStorage(str(sweep_dir))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
