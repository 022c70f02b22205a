"""Masks that follow the annotated object."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask

if TYPE_CHECKING:
    import torch


class Object(Mask):
    """The partner's object, cut out by its annotated box and pasted where it stands.

    It asks whether CutMix loses by pasting background: a random box often shows nothing of what its label names. Here
    the pasted fraction is a share of the object's box, not of the image: the box is shrunk about its centre by
    ``sqrt(f)`` a side (1 is all of it), to a number of pixels rounded up or down at random so that the mean is exact.
    How much of the image is pasted, and how much the label moves, thus follows the objects of the data; to compare
    with another family at equal dose, match their exposure. Where the crop left nothing of the object nothing is
    pasted. Not taken from a publication.
    """

    family: Literal["object"] = "object"
    positions: ClassVar[tuple[str, ...]] = ("whole",)
    looks_at: ClassVar[Literal["images", "boxes"] | None] = "boxes"
    exact_area: ClassVar[bool] = False

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Shrink the partners' boxes: bool [B, 1, H, W]."""
        boxes = canvas.partner_boxes().T
        draws = canvas.rng.random((2, 2, len(pasted_frac)))
        lengths = np.maximum(boxes[2:] - boxes[:2], 0)
        kept = (np.sqrt(pasted_frac) * lengths + draws[0]).astype(np.int64)
        # an odd remainder leaves one pixel more on either side, at random
        starts = boxes[:2] + (lengths - kept + (draws[1] < 0.5)) // 2
        rows, columns = (
            (np.arange(length) >= start[:, None]) & (np.arange(length) < (start + side)[:, None])
            for length, start, side in zip((canvas.height_px, canvas.width_px), starts, kept, strict=True)
        )
        return canvas.cross(rows, columns)
