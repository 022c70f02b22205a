"""A rule as it is typed on the command line: ``asha,grace_period_epochs=2``."""

from __future__ import annotations

from typing import Any

from search_spaces.early_stopping.base import Stopping
from trainables.errors import UserError


def parse_rule(text: str) -> dict[str, Any]:
    """Return a rule's name and parameters, typed with commas between them, as a study file would hold them.

    Raises:
        UserError: a parameter has no value.

    Examples:
        >>> parse_rule("asha,grace_period_epochs=2,mode=promote")
        {'rule': 'asha', 'grace_period_epochs': 2, 'mode': 'promote'}
        >>> parse_rule("percentile,percent=12.5")
        {'rule': 'percentile', 'percent': 12.5}
    """
    name, *settings = (part.strip() for part in text.split(","))
    values: dict[str, Any] = {"rule": name}
    for setting in settings:
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise UserError(
                f"--rule '{text}' has the form NAME,PARAMETER=VALUE,...; for example asha,grace_period_epochs=2"
            )
        values[key] = _number_or_text(value)
    return values


def _number_or_text(value: str) -> int | float | str:
    for number in (int, float):
        try:
            return number(value)
        except ValueError:
            continue
    return value


def format_rule(stopping: Stopping) -> str:
    """Return a rule with all its parameters, as :func:`parse_rule` reads it."""
    values = stopping.model_dump(exclude={"rule"}, exclude_none=True)
    return ",".join([stopping.rule, *(f"{key}={value}" for key, value in values.items())])
