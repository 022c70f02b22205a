"""Mask families, one file each: a :class:`~trainables.mixing.masks.base.Mask` in a file of this folder is found."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from trainables.mixing.masks.base import Mask

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

FAMILIES: dict[str, type[Mask]] = {
    str(family.model_fields["family"].default): family for family in Mask.__subclasses__()
}
"""Mask families by the name that a study file uses."""

if TYPE_CHECKING:
    AnyMask = Mask
else:
    AnyMask = Annotated[Union[tuple(FAMILIES.values())], Field(discriminator="family")]  # noqa: UP007
