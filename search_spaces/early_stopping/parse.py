"""A rule as it is typed: ``asha,grace_period_epochs=2``."""

from __future__ import annotations

from typing import Any

from search_spaces.budget import EarlyStopping
from trainables.errors import UserError


def rule_values(text: str) -> dict[str, Any]:
    """Read a rule's name and parameters, separated by commas, as a study's file would hold them.

    Raises:
        UserError: a parameter has no value.
    """
    name, *settings = (part.strip() for part in text.split(","))
    values: dict[str, Any] = {"rule": name}
    for setting in settings:
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise UserError(f"--rule '{text}' takes NAME,PARAMETER=VALUE,... as in asha,grace_period_epochs=2")
        values[key] = int(value) if value.isdigit() else value
    return values


def rule_text(stopping: EarlyStopping) -> str:
    """Write a rule with all its parameters, as :func:`rule_values` reads it."""
    values = stopping.model_dump(exclude={"rule"}, exclude_none=True)
    return ",".join([stopping.rule, *(f"{key}={value}" for key, value in values.items())])
