"""An arm of a study: a fixed condition that is compared with others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from search_spaces.domains import AnyDomain
from trainables.errors import format_value
from trainables.merging import merged
from trainables.mixing.presets import expand_preset
from trainables.strict import Frozen

Overrides = dict[str, Any]
"""Nested values that override the defaults of TrialConfig."""

Space = dict[str, AnyDomain]
"""Domain by dotted path of TrialConfig."""


def _one_value(value: Any) -> Any:
    if isinstance(value, (Mapping, list, tuple)):
        raise ValueError(
            f"a point has one value per dotted path, for example optimizer.lr: 0.1, got {format_value(value)}"
        )
    return value


Point = dict[str, Annotated[bool | int | float | str | None, BeforeValidator(_one_value)]]
"""Known values by dotted path of a space; paths that are left out are sampled as usual."""

Points = Annotated[tuple[Point, ...], Field(strict=False)]


class Arm(Frozen):
    """A fixed condition that is compared with others.

    Attributes:
        base: values that override the study's ``base`` in this arm.
        mix: the arm's mixing policy, shorthand for ``base.mix``.
        space: parameters that vary only in this arm.
        points: known configurations that only this arm tries, after the study's ``points``.
    """

    base: Overrides = {}
    mix: str | dict[str, Any] | None = None
    space: Space = {}
    points: Points = ()

    @field_validator("mix")
    @classmethod
    def _known_preset(cls, mix: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
        expand_preset({} if mix is None else mix)
        return mix

    @model_validator(mode="after")
    def _one_mix(self) -> Arm:
        if self.mix is not None and "mix" in self.base:
            raise ValueError("mix is shorthand for base.mix: give one of them, for example mix: {preset: cutmix, ...}")
        return self

    def override(self, base: Overrides) -> Overrides:
        """Return the study's values overridden by the arm's: a preset of the arm wins, the rest of the policy stays."""
        values = merged(base, self.base)
        if self.mix is None:
            return values
        return values | {"mix": merged(expand_preset(values.get("mix", {})), expand_preset(self.mix))}
