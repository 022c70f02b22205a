"""Where a shape lies in the image, axis by axis.

A position draws the centre of a shape and measures every pixel's signed distance to it. Pixel ``i`` has its centre
at ``i + 0.5``; a mask family pastes the pixels whose centres lie inside its shape. With real-valued centres the
expected pasted area is then exact, where integer sides rounded down would paste too little.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from trainables.strict import Frozen


class ClipPosition(Frozen):
    """Centre uniform over the image, what hangs over the border is cut off: the paper's rule.

    It pastes less than was drawn: with ``alpha = 1`` the mean pasted area is 0.3208, not 0.5.
    """

    kind: Literal["clip"] = "clip"

    def centre(self, side_px: np.ndarray, length_px: int, rng: np.random.Generator) -> np.ndarray:
        """Draw centres along one axis: float64 [B], for shapes of ``side_px`` [B] in ``length_px`` pixels."""
        return rng.uniform(0.0, length_px, size=side_px.shape)

    def offsets(self, centre_px: np.ndarray, length_px: int) -> np.ndarray:
        """Signed distance of each pixel's centre to the shape's centre: float64 [B, length_px]."""
        offsets: np.ndarray = np.arange(length_px) + 0.5 - centre_px[:, None]
        return offsets


class InsidePosition(ClipPosition):
    """Uniform among the places where the whole shape lies inside the image: exact area, centre-biased coverage."""

    kind: Literal["inside"] = "inside"  # type: ignore[assignment]

    def centre(self, side_px: np.ndarray, length_px: int, rng: np.random.Generator) -> np.ndarray:
        """Draw centres at least half a side from both borders: float64 [B]."""
        half = np.minimum(side_px, length_px) / 2
        centre: np.ndarray = half + rng.uniform(size=side_px.shape) * (length_px - 2 * half)
        return centre


class TorusPosition(ClipPosition):
    """Centre uniform, the shape wraps around the borders: exact area and uniform coverage."""

    kind: Literal["torus"] = "torus"  # type: ignore[assignment]

    def offsets(self, centre_px: np.ndarray, length_px: int) -> np.ndarray:
        """Signed distance on the circle of ``length_px`` pixels: float64 [B, length_px], in [-L/2, L/2)."""
        plain = super().offsets(centre_px, length_px)
        return (plain + length_px / 2) % length_px - length_px / 2


Position = Annotated[ClipPosition | InsidePosition | TorusPosition, Field(discriminator="kind")]
