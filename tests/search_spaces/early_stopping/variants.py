"""Every early-stopping rule in every mode, found as the product finds them."""

from __future__ import annotations

import itertools
from typing import Any, Literal, get_args, get_origin

from search_spaces.early_stopping import RULES
from search_spaces.early_stopping.base import Stopping


def variants(*, needed: int = 3, **parameters: Any) -> dict[str, Stopping]:
    """Return configurations by rule and modes: ``asha``, ``asha-promote``, ...

    Args:
        needed: trials that must be at a rung before any is stopped there, including the one that is judged.
        parameters: values for the rules that have these parameters.
    """
    found: dict[str, Stopping] = {}
    for name, rule in RULES.items():
        values = {key: value for key, value in parameters.items() if key in rule.model_fields}
        if "min_recorded" in rule.model_fields:
            values["min_recorded"] = needed - getattr(rule, "counts_others", False)
        modes = {
            key: get_args(field.annotation)
            for key, field in rule.model_fields.items()
            if key != "rule" and get_origin(field.annotation) is Literal
        }
        for chosen in itertools.product(*modes.values()):
            mode = dict(zip(modes, chosen, strict=True))
            suffixes = [value for key, value in mode.items() if value != rule.model_fields[key].default]
            found["-".join([name, *suffixes])] = rule(**values, **mode)
    return found


def stopping_variants(*, needed: int = 3, **parameters: Any) -> dict[str, Stopping]:
    """Return the configurations that stop trials: all but ``none``."""
    found = variants(needed=needed, **parameters)
    return {name: stopping for name, stopping in found.items() if name != "none"}
