"""Rectangles: the mask of CutMix, Cutout and Random Erasing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask
from trainables.mixing.masks.shapes import COLUMNS, ROWS, frac_of_each, ramp, union

if TYPE_CHECKING:
    import torch


class Box(Mask):
    """Rectangles of the image's own proportions: sides ``H*sqrt(f)`` and ``W*sqrt(f)`` (Yun et al., equation 2).

    Attributes:
        aspect_max: above 1, the height is stretched and the width shrunk by ``sqrt(a)``, ``a`` log-uniform on
            ``[1/aspect_max, aspect_max]`` (Zhong et al., AAAI 2020), no further than the image allows, so that the
            area stays what was asked for.
        count: rectangles of equal size, each placed by itself. Each has the fraction ``1 - (1 - f)^(1/count)``, so
            that what they cover together is f in the mean where places are uniform (torus).
        edge_px: width of a linear ramp across each border, no wider than the rectangle or what is left beside it,
            so that the area stays.
        whole_px: sides and centres rounded down to whole pixels, as published code does: it pastes less.
    """

    family: Literal["box"] = "box"
    framed: ClassVar[bool] = True
    aspect_max: float = Field(default=1.0, ge=1)
    count: int = Field(default=1, ge=1, le=64)
    edge_px: float = Field(default=0.0, ge=0)
    whole_px: bool = False

    @model_validator(mode="after")
    def _no_soft_pixels(self) -> Box:
        if self.whole_px and self.edge_px:
            raise ValueError("whole_px rounds borders to pixels and edge_px softens them: drop one of them")
        return self

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Draw the rectangles of each sample: bool, or with soft edges float32, [B, 1, H, W]."""
        return union(self._rectangles(frac_of_each(pasted_frac, self.count), canvas), self.count, canvas)

    def _rectangles(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        sides = np.sqrt(pasted_frac) * canvas.sides_px
        if self.aspect_max > 1:
            aspect = self.aspect_max ** canvas.rng.uniform(-1.0, 1.0, size=pasted_frac.shape)
            fitting = np.maximum(pasted_frac, np.finfo(np.float64).tiny)
            stretch = np.sqrt(np.clip(aspect, fitting, 1 / fitting))
            sides *= np.stack([stretch, 1 / stretch])
        if self.edge_px:
            return self._soft(sides, canvas)
        centres = canvas.position.centres(sides, canvas)
        if self.whole_px:
            sides, centres = 2 * np.floor(sides / 2), np.floor(centres)
        return canvas.cross(*(canvas.lines_within(axis, centres, sides) for axis in (ROWS, COLUMNS)))

    def _soft(self, sides: np.ndarray, canvas: Canvas) -> torch.Tensor:
        edge = np.minimum(self.edge_px, np.minimum(sides, canvas.sides_px - sides))
        centres = canvas.position.centres(sides + edge, canvas)
        rows, columns = (
            canvas.on_device(ramp(offsets, side, width))
            for offsets, side, width in zip(canvas.offsets(centres), sides, edge, strict=True)
        )
        return rows[:, None, :, None] * columns[:, None, None, :]
