"""Nodes of a cluster: which of them can run trials, why the others cannot, and whose fault a failed trial is.

A node is fit, unfit, or unchecked. A check before its first trial decides, or the trials themselves: a trial that fails
before its first epoch on a node is tried once more elsewhere. So an error of a node is told from one of the study.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sweep.formats import reason_in_one_line
from trainables.faults import DISK

State = Literal["unchecked", "fit", "unfit"]

UNCHECKED: State = "unchecked"
"""State: nothing is known about the node."""

FIT: State = "fit"
"""State: the node has passed its check, or a trial has run on it."""

UNFIT: State = "unfit"
"""State: the node gets no trials."""

MAX_FAILURES = 2
"""Number of trials in a row that may fail before their first epoch on one node, with errors that no other node has."""

MAX_IN_A_ROW = 3
"""Number of trials in a row that may fail because of a disk on the only node, or with one error on several nodes."""

_DIGITS = re.compile(r"0x[0-9a-f]+|\d+")


@dataclass
class Node:
    """What is known about a node.

    Attributes:
        node_id: Ray's id of the node, or its name where trials report no id.
        name: host name.
        state: ``unchecked``, ``fit`` or ``unfit``.
        why: why it is unfit; "" if it is not.
        is_alive: whether it belongs to the cluster.
        n_failures: trials in a row that have failed there.
        errors: signatures of these failures.
    """

    node_id: str
    name: str
    state: State = UNCHECKED
    why: str = ""
    is_alive: bool = True
    n_failures: int = 0
    errors: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Failing:
    """Why no further trial can run.

    Attributes:
        message: the reason, as a clause.
        retry_failed: whether trials have failed because of it.
    """

    message: str
    retry_failed: bool


class Nodes:
    """Nodes of one run of a sweep.

    Attributes:
        failing: why the run must end; None if it need not.
        on_change: functions that are called with the id of each node whose state changes.

    Examples:
        >>> nodes = Nodes()
        >>> for name in ("a", "b"):
        ...     nodes.set_checked(name, name)
        >>> for trial in ("off-0000", "off-0001"):
        ...     nodes.on_start(trial)
        ...     nodes.on_failure(trial, "a", "a", fault="trial", why="FileNotFoundError: images")
        False
        False
        >>> nodes.state_of("a"), nodes.unfit, nodes.why_of("a")
        ('unfit', ['a'], '2 trials in a row failed there: FileNotFoundError: images')
    """

    def __init__(self, *, strict: bool = False) -> None:
        """Begin without nodes.

        Args:
            strict: whether an unfit node ends the run.
        """
        self.failing: Failing | None = None
        self.on_change: list[Callable[[str], None]] = []
        self._strict = strict
        self._nodes: dict[str, Node] = {}
        self._silent: set[str] = set()  # trials that have not reported since they were started
        self._failed_on: dict[str, dict[str, str]] = {}  # signatures of failures that were tried again: trial, node
        self._shared: set[str] = set()  # signatures that several nodes had
        self._n_in_a_row = 0

    def state_of(self, node_id: str) -> State:
        """Return the state of a node; one that was never seen is unchecked."""
        return self._nodes[node_id].state if node_id in self._nodes else UNCHECKED

    def why_of(self, node_id: str) -> str:
        """Return why a node is unfit; "" if it is not."""
        return self._nodes[node_id].why if node_id in self._nodes else ""

    def name_of(self, node_id: str) -> str:
        """Return the host name of a node."""
        return self._nodes[node_id].name if node_id in self._nodes else node_id

    @property
    def fit(self) -> list[str]:
        """Ids of the living nodes that can run trials."""
        return [node.node_id for node in self._nodes.values() if node.state == FIT and node.is_alive]

    @property
    def unfit(self) -> list[str]:
        """Ids of the nodes that get no trials; they stay so if they leave the cluster and return."""
        return [node.node_id for node in self._nodes.values() if node.state == UNFIT]

    def unfit_for(self, trial: str) -> list[str]:
        """Return the ids of the nodes that must not get a trial: unfit nodes, and nodes on which it has failed.

        If no other node is left, it may return to the latter.
        """
        failed = self._failed_on.get(trial, {})
        if any(self._may_run(node) and node.node_id not in failed for node in self._nodes.values()):
            return sorted({*self.unfit, *failed})
        return sorted(self.unfit)

    def record(self) -> list[dict[str, str]]:
        """Return the nodes that were left out, for ``sweep.json``: name, id and reason."""
        left_out = [node for node in self._nodes.values() if node.state == UNFIT]
        return [{"node": node.name, "node_id": node.node_id, "why": node.why} for node in left_out]

    def set_alive(self, names: Mapping[str, str]) -> list[str]:
        """Receive the nodes on which a trial fits at present: name by id.

        Returns:
            The ids of nodes that are neither checked nor known to be unfit.
        """
        for node in self._nodes.values():
            node.is_alive = node.node_id in names
        return [node_id for node_id, name in names.items() if self._node(node_id, name).state == UNCHECKED]

    def set_checked(self, node_id: str, name: str, why: str = "") -> None:
        """Receive the result of the check of a node: why it cannot run trials, "" if it can."""
        if why:
            self.set_unfit(node_id, name, why)
        else:
            self._change(self._node(node_id, name), FIT)

    def set_unfit(self, node_id: str, name: str, why: str) -> None:
        """Receive that a node cannot run trials."""
        node = self._node(node_id, name)
        self._change(node, UNFIT, why)
        living = [each for each in self._nodes.values() if each.is_alive]
        if self._strict:
            self.failing = Failing(f"node '{node.name}' cannot run trials ({why}), and --strict-nodes is set", False)
        elif all(each.state == UNFIT for each in living):
            self.failing = Failing(f"no node can run trials: {describe_unfit(self.record())}", False)

    def on_start(self, trial: str) -> None:
        """Receive that a trial begins, or continues in another process."""
        self._silent.add(trial)

    def on_report(self, trial: str, node_id: str, name: str) -> None:
        """Receive that a trial has reported; its first report shows that the node can run trials.

        Later ones do not: a running trial has its images open, while the next trial may not be able to open them.
        """
        if trial not in self._silent:
            return
        self._silent.remove(trial)
        self._failed_on.pop(trial, None)
        self._n_in_a_row = 0
        node = self._node(node_id, name)
        node.n_failures = 0
        node.errors.clear()
        if node.state == UNCHECKED:
            self._change(node, FIT)

    def on_failure(self, trial: str, node_id: str, name: str, *, fault: str, why: str) -> bool:
        """Receive that a trial has failed; return whether this is its end.

        Otherwise it is to run again, on a node that is not in :meth:`unfit_for`: its node may be at fault.
        """
        node, before_epoch = self._node(node_id, name), trial in self._silent
        if not before_epoch and fault != DISK:
            return True
        signature = error_signature(fault, why, name)
        if self._is_known_elsewhere(trial, node, signature):
            return self._on_error_of_the_study(signature, why)
        failed_on = self._failed_on.setdefault(trial, {})
        if node.node_id in failed_on:
            return True  # it has returned to this node: there is no other one for it
        if node.state == UNFIT:
            failed_on[node.node_id] = signature
            return False
        node.n_failures += 1
        node.errors.add(signature)
        if not any(self._may_run(other) for other in self._nodes.values() if other is not node):
            if fault == DISK and node.n_failures >= MAX_IN_A_ROW:
                self.failing = Failing(f"trials in a row failed on node '{node.name}': {reason_in_one_line(why)}", True)
            return True
        failed_on[node.node_id] = signature
        if node.n_failures >= MAX_FAILURES:
            self.set_unfit(
                node.node_id, name, f"{node.n_failures} trials in a row failed there: {reason_in_one_line(why)}"
            )
        return False

    @staticmethod
    def _may_run(node: Node) -> bool:
        return node.is_alive and node.state != UNFIT

    def _is_known_elsewhere(self, trial: str, node: Node, signature: str) -> bool:
        """Return whether another node had the same error, with this trial or with another one."""
        others = [other for other in self._nodes.values() if other is not node]
        own = [error for node_id, error in self._failed_on.get(trial, {}).items() if node_id != node.node_id]
        return signature in self._shared or signature in own or any(signature in other.errors for other in others)

    def _on_error_of_the_study(self, signature: str, why: str) -> bool:
        """Count an error that several nodes have; nodes that were left out because of it alone can run trials."""
        self._shared.add(signature)
        self._n_in_a_row += 1
        for node in self._nodes.values():
            if node.errors == {signature}:
                node.n_failures = 0
                node.errors.clear()
                if node.state == UNFIT:
                    self._change(node, FIT)
        if self._n_in_a_row >= MAX_IN_A_ROW:
            reason = (
                f"{self._n_in_a_row} trials in a row failed with one error on several nodes: {reason_in_one_line(why)}"
            )
            self.failing = Failing(reason, True)
        return True

    def _node(self, node_id: str, name: str) -> Node:
        return self._nodes.setdefault(node_id, Node(node_id, name))

    def _change(self, node: Node, state: State, why: str = "") -> None:
        if (node.state, node.why) == (state, why):
            return
        node.state, node.why = state, why
        for function in self.on_change:
            function(node.node_id)


def describe_unfit(record: Collection[Mapping[str, Any]]) -> str:
    """Return which nodes were left out and why, at most three of them.

    Examples:
        >>> describe_unfit([{"node": "a100-1", "why": "its disk is full"}])
        "'a100-1' (its disk is full)"
    """
    described = [f"'{node['node']}' ({node['why']})" for node in list(record)[:3]]
    return ", ".join([*described, *([f"and {len(record) - 3} more"] if len(record) > 3 else [])])


def error_signature(fault: str, why: str, node: str) -> str:
    """Return what two equal errors have in common: kind and last line without numbers and the name of the node.

    Examples:
        >>> error_signature("disk", "Traceback:\\nOSError: [Errno 5] on a100-1: part 17", "a100-1")
        'disk: OSError: [Errno #] on NODE: part #'
    """
    line = reason_in_one_line(why)
    if len(node) > 2:  # a shorter name may be a word of the message
        line = re.sub(rf"\b{re.escape(node)}\b", "NODE", line)
    return f"{fault}: {_DIGITS.sub('#', line)}"
