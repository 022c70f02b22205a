"""Nested values as columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted path below ``prefix``; lists become tuples."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            leaves |= flattened(value, f"{path}.")
        else:
            leaves[path] = tuple(value) if isinstance(value, list) else value
    return leaves
