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
    """Rectangles with the image's proportions: sides ``H*sqrt(f)`` and ``W*sqrt(f)`` (Yun et al., equation 2).

    Attributes:
        aspect_max: above 1, the height is stretched and the width shrunk by ``sqrt(a)``, ``a`` log-uniform on
            ``[1/aspect_max, aspect_max]`` (Zhong et al., AAAI 2020), no further than the image allows, so that the
            area stays the requested one.
        count: rectangles of equal size, each placed independently. Each has the fraction ``1 - (1 - f)^(1/count)``,
            so that together they cover f on average if places are uniform (torus).
        edge_px: width of a linear ramp across each border, no wider than the rectangle or the rest of the axis, so
            that the area stays the same.
        whole_px: sides and centres are rounded down to whole pixels, as in published code: less is pasted.

    Examples:
        >>> import torch
        >>> from trainables.mixing.position import InsidePosition
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=8, width_px=8, position=InsidePosition(), rng=rng, device=cpu)
        >>> mask = Box().draw(np.array([0.25, 1.0]), canvas)
        >>> mask.sum(dim=(1, 2, 3)).tolist()  # a quarter of 64 pixels, and all
        [16, 64]
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
            raise ValueError(
                f"whole_px is true and edge_px is {self.edge_px}, but whole_px rounds borders to pixels and edge_px "
                "softens them: leave one of them out"
            )
        return self

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Draw the rectangles of each sample: bool, or float32 with soft edges, [B, 1, H, W]."""
        frac = frac_of_each(pasted_frac, self.count)
        sides = np.sqrt(frac) * canvas.sides_px
        if self.aspect_max > 1:
            aspect = self.aspect_max ** canvas.rng.uniform(-1.0, 1.0, size=frac.shape)
            fitting = np.maximum(frac, np.finfo(np.float64).tiny)
            stretch = np.sqrt(np.clip(aspect, fitting, 1 / fitting))
            sides *= np.stack([stretch, 1 / stretch])
        return union(self._soft(sides, canvas) if self.edge_px else self._hard(sides, canvas), self.count, canvas)

    def _hard(self, sides: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Place rectangles with the given height and width, float64 [2, n]: bool [n, 1, H, W]."""
        centres = canvas.position.centres(sides, canvas)
        if self.whole_px:
            sides, centres = 2 * np.floor(sides / 2), np.floor(centres)
        return canvas.cross(*(canvas.lines_within(axis, centres, sides) for axis in (ROWS, COLUMNS)))

    def _soft(self, sides: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Place rectangles with soft edges: float32 [n, 1, H, W]."""
        edge = np.minimum(self.edge_px, np.minimum(sides, canvas.sides_px - sides))
        centres = canvas.position.centres(sides + edge, canvas)
        rows, columns = (
            canvas.on_device(ramp(offsets, side, width))
            for offsets, side, width in zip(canvas.offsets(centres), sides, edge, strict=True)
        )
        return rows[:, None, :, None] * columns[:, None, None, :]
