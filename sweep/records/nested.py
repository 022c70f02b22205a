"""Nested values as columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LEAF = (str, float, int, type(None))


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted path, each path after ``prefix``; lists become tuples.

    Example:
        >>> flattened({"optimizer": {"lr": 0.1}, "marks": [0.5]}, "config.")
        {'config.optimizer.lr': 0.1, 'config.marks': (0.5,)}
    """
    leaves: dict[str, Any] = {}
    _flatten(values, prefix, leaves)
    return leaves


def _flatten(values: Mapping[str, Any], prefix: str, leaves: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, _LEAF):  # first, because the check for a Mapping takes ten times as long
            leaves[prefix + key] = value
        elif isinstance(value, Mapping):
            _flatten(value, f"{prefix}{key}.", leaves)
        else:
            leaves[prefix + key] = tuple(value) if isinstance(value, list) else value
