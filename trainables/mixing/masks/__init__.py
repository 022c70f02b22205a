"""Mask families, one file each: a :class:`~trainables.mixing.masks.base.Mask` in a file of this folder is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from trainables.discovery import import_variants
from trainables.mixing.masks.base import Mask
from trainables.parts import OpenUnion, Registry

FAMILIES: Registry[Mask] = Registry(
    "mask family",
    Mask,
    {str(family.model_fields["family"].default): family for family in import_variants(__name__, __path__, Mask)},
    group="cutmix_sweep.masks",
)
"""Mask families by the name that a study file uses."""

if TYPE_CHECKING:
    AnyMask = Mask
else:
    AnyMask = Annotated[
        Union[tuple(FAMILIES.values())],  # noqa: UP007
        Field(discriminator="family"),
        OpenUnion(FAMILIES, "family"),
    ]
