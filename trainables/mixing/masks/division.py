"""Families that divide the image into rectangles, one per image: the original is one of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.mixing.masks.base import Mask
from trainables.mixing.rendering import rectangles

if TYPE_CHECKING:
    import torch

    from trainables.mixing.canvas import Canvas


class Division(Mask):
    """A family whose rectangles cover the image once: the first shows the original, each other one a partner.

    With ``source`` displaced or resized, each image is displaced in or resized to its own rectangle, the original
    too: no image is preferred. A subclass implements :meth:`borders`.
    """

    positions: ClassVar[tuple[str, ...]] = ("whole",)
    framed: ClassVar[bool] = True
    exact_area: ClassVar[bool] = False

    @abstractmethod
    def borders(self, fracs: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
        """Return the rectangles (y0, x0, y1, x1) of the original and of each partner, in whole pixels.

        Args:
            fracs: what each partner shall show of the image, float64 [n, K].
            height_px: height of the image.
            width_px: width of the image.

        Returns:
            int64 [n, K + 1, 4]: half-open, disjoint, and together the whole image. An empty one has no pixel.
        """

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Return ``edges``, int64 [n, K + 1, 4], for the fractions of the partners, float64 [n, K] or [n]."""
        fracs = pasted_frac.reshape(len(pasted_frac), -1)
        return {"edges": self.borders(fracs, canvas.height_px, canvas.width_px)}

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Return the partners' rectangles: bool [n, K, H, W]."""
        edges = parameters["edges"][:, 1:]
        return rectangles(edges, height_px, width_px).reshape(*edges.shape[:2], height_px, width_px)


def whole_px(length_px: int, frac: np.ndarray) -> np.ndarray:
    """Return a fraction of a length in whole pixels, int64: to the nearest one, halves to the even one.

    Examples:
        >>> whole_px(10, np.array([0.04, 0.06, 0.25, 0.35])).tolist()
        [0, 1, 2, 4]
    """
    # sums of fractions carry rounding errors: without digits that mean nothing, a half stays a half
    return np.rint(np.round(length_px * frac, 9)).astype(np.int64)
