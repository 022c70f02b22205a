"""The nodes of the cluster that this process has joined, as Ray knows them; nothing here waits for the cluster."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

from sweep.slots import UPDATE_S, LiveNode


def read_nodes() -> list[LiveNode]:
    """Return the living nodes; it asks the head of the cluster, and waits for the answer."""
    import ray

    draining = _draining()
    return [
        LiveNode(
            node["NodeID"],
            node["NodeManagerHostname"],
            node["Resources"],
            is_draining=node["NodeID"] in draining,
            address=node.get("NodeManagerAddress", ""),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def _draining() -> set[str]:
    with contextlib.suppress(Exception):  # private to Ray: another version may not have it
        from ray._private.state import state

        return set(state.get_draining_nodes())
    return set()


class LiveNodes:
    """Nodes of the cluster, read again and again by a thread: the head may have gone, and would block the reader."""

    def __init__(self) -> None:
        """Read the nodes once, and wait for the answer."""
        self._nodes = read_nodes()
        self._ended = threading.Event()

    def __call__(self) -> list[LiveNode]:
        """Return the nodes as they were read last, at most a few seconds ago while the head answers."""
        return self._nodes

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Read the nodes again and again inside this context."""
        thread = threading.Thread(target=self._follow, name="nodes of Ray", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(UPDATE_S)  # Ray ends next, and should not be asked meanwhile

    def _follow(self) -> None:
        while not self._ended.wait(UPDATE_S):
            with contextlib.suppress(Exception):  # the head does not answer: the last answer stays
                self._nodes = read_nodes()


def grows() -> bool:
    """Return whether the cluster may add nodes when trials wait; True if this version of Ray does not tell.

    Where only people add nodes, Ray names the type of each node after its id.
    """
    status: Any = None
    with contextlib.suppress(Exception):  # private to Ray too
        from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
        from ray.experimental.internal_kv import _internal_kv_get

        status = json.loads(_internal_kv_get(DEBUG_AUTOSCALING_STATUS) or b"null")
    report = (status or {}).get("autoscaler_report") or {}
    types = [*report.get("active_nodes", {}), *report.get("pending_launches", {})]
    return not types or any(not re.fullmatch(r"node_[0-9a-f]{8,}", name) for name in types)
