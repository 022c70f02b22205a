"""Keys of a configuration that were renamed: one table for messages, for records of older versions and for seeds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

RENAMED = {
    "mix.share": "mix.granularity",
    "mix.other": "mix.alternate",
    "schedule.on0": "schedule.ramp_up_start",
    "schedule.on1": "schedule.ramp_up_end",
    "schedule.off0": "schedule.ramp_down_start",
    "schedule.off1": "schedule.ramp_down_end",
}
"""Present name by old name, each after the key that holds it."""

_ORIGINAL = {new: old for old, new in RENAMED.items()}

_OLD_KEY = re.compile(rf'\b({"|".join(old.rpartition(".")[2] for old in RENAMED)})[".]')
"""Old key at the end or within a dotted path: every JSON value with an old key has a match."""


def present_path(path: str) -> str:
    """Return a dotted path with every old key under its present name.

    Examples:
        >>> present_path("mix.other.mix.share")
        'mix.alternate.mix.granularity'
    """
    return _translated(path, RENAMED)


def original_path(path: str) -> str:
    """Return a dotted path with every renamed key under its first name.

    Random numbers of a parameter depend on its path: they are drawn under the first name, so that a rename changes no
    trial.

    Examples:
        >>> original_path("mix.granularity")
        'mix.share'
    """
    return _translated(path, _ORIGINAL)


def describe_rename(path: str) -> str | None:
    """Return the message for a path with old keys; None for any other path.

    Examples:
        >>> describe_rename("mix.share")
        "'mix.share' was renamed to 'mix.granularity'"
    """
    present = present_path(path)
    return None if present == path else f"'{path}' was renamed to '{present}'"


def with_present_keys(values: Any, holder: str = "") -> Any:
    """Return recorded values with every old key under its present name.

    Args:
        values: nested mappings and lists; keys may be dotted paths, as in a space.
        holder: key that holds the values.

    Examples:
        >>> with_present_keys({"mix": {"share": "batch"}, "space": {"mix.share": {"kind": "fixed", "value": "pair"}}})
        {'mix': {'granularity': 'batch'}, 'space': {'mix.granularity': {'kind': 'fixed', 'value': 'pair'}}}
    """
    if isinstance(values, Mapping):
        return {
            present_path(f"{holder}.{key}").removeprefix(f"{holder}."): with_present_keys(value, key.rpartition(".")[2])
            for key, value in values.items()
        }
    if isinstance(values, list):
        return [with_present_keys(value, holder) for value in values]
    return values


def json_with_present_keys(text: str) -> str:
    """Return JSON text of recorded values with every old key under its present name.

    Text without old keys is returned as it is, and not parsed: a sweep has many rows.

    Example:
        >>> json_with_present_keys('{"mix.other.prob": 0.5}')
        '{"mix.alternate.prob": 0.5}'
    """
    if not _OLD_KEY.search(text):
        return text
    return json.dumps(with_present_keys(json.loads(text)))


def _translated(path: str, names: Mapping[str, str]) -> str:
    keys = path.split(".")
    for index in range(1, len(keys)):
        pair = f"{keys[index - 1]}.{keys[index]}"
        keys[index] = names.get(pair, pair).rpartition(".")[2]
    return ".".join(keys)
