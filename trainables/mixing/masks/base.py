"""The face of a mask family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from trainables.mixing.position import PLACING
from trainables.strict import Frozen

if TYPE_CHECKING:
    import torch

    from trainables.mixing.canvas import Canvas


class Mask(Frozen, ABC):
    """A family of masks: where the partner's pixels go. A subclass adds ``family: Literal[...]`` and parameters.

    Attributes:
        positions: names of the placing rules that make sense for the family.
        framed: whether a mask has a bounding box that a resized partner could fill.
        looks_at: what of the partners the family needs to see: ``images``, ``boxes`` or nothing.
        exact_area: whether, with the family's default parameters, the mean share of what is pasted is the wanted one
            wherever nothing is cut off (torus, inside and whole). The contract suite holds a family to it.
    """

    positions: ClassVar[tuple[str, ...]] = PLACING
    framed: ClassVar[bool] = False
    looks_at: ClassVar[Literal["images", "boxes"] | None] = None
    exact_area: ClassVar[bool] = True

    @abstractmethod
    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Draw one mask a sample.

        Args:
            pasted_frac: wanted share of the partner, float64 [B]; the drawn mask may hold less after clipping.
            canvas: what it is drawn on.

        Returns:
            Mask that broadcasts to [B, 1, H, W] on the canvas's device, 1 where the partner's pixel goes: bool for
            hard masks, float32 in [0, 1] for soft ones.
        """
