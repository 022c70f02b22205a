"""Nodes that get no trials, in ``sweep.json``: the last run has their names and the reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.nodes import Nodes
from sweep.records.reader import read_manifest
from sweep.records.writer import write_manifest


def left_out_nodes(manifest: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """Return the nodes that the last run of a sweep left out: ``node``, ``node_id``, ``why``.

    Examples:
        >>> left_out_nodes({"runs": [{"host": "head"}]})
        []
    """
    nodes: Sequence[Mapping[str, str]] = manifest["runs"][-1].get("nodes", []) if manifest["runs"] else []
    return nodes


def with_nodes(manifest: Mapping[str, Any], nodes: Nodes | None) -> dict[str, Any]:
    """Return a manifest whose last run has the nodes that get no trials; None: they were not checked."""
    if nodes is None:
        return dict(manifest)
    *former, last = manifest["runs"]
    return {**manifest, "runs": [*former, {**last, "nodes": nodes.record()}]}


def follow_nodes(nodes: Nodes, sweep_dir: Path, show_warning: Callable[[str], None]) -> None:
    """Record and show from now on which nodes get no trials any more."""
    recorded = nodes.record()

    def on_change(node_id: str) -> None:
        nonlocal recorded
        present = nodes.record()
        if present == recorded:
            return
        recorded = present
        write_manifest(sweep_dir, with_nodes(read_manifest(sweep_dir), nodes))
        name, why = nodes.name_of(node_id), nodes.why_of(node_id)
        show_warning(f"node '{name}' gets no trials: {why}" if why else f"node '{name}' gets trials again")

    nodes.on_change.append(on_change)
