"""Strict, frozen configuration models, and error messages that name path, value and valid choices."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from trainables.errors import MAX_LINES, UserError, did_you_mean, format_value, shorten
from trainables.parts import OPEN_UNIONS, is_outside, validate_own
from trainables.renames import describe_rename

TAGS = ("kind", "family", "rule")
"""Keys that name the variant in a union of models."""

_TYPE_OF_PYDANTIC = r"valid (?:(dictionary)(?: or instance of \w+| or object to extract fields from)?|tuple|array)"

MAX_REASON = 1_000
"""Longest reason that a check of a configuration gives: a sentence with all valid names."""


class Frozen(BaseModel):
    """Base class of every configuration object: immutable, no coercion, no unknown key, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


ModelT = TypeVar("ModelT", bound=BaseModel)


def parse(model: type[ModelT], values: Mapping[str, Any], *, where: str) -> ModelT:
    """Return ``values`` validated as a ``model``.

    Args:
        model: configuration class.
        values: nested values, as in a study file.
        where: beginning of every message, for example ``study 'mine', arm 'cutmix'``.

    Raises:
        UserError: one line per error, with its path, the value and the valid choices; at most 10 lines.

    Examples:
        >>> class Limits(Frozen):
        ...     lowest: int = 0
        >>> parse(Limits, {"lowest": 3}, where="example")
        Limits(lowest=3)
        >>> parse(Limits, {"lowset": 3}, where="example")
        Traceback (most recent call last):
        trainables.errors.UserError: example: unknown key 'lowset'; did you mean 'lowest'? valid: lowest
    """
    try:
        return validate_own(model, values) if is_outside(model) else model.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(f"{where}: {line}" for line in _lines(model, values, error))) from None


def _lines(model: type[BaseModel], values: Mapping[str, Any], error: ValidationError) -> list[str]:
    """Return one line per error; a message of more than ``MAX_LINES`` lines ends with the number of the others."""
    items = error.errors()
    lines = list(dict.fromkeys(_explain(model, values, dict(item)) for item in items[: 2 * MAX_LINES]))
    if len(items) <= 2 * MAX_LINES and len(lines) <= MAX_LINES:
        return lines
    shown = lines[: MAX_LINES - 1]
    return [*shown, f"and {len(items) - len(shown):,} more errors"]


def _explain(model: type[BaseModel], values: Mapping[str, Any], item: dict[str, Any]) -> str:
    location = _without_tags(values, item["loc"], last_is_absent=item["type"] == "missing")
    path = ".".join(shorten(str(part)) for part in location) or ("''" if location else "(top level)")
    context = item.get("ctx", {})
    match item["type"]:
        case "extra_forbidden":
            valid = _keys_at(model, values, location[:-1], item["loc"])
            return describe_rename(path) or f"unknown key '{path}'{did_you_mean(str(location[-1]), valid)}"
        case "missing":
            return f"'{path}' is missing"
        case "union_tag_invalid":
            choices = [name.strip("'") for name in context["expected_tags"].split(", ")]
            tag = context["discriminator"].strip("'")
            return f"'{path}.{tag}' is unknown: '{shorten(context['tag'])}'{did_you_mean(context['tag'], choices)}"
        case "union_tag_not_found":
            return f"'{path}' needs the key {context['discriminator']}, which names its variant"
        case "literal_error":
            choices = [name.strip("'") for name in context["expected"].replace(" or ", ", ").split(", ")]
            value = item["input"]
            near = did_you_mean(value if isinstance(value, str) else format_value(value), choices)
            return f"'{path}' is unknown: {format_value(value)}{near}"
        case "value_error":
            reason = shorten(str(context["error"]), MAX_REASON)
            return f"'{path}': {reason}" if location else reason
        case _:
            message = item["msg"][0].lower() + item["msg"][1:]
            message = re.sub(_TYPE_OF_PYDANTIC, lambda match: "mapping" if match[1] else "list", message)
            return f"'{path}': {message}, got {format_value(item['input'])}"


def _without_tags(values: Any, location: tuple[Any, ...], *, last_is_absent: bool) -> tuple[Any, ...]:
    """Drop the union tags that pydantic adds to an error's location: they are not keys of ``values``."""
    kept: list[Any] = []
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if not last and isinstance(values, Mapping) and part in [values.get(tag) for tag in TAGS]:
            continue  # a tag that is also the name of a key, for example size: {kind: beta, beta: 1.0}
        in_list = isinstance(values, (list, tuple)) and isinstance(part, int) and part < len(values)
        is_key = in_list or (isinstance(values, Mapping) and part in values)
        if not is_key and not (last and last_is_absent):
            continue
        kept.append(part)
        if isinstance(values, Mapping):
            values = values.get(part)
        elif in_list:
            values = values[part]
    return tuple(kept)


def _keys_at(model: Any, values: Any, location: tuple[Any, ...], tags: tuple[Any, ...]) -> list[str]:
    """Return the valid keys at ``location`` of ``model``; ``tags`` contain the union members that pydantic chose."""
    for part in location:
        model = _member(model, values, tags)
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[part].annotation
        else:  # a mapping: its value type
            model = get_args(model)[-1]
        values = values.get(part) if isinstance(values, Mapping) else None
    model = _member(model, values, tags)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _member(annotation: Any, values: Any, tags: tuple[Any, ...]) -> Any:
    """Return the union member that ``values`` names by its tag, else one of ``tags``; no union: the annotation."""
    if get_origin(annotation) is Annotated:
        return _member(get_args(annotation)[0], values, tags)
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    for tag, registry in OPEN_UNIONS.items():
        own = registry.found(values[tag]) if isinstance(values, Mapping) and isinstance(values.get(tag), str) else None
        if own is not None:
            return own
    members = [_member(member, values, tags) for member in get_args(annotation)]
    models = [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]
    for member in models:
        for tag in TAGS:
            field = member.model_fields.get(tag)
            if field is not None and isinstance(values, Mapping) and _is_named(field.default, values, tag, tags):
                return member
    return models[0] if models else members[0]


def _is_named(default: Any, values: Mapping[str, Any], tag: str, tags: tuple[Any, ...]) -> bool:
    """Return whether ``values`` have the variant's tag; a preset may have set it outside ``values``."""
    return bool(default == values[tag] if tag in values else default in tags)
