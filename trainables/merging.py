"""Nested mappings: overriding values, setting and listing single values by dotted path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.strict import TAGS


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` overridden by ``changes``, key by key.

    If a change names another variant (another ``kind``, ``family`` or ``rule``), the parameters of the old variant are
    dropped, because the new variant does not know them. Parts of a mixing policy that override a preset's name change
    parts of that preset.

    Examples:
        >>> merged({"lr": 0.1, "schedule": {"kind": "step", "factor": 0.1}}, {"schedule": {"kind": "cosine"}})
        {'lr': 0.1, 'schedule': {'kind': 'cosine'}}
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
    """Return the nested mapping with ``value`` at a dotted path.

    Examples:
        >>> at_path("optimizer.lr", 0.1)
        {'optimizer': {'lr': 0.1}}
    """
    for key in reversed(path.split(".")):
        value = {key: value}
    result: dict[str, Any] = value
    return result


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted path below ``prefix``.

    Examples:
        >>> flattened({"optimizer": {"lr": 0.1}})
        {'optimizer.lr': 0.1}
    """
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        leaves |= flattened(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return leaves


def _other_variant(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return any(tag in new and tag in old and new[tag] != old[tag] for tag in TAGS)
