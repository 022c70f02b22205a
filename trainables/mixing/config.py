"""The grammar of mixing: orthogonal parts, each with its own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from trainables.mixing.masks import AnyMask
from trainables.mixing.masks.box import Box
from trainables.mixing.pairing import Pairing, PermutePairing
from trainables.mixing.position import ClipPosition, Position
from trainables.mixing.presets import expand_preset
from trainables.mixing.size import BetaSize, Size
from trainables.strict import Frozen


class Label(Frozen):
    """What the network is asked to say about a mixed image.

    Attributes:
        smoothing: share of every target spread evenly over all classes; applied once, to the mixed target.
    """

    smoothing: float = Field(default=0.0, ge=0, lt=1)


class Apply(Frozen):
    """When a sample is mixed.

    Attributes:
        prob: chance of being mixed.
        gate: whether one coin is thrown for each ``sample`` or one for the whole ``batch`` (the paper's code).
    """

    prob: float = Field(default=1.0, ge=0, le=1)
    gate: Literal["sample", "batch"] = "sample"


class Mix(Frozen):
    """A mixing policy: how much (size), in which shape (mask), where (position), of what (content) goes into an image.

    A string, or the key ``preset``, starts from a named policy; further keys change parts of it.

    Attributes:
        mask: family of the mask and its parameters.
        size: law of the pasted fraction.
        position: how a shape is placed in the image.
        pairing: which image is the partner.
        content: what is pasted: the ``partner``, ``zero`` (after normalisation, so the mean colour) or ``noise``
            (standard normal a channel). Only a partner changes the label: it gets the share of pixels really pasted.
        label: smoothing of the target.
        apply: probability and gate.
    """

    mask: AnyMask = Box()
    size: Size = BetaSize()
    position: Position = ClipPosition()
    pairing: Pairing = PermutePairing()
    content: Literal["partner", "zero", "noise"] = "partner"
    label: Label = Label()
    apply: Apply = Apply()

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, values: Any) -> Any:
        return expand_preset(values) if isinstance(values, (str, Mapping)) else values
