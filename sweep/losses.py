"""Kinds of losses: a worker by its node, a crash, lack of memory or a neighbour; the memory of a GPU.

They are counted apart for each trial.
"""

from __future__ import annotations

from dataclasses import dataclass

from sweep.faults import fault_of_worker
from sweep.formats import cut, reason_in_one_line
from sweep.records.schema import (
    CRASHES,
    GPU_OUT_OF_MEMORY,
    LOST_NODES,
    NEIGHBOUR_FAULTS,
    OUT_OF_MEMORY,
    PREEMPTIONS,
)
from trainables.faults import MEMORY, NODE, STALLED, WORKER

MAX_LOST_WORKERS = 3
"""Number of times in a run that a trial may lose its worker by a crash or for lack of memory and is restarted."""

MAX_LOSSES = 100
"""Number of times in a run that a trial may lose its worker for any reason: losses of nodes are not the trial's."""

COUNTED = (CRASHES, OUT_OF_MEMORY)
"""Kinds that count towards ``MAX_LOST_WORKERS``."""


@dataclass(frozen=True)
class Loss:
    """The loss of a worker that had a trial, or of the GPU memory that it needs.

    Attributes:
        kind: column of the trials that counts it.
        fault: kind of the failure if it is the last one, one of ``trainables.faults``.
        node: name of the node; "" if it is not known.
        reason: what Ray says, in one line.
    """

    kind: str
    fault: str
    node: str = ""
    reason: str = ""

    def describe(self) -> str:
        """Return what has happened to the trial, as the rest of a sentence.

        Examples:
            >>> Loss(LOST_NODES, NODE, "a100-1").describe(), Loss(CRASHES, WORKER).describe()
            ('lost node a100-1', 'lost its worker')
        """
        place = f" on {self.node}" if self.node else ""
        if self.fault == STALLED:
            return f"reported nothing for too long{place}"
        return {
            LOST_NODES: f"lost node {self.node}" if self.node else "lost its node",
            PREEMPTIONS: f"was preempted{place}",
            CRASHES: f"lost its worker{place}",
            OUT_OF_MEMORY: f"ran out of memory{place} (give each node more memory, or fewer trials)",
            GPU_OUT_OF_MEMORY: f"ran out of GPU memory{place} and runs again last, alone with a whole GPU",
            NEIGHBOUR_FAULTS: f"lost its worker{place} by an error of another trial on the same GPU",
        }[self.kind]

    def describe_restart(self, epochs: int) -> str:
        """Return what has happened to the trial, and where it continues.

        Examples:
            >>> Loss(LOST_NODES, NODE, "a100-1").describe_restart(7)
            'lost node a100-1, continues after epoch 7'
        """
        return f"{self.describe()}, {f'continues after epoch {epochs}' if epochs else 'begins again'}"


def describe_too_large(error: str) -> str:
    """Return why a trial has failed that does not fit on a whole GPU: what to do, and the error.

    Examples:
        >>> describe_too_large("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB")[:71]
        'it does not fit in the memory of a whole GPU: lower data.batch_size, se'
    """
    return (
        "it does not fit in the memory of a whole GPU: lower data.batch_size, set model.precision to bf16 or fp16, or "
        f"use GPUs with more memory; {cut(reason_in_one_line(error), 240)}"
    )


def classify(error: str, *, node: str = "", is_preempted: bool = False, is_silent: bool = False) -> Loss:
    """Return the kind of a loss, as far as Ray's error tells it.

    A node that has died may show as a crash first: see :func:`as_lost_node`.

    Args:
        error: text of Ray's error.
        node: name of the node; "" if it is not known.
        is_preempted: whether Ray says that the node was preempted.
        is_silent: whether the worker was killed because its trial reported nothing for too long.

    Examples:
        >>> classify("The actor died because its node has died. Node Id: 5f").kind
        'lost_nodes'
    """
    reason = (error.splitlines() or ["no reason given"])[-1]
    if is_silent:
        return Loss(CRASHES, STALLED, node, "it reported nothing for too long (budget.limits.silent_min)")
    if is_preempted:
        return Loss(PREEMPTIONS, NODE, node, reason)
    fault = fault_of_worker(error)
    kind = {NODE: LOST_NODES, MEMORY: OUT_OF_MEMORY}.get(fault, CRASHES)
    return Loss(kind, fault, node, reason)


def as_lost_node(loss: Loss, *, was_draining: bool) -> Loss:
    """Return a loss that looked like a crash, after its node has turned out to be gone."""
    kind = PREEMPTIONS if was_draining else LOST_NODES
    return Loss(kind, NODE, loss.node, loss.reason)


def as_neighbour_fault(loss: Loss) -> Loss:
    """Return a loss that looked like a crash, after another trial on the same node was lost at the same time."""
    return Loss(NEIGHBOUR_FAULTS, loss.fault, loss.node, loss.reason)


def may_be_lost_node(loss: Loss) -> bool:
    """Return whether the node of a worker that seems to have crashed must be looked at."""
    return loss.kind == CRASHES and loss.fault == WORKER
