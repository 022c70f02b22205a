"""Early-stopping rules, one file each: a file with a :class:`~search_spaces.early_stopping.base.Stopping` is found."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from search_spaces.early_stopping.base import Stopping

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def _named(parent: type[Any]) -> Iterator[type[Stopping]]:
    """Yield the subclasses that name a rule, in the order of their files."""
    for child in parent.__subclasses__():
        if "rule" in child.model_fields:
            yield child
        yield from _named(child)


RULES: dict[str, type[Stopping]] = {str(rule.model_fields["rule"].default): rule for rule in _named(Stopping)}
"""Configuration classes by the rule's name in a study file."""

if TYPE_CHECKING:
    EarlyStopping = Stopping
else:
    EarlyStopping = Annotated[Union[tuple(RULES.values())], Field(discriminator="rule")]  # noqa: UP007
