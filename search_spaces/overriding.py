"""Values that override the values of a study: those of a file that extends it, and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search_spaces.resources import without_other_share
from trainables.errors import UserError, did_you_mean, format_value, shorten
from trainables.merging import merged

ABOUT_THE_QUESTION = ("name", "question", "why_open")
"""Keys that a study does not take from the study that it extends."""

ReadStudy = Callable[[str, Path], tuple[Path, dict[str, Any]]]
"""Returns path and values of the study with a name, or with a path relative to a folder."""


def overridden(values: Mapping[str, Any], changes: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return a study's values overridden by ``changes``, key by key; ``null`` drops an arm or a parameter of a space.

    Raises:
        UserError: a ``null`` has nothing to drop.

    Examples:
        >>> study = {"arms": {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}}, "budget": {"trials": 4}}
        >>> overridden(study, {"arms": {"off": None}, "budget": {"max_epochs": 9}}, where="example")
        {'arms': {'cutmix': {'mix': 'cutmix'}}, 'budget': {'trials': 4, 'max_epochs': 9}}
    """
    values = without_other_share(values, changes)
    result = merged(values, changes)
    _drop(values, result, "arms", where)
    _drop(values, result, "space", where)
    old_arms, arms = values.get("arms"), result.get("arms")
    if isinstance(arms, dict):
        for name, arm in arms.items():
            if isinstance(arm, Mapping):
                old = old_arms.get(name) if isinstance(old_arms, Mapping) else None
                arms[name] = dict(arm)
                _drop(old if isinstance(old, Mapping) else {}, arms[name], "space", f"{where}: arms.{shorten(name)}")
    return result


def _drop(values: Mapping[str, Any], result: dict[str, Any], key: str, where: str) -> None:
    """Remove the members of ``result[key]`` that are null; before the changes they must have been there."""
    present = values.get(key)
    if not isinstance(result.get(key), Mapping):
        return
    for name, member in result[key].items():
        if member is None and not (isinstance(present, Mapping) and name in present):
            valid = did_you_mean(str(name), present if isinstance(present, Mapping) else ())
            raise UserError(f"{where}: '{key}.{shorten(str(name))}' is null, but there is nothing to drop{valid}")
    result[key] = {name: member for name, member in result[key].items() if member is not None}


def extended_values(
    values: Mapping[str, Any], read: ReadStudy, *, folder: Path, where: str, path: Path | None = None
) -> dict[str, Any]:
    """Return the values of a study over the values of the study that it ``extends``, if any.

    The study has a name and a question of its own. All other values are taken over and may be overridden.

    Args:
        values: values of the study.
        read: reads the study that is extended.
        folder: folder to which a path is relative.
        where: beginning of messages.
        path: file of the study; None: it has no file.

    Raises:
        UserError: there is no such study, the studies extend each other, or the study asks no question of its own.
    """
    if "extends" not in values:
        return dict(values)
    chain = [] if path is None else [path.resolve()]
    layers: list[dict[str, Any]] = []
    layer = dict(values)
    while "extends" in layer:
        name = layer.pop("extends")
        if not isinstance(name, str):
            raise UserError(f"{where}: 'extends' must be the name or the path of a study, got {format_value(name)}")
        layers.append(layer)
        try:
            parent, layer = read(name, folder)
        except UserError as error:
            raise UserError(f"{where}: extends: {error}") from None
        if parent in chain:
            raise UserError(f"{where}: 'extends' goes in a circle: {' -> '.join(map(str, [*chain, parent]))}")
        chain.append(parent)
        folder = parent.parent
    if "question" not in values:
        raise UserError(f"{where}: 'question' is missing: a study that extends another one asks its own")
    for changes in reversed(layers):
        inherited = {key: value for key, value in layer.items() if key not in ABOUT_THE_QUESTION}
        layer = overridden(inherited, changes, where=where)
    return layer
