"""Nested mappings: merging overrides into them and setting single dotted paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.strict import TAGS


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes`` laid over it, key by key.

    Where a change names another variant (another ``kind``, ``family`` or ``rule``), the old variant's parameters are
    dropped instead of being passed on to a variant that does not know them. Parts of a mixing policy laid over a
    preset's name change parts of that preset.
    """
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if key == "mix" and isinstance(old, str) and isinstance(value, Mapping):
            old = {"preset": old}
        if isinstance(old, Mapping) and isinstance(value, Mapping) and not _other_variant(old, value):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def at_path(path: str, value: Any) -> dict[str, Any]:
    """Return the nested mapping that holds ``value`` at a dotted path: ``at_path("a.b", 1) == {"a": {"b": 1}}``."""
    for key in reversed(path.split(".")):
        value = {key: value}
    result: dict[str, Any] = value
    return result


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted path: ``{"a": {"b": 1}} -> {"a.b": 1}``."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        leaves |= flattened(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return leaves


def _other_variant(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return any(tag in new and tag in old and new[tag] != old[tag] for tag in TAGS)
