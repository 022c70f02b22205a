"""Augmentation policies, one file each: a file with a :class:`~trainables.augment.policies.base.Policy` is found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from trainables.augment.policies.base import Policy
from trainables.discovery import import_variants

POLICIES: Mapping[str, type[Policy]] = {
    str(policy.model_fields["kind"].default): policy for policy in import_variants(__name__, __path__, Policy)
}
"""Policies by the name that a study file uses."""

if TYPE_CHECKING:
    AnyPolicy = Policy
else:
    AnyPolicy = Annotated[Union[tuple(POLICIES.values())], Field(discriminator="kind")]  # noqa: UP007
