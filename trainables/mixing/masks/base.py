"""The abstract base of mask families."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from trainables.mixing.position import PLACING
from trainables.parts import name_by_import_path
from trainables.strict import Frozen

if TYPE_CHECKING:
    import torch

    from trainables.mixing.canvas import Canvas


class Mask(Frozen, ABC):
    """A family of masks: where the partner's pixels are pasted.

    A new family is one file in this folder, named like the family. It subclasses this class, declares
    ``family: Literal["..."] = "..."`` and its parameters, and implements :meth:`draw`. The study schema, the checks
    of policies, the dose, the preview and the contract tests find it there.

    A family outside this package declares no ``family``: a study names it ``package.module:Class``.

    Attributes:
        family: name in a study file; a subclass declares it as a ``Literal`` with a default.
        positions: names of the placing rules that the family supports.
        framed: whether a mask has a bounding box that a resized partner can fill.
        needs: what the family must know of the partners: ``images``, ``boxes`` or nothing.
        exact_area: whether, with the family's default parameters, the mean pasted fraction equals the requested one
            wherever nothing is cut off (torus, inside and whole). The contract tests verify it.
    """

    positions: ClassVar[tuple[str, ...]] = PLACING
    framed: ClassVar[bool] = False
    needs: ClassVar[Literal["images", "boxes"] | None] = None
    exact_area: ClassVar[bool] = True
    family: str

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Name a family from outside this package by its import path."""
        super().__pydantic_init_subclass__(**kwargs)
        name_by_import_path(cls, "family")

    @abstractmethod
    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Draw one mask per sample.

        Args:
            pasted_frac: requested fraction of the image, float64 [B]; clipping may make the drawn mask smaller.
            canvas: size of the image, placing rule, generator and device.

        Returns:
            Mask that broadcasts to [B, 1, H, W] on the canvas's device, 1 at the partner's pixels: bool for hard
            masks, float32 in [0, 1] for soft ones.
        """
