"""The abstract base of augmentation policies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.augment.operations import CODES, Space, amounts_of, matrices
from trainables.strict import Frozen

if TYPE_CHECKING:
    from torch import Tensor


class Policy(Frozen, ABC):
    """A policy: which operations change an image, and how strongly.

    A new policy is one file in this folder. It subclasses this class, declares ``kind: Literal["..."] = "..."`` and its
    options, sets ``space``, and implements :meth:`draw`. If its operations are not applied one after another, it
    also replaces :meth:`render`. The study schema and the contract tests find it there.

    Attributes:
        space: operations that the policy draws from, with their levels of strength.
        kind: name in a study file; a subclass declares it as a ``Literal`` with a default.
        interpolation: how pixels are read between pixels by operations that move them.
        fill: grey level of pixels that come from outside the image.
    """

    space: ClassVar[Space] = {}
    kind: str
    interpolation: Literal["nearest", "bilinear"] = "nearest"
    fill: int = Field(default=0, ge=0, le=255)

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of the operations that are drawn: those of the space, unless a parameter leaves some out."""
        return tuple(self.space)

    @abstractmethod
    def draw(self, count: int, *, height_px: int, width_px: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw everything that is random about ``count`` images, on the host.

        Returns:
            Arrays with one row per image. ``codes`` (uint8 [count, ..., n_ops]) and ``amounts`` (float32, same shape)
            are what :meth:`render` applies in turn.
        """

    def parameters(self, drawn: Mapping[str, np.ndarray], *, height_px: int, width_px: int) -> dict[str, np.ndarray]:
        """Return what the device needs for a batch of draws: the draws, and matrices of operations that move pixels."""
        moved = matrices(drawn["codes"], drawn["amounts"], height_px=height_px, width_px=width_px)
        return {**drawn, "matrices": moved}

    def render(self, images: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the changed images by tensor operations that work on any device; nothing is random here.

        No value may be read back, and neither a shape nor a branch may depend on a value, except on a CPU. Rows do not
        depend on each other.

        Args:
            images: uint8 [B, H, W, 3], left unchanged.
            parameters: arrays of :meth:`parameters`, on the device of the images.
        """
        from trainables.augment.rendering import Change, changed

        for place in range(parameters["codes"].shape[1]):
            change = Change(*(parameters[name][:, place] for name in ("codes", "amounts", "matrices")))
            images = changed(images, change, among=self.operations, interpolation=self.interpolation, fill=self.fill)
        return images

    def describe_parameters(self) -> dict[str, str]:
        """Return what describes the policy: its own parameters, and the common ones that differ from their defaults.

        Examples:
            >>> from trainables.augment.policies.rand_augment import RandAugment
            >>> RandAugment(magnitude=5, fill=128).describe_parameters()
            {'fill': '128', 'n_ops': '2', 'magnitude': '5'}
        """
        fields = type(self).model_fields
        common = {"kind", *(name for name in Policy.model_fields if getattr(self, name) == fields[name].default)}
        return {name: str(getattr(self, name)) for name in fields if name not in common}

    def draw_amounts(
        self,
        codes: np.ndarray,
        levels: np.ndarray | int,
        n_levels: int,
        *,
        height_px: int,
        width_px: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Return the amounts of operations at given levels, float32 like ``codes``; signs are drawn.

        Args:
            codes: codes of the operations, uint8 [...].
            levels: level of each, from 0, int64 [...], or of all.
            n_levels: number of levels.
            height_px: height of the images.
            width_px: width of the images.
            rng: generator of the signs; it draws one number per operation, whether it is signed or not.
        """
        amounts, signed = amounts_of(self.space, n_levels, height_px=height_px, width_px=width_px)
        negative = (rng.random(codes.shape) < 0.5) & signed[codes]
        chosen: np.ndarray = amounts[codes, levels]
        return np.where(negative, -chosen, chosen)

    def draw_codes(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Draw operations with equal probability, uint8 of a shape."""
        codes = np.array([CODES[name] for name in self.operations], np.uint8)
        drawn: np.ndarray = codes[rng.integers(len(codes), size=shape)]
        return drawn
