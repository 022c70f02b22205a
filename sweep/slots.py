"""Slots of a sweep: how many trials fit on the nodes that are there now, and how many may be handed out."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from search_spaces.resources import Resources
from sweep.formats import format_duration
from sweep.nodes import Failing, Nodes
from trainables.errors import UserError

UPDATE_S = 2.0
"""Pause between two looks at the nodes, seconds."""

WAIT_LINE_S = 60.0
"""Pause between two lines about a sweep that waits for nodes, seconds."""


NODE_LABEL = "ray.io/node-id"
"""Label of each node with its id, by which a request for resources names nodes."""

START_TIMEOUT_S = 600.0
"""Longest wait for the first node, seconds, unless the run is a Ray job."""

IN_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Environment variable that Ray sets for the driver of a job."""


@dataclass(frozen=True)
class LiveNode:
    """A node that belongs to the cluster.

    Attributes:
        node_id: Ray's id of the node.
        name: its host name.
        resources: amount of each of its resources, for example ``{"CPU": 8.0, "GPU": 1.0}``.
        is_draining: whether it is about to leave the cluster.
        address: its IP address.
    """

    node_id: str
    name: str
    resources: Mapping[str, float]
    is_draining: bool = False
    address: str = ""


def workers_on(node: Mapping[str, float], resources: Resources) -> int:
    """Return the number of workers that fit on a node at once; a trial has one, or several that train it together.

    A fraction of a GPU is on one GPU.

    Examples:
        >>> node = {"CPU": 8, "GPU": 2}
        >>> [workers_on(node, Resources(gpus=gpus)) for gpus in (0.25, 1 / 3, 0.3334, 0.0)]
        [8, 6, 4, 8]
    """
    fitting = int(node.get("CPU", 0) // resources.cpus)
    if resources.gpus:
        fitting = min(fitting, int(node.get("GPU", 0)) * resources.workers_per_gpu)
    return fitting


def describe_no_room(nodes: Sequence[Mapping[str, float]], resources: Resources) -> str:
    """Return why no trial fits on any node: what a trial needs and what the nodes have.

    Examples:
        >>> describe_no_room([{"CPU": 4}, {"CPU": 4}], Resources(cpus=8))
        'no trial fits on a node: each trial needs 8 CPUs and 0 GPUs, the nodes have: 2 x 4 CPUs and 0 GPUs'
    """
    kinds = Counter(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
    available = "; ".join(f"{count} x {kind}" for kind, count in kinds.most_common(5))
    needs = f"{resources.cpus} CPUs and {resources.gpus:g} GPUs"
    reason = f"no trial fits on a node: each trial needs {needs}"
    if resources.workers > 1:
        n_fitting = sum(workers_on(node, resources) for node in nodes)
        reason = f"no trial fits: each trial needs {resources.workers} workers with {needs} each, {n_fitting} workers"
        reason += " fit"
    return f"{reason}, the nodes have: {available or 'nothing, there is no node'}"


def describe_running(n_given: int, n_waiting: int, capacity: tuple[int, int] | None) -> str:
    """Return how many trials run and wait for a worker, and for how many there is room, in words.

    Args:
        n_given: number of trials that were handed out.
        n_waiting: how many of them wait for a worker.
        capacity: number of slots and of the nodes that have them; None if they are not known.

    Examples:
        >>> describe_running(8, 2, (8, 3)), describe_running(2, 0, (2, 1)), describe_running(1, 0, (2, 1))
        ('6 running, 2 waiting for a worker, 8 slots on 3 nodes', '2 running', '1 running, 2 slots')
    """
    parts = [f"{n_given - n_waiting} running"]
    if n_waiting:
        parts.append(f"{n_waiting} waiting for a worker")
    if capacity is not None and (capacity[1] > 1 or capacity[0] != n_given - n_waiting):
        n_slots, n_nodes = capacity
        nodes = f" on {n_nodes} nodes" if n_nodes > 1 else ""
        parts.append(f"{n_slots} slot{'' if n_slots == 1 else 's'}{nodes}")
    return ", ".join(parts)


def start_patience_s(minutes: float | None) -> float:
    """Return how long a run waits for the first node of its cluster, seconds.

    A person at a terminal wants to know soon that none comes; a Ray job waits on a cluster that may start it first.

    Args:
        minutes: what was asked for; None: nothing.

    Examples:
        >>> start_patience_s(0.5)
        30.0
    """
    if minutes is not None:
        return 60 * minutes
    return float("inf") if IN_JOB in os.environ else START_TIMEOUT_S


class Slots:
    """Slots of one run, which follow the nodes of its cluster.

    Attributes:
        nodes: what is known about the nodes: only fit ones count; None: all of them can run trials.
        n_slots: number of trials that fit on the nodes at once.
        n_nodes: number of the nodes on which trials fit.
        is_elastic: whether nodes may join and leave.

    Examples:
        >>> there = [LiveNode("5f", "a", {"CPU": 4.0})]
        >>> slots = Slots(Resources(cpus=1), lambda: there, is_elastic=True)
        >>> slots.n_slots, slots.limit(), slots.limit(6)
        (4, 4, 6)
    """

    def __init__(
        self,
        resources: Resources,
        read: Callable[[], Sequence[LiveNode]],
        *,
        is_elastic: bool = False,
        grows: bool = False,
        start_timeout_s: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count the slots on the nodes that are there.

        Args:
            resources: CPU cores and GPUs per trial.
            read: returns the nodes of the cluster; it must not block.
            is_elastic: whether nodes may join and leave.
            grows: whether the cluster adds nodes when trials wait for a slot.
            start_timeout_s: longest wait for the first node, seconds.
            clock: monotonic clock, seconds.
        """
        self.nodes: Nodes | None = None
        self.n_slots = self.n_nodes = 0
        self._resources, self._read, self._clock = resources, read, clock
        self.is_elastic, self._grows = is_elastic, grows
        self._start_timeout_s = start_timeout_s
        self._updated_at_s = self._empty_since_s = self._said_at_s = clock()
        self._has_had_any = False
        self.update(now=True)

    def use(self, resources: Resources) -> None:
        """Count slots for trials that need other ``resources`` from now on."""
        if resources != self._resources:
            self._resources = resources
            self.update(now=True)

    def update(self, *, now: bool = False) -> None:
        """Look at the nodes again, at most every ``UPDATE_S`` unless ``now`` is set."""
        now_s = self._clock()
        if not now and now_s - self._updated_at_s < UPDATE_S:
            return
        self._updated_at_s = now_s
        fit = None if self.nodes is None else set(self.nodes.fit)
        fitting = [
            workers_on(node.resources, self._resources)
            for node in self.living()
            if not node.is_draining and (fit is None or node.node_id in fit)
        ]
        self.n_slots = sum(fitting) // self._resources.workers
        self.n_nodes = sum(number > 0 for number in fitting)
        if self.n_slots:
            self._empty_since_s = self._said_at_s = now_s
            self._has_had_any = True

    def living(self) -> Sequence[LiveNode]:
        """Return the nodes that belong to the cluster, as they were read last."""
        return self._read()

    def limit(self, max_trials: int | None = None) -> int:
        """Return the number of trials that may be handed out at once, including those that wait for a worker.

        A cluster that grows is shown what is asked for: all of ``max_trials`` at once, otherwise one trial more than
        fits.

        Args:
            max_trials: largest number of trials at the same time; None: as many as fit.
        """
        if max_trials is None:
            return self.n_slots + self._grows
        return max_trials if self.is_elastic else min(max_trials, self.n_slots)

    def check_any(self) -> None:
        """Check that a trial fits; nodes may still join an elastic cluster.

        Raises:
            UserError: with what a trial needs and what the nodes have.
        """
        if not self.n_slots and not (self.is_elastic and self._start_timeout_s):
            raise UserError(self._no_room)

    def waiting_line(self) -> str:
        """Return the line that is due while no node has room for a trial, once per minute; "" if none is due."""
        now_s = self._clock()
        if self.n_slots or now_s - self._said_at_s < (WAIT_LINE_S if self._has_been_said else UPDATE_S):
            return ""
        self._said_at_s = now_s
        waited = format_duration(now_s - self._empty_since_s)
        return f"waiting for nodes, {waited}: {self._no_room}"

    @property
    def _has_been_said(self) -> bool:
        return self._said_at_s > self._empty_since_s

    def timeout(self) -> Failing | None:
        """Return why the run must end: no first node has come in time; None if it need not."""
        waited_s = self._clock() - self._empty_since_s
        if self.n_slots or self._has_had_any or waited_s < self._start_timeout_s:
            return None
        return Failing(f"no node came within {format_duration(waited_s)} (--start-timeout): {self._no_room}", False)

    @property
    def _no_room(self) -> str:
        nodes = self.living()
        with_room = [node for node in nodes if workers_on(node.resources, self._resources)]
        n_fitting = sum(workers_on(node.resources, self._resources) for node in with_room)
        if n_fitting < self._resources.workers:
            return describe_no_room([node.resources for node in nodes], self._resources)
        which = "the only node" if len(with_room) == 1 else f"all {len(with_room)} nodes"
        return f"{which} with room for a trial cannot run one yet: checked now, left out, or about to leave"

    def describe(self, max_trials: int | None = None) -> str:
        """Return how many trials run at the same time, in words.

        Examples:
            >>> Slots(Resources(cpus=1), lambda: [LiveNode("5f", "a", {"CPU": 4.0})], is_elastic=True).describe(6)
            '4 at a time, at most 6'
        """
        nodes = f" on {self.n_nodes} nodes" if self.n_nodes > 1 else ""
        if max_trials is None or max_trials <= self.n_slots or not self.is_elastic:
            return f"{min(max_trials or self.n_slots, self.n_slots)} at a time{nodes}"
        return f"{self.n_slots} at a time{nodes}, at most {max_trials}"
