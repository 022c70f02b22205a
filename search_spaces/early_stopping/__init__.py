"""Early-stopping rules, one file each: a file with a :class:`~search_spaces.early_stopping.base.Stopping` is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from search_spaces.early_stopping.base import Stopping
from trainables.discovery import import_variants
from trainables.parts import OpenUnion, Registry

RULES: Registry[Stopping] = Registry(
    "early-stopping rule",
    Stopping,
    {
        str(rule.model_fields["rule"].default): rule
        for rule in import_variants(__name__, __path__, Stopping)
        if "rule" in rule.model_fields  # the common part of two rules names none
    },
    group="cutmix_sweep.rules",
)
"""Configuration classes by the rule's name in a study file."""

if TYPE_CHECKING:
    EarlyStopping = Stopping
else:
    EarlyStopping = Annotated[
        Union[tuple(RULES.values())],  # noqa: UP007
        Field(discriminator="rule"),
        OpenUnion(RULES, "rule"),
    ]
