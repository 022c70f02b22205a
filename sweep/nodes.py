"""Nodes of a cluster whose disk lets no trial run."""

from __future__ import annotations

from collections import Counter

from trainables.faults import DISK

MAX_DISK_FAILURES = 3
"""Number of trials in a row that may fail on a node because of a disk."""


class NodeFailures:
    """Failures in a row by node: a node with a full disk would otherwise fail all trials of a sweep within seconds.

    Attributes:
        failing: node on which too many trials in a row have failed because of a disk; "" if there is none.
        why: reason of the last of these failures.

    Examples:
        >>> nodes = NodeFailures()
        >>> for trial in ("off-0000", "off-0001", "off-0002"):
        ...     nodes.on_failure("a100-1", "disk", "no space left on device")
        >>> nodes.failing
        'a100-1'
    """

    def __init__(self) -> None:
        """Begin without failures."""
        self.failing, self.why = "", ""
        self._in_a_row: Counter[str] = Counter()
        self._silent: set[str] = set()

    def on_start(self, trial: str) -> None:
        """Receive that a trial begins, or continues in another process."""
        self._silent.add(trial)

    def on_report(self, trial: str, node: str) -> None:
        """Receive that a trial has reported; its first report shows that the node can run trials.

        Later ones do not: a running trial has its images open, while the next trial may not be able to open them.
        """
        if trial in self._silent:
            self._silent.remove(trial)
            self._in_a_row.pop(node, None)

    def on_failure(self, node: str, fault: str, why: str) -> None:
        """Receive that a trial has failed."""
        if fault != DISK:
            return
        self._in_a_row[node] += 1
        if self._in_a_row[node] >= MAX_DISK_FAILURES:
            self.failing, self.why = node, why
