"""Masks that follow the annotated object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask
from trainables.mixing.rendering import rectangles

if TYPE_CHECKING:
    import torch


class Object(Mask):
    """The partner's object, cut out by its annotated box and pasted at the same place.

    The family asks whether pasted background harms CutMix: a random box often shows nothing of the object that its
    label names. Here the pasted fraction is a fraction of the object's box, not of the image. Each side of the box is
    shrunk around the centre by ``sqrt(f)`` (f = 1: the whole box), to a number of pixels rounded up or down at random
    so that the mean is exact. The pasted area and the label thus depend on the objects of the data. To compare with
    another family at equal dose, match their exposure. If the crop contains nothing of the object, nothing is pasted.
    Not taken from a publication.

    Examples:
        >>> import torch
        >>> from trainables.mixing.batch_view import BatchView
        >>> from trainables.mixing.position import WholePosition
        >>> batch = BatchView((1, 3, 8, 8), np.array([0]), boxes=np.array([[1, 2, 5, 6]]))  # (y0, x0, y1, x1)
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=8, width_px=8, position=WholePosition(), rng=rng, device=cpu,
        ...                 batch=batch, partner=np.array([0]))
        >>> mask = Object().draw(np.array([1.0]), canvas)
        >>> mask.sum().item(), mask[0, 0, 1:5, 2:6].all().item()
        (16, True)
    """

    family: Literal["object"] = "object"
    positions: ClassVar[tuple[str, ...]] = ("whole",)
    needs: ClassVar[Literal["images", "boxes"] | None] = "boxes"
    exact_area: ClassVar[bool] = False

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Shrink the partners' boxes to ``edges`` in whole pixels, int64 [B, 4]."""
        boxes = canvas.partner_boxes().T
        draws = canvas.rng.random((2, 2, len(pasted_frac)))
        lengths = np.maximum(boxes[2:] - boxes[:2], 0)
        kept = (np.sqrt(pasted_frac) * lengths + draws[0]).astype(np.int64)
        # if the remainder is odd, a random side gets the extra pixel: otherwise all boxes would be off in one direction
        starts = boxes[:2] + (lengths - kept + (draws[1] < 0.5)) // 2
        return {"edges": canvas.edges(np.concatenate([starts, starts + kept]).astype(np.float64))}

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Return the boxes: bool [B, 1, H, W]."""
        return rectangles(parameters["edges"], height_px, width_px)
