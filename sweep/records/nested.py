"""Nested values as columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LEAF = (str, float, int, type(None))


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted path below ``prefix``; lists become tuples."""
    leaves: dict[str, Any] = {}
    _flatten(values, prefix, leaves)
    return leaves


def _flatten(values: Mapping[str, Any], prefix: str, leaves: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, _LEAF):  # asked first: whether something is a Mapping takes ten times as long to answer
            leaves[prefix + key] = value
        elif isinstance(value, Mapping):
            _flatten(value, f"{prefix}{key}.", leaves)
        else:
            leaves[prefix + key] = tuple(value) if isinstance(value, list) else value
