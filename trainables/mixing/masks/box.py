"""Rectangles: the mask of CutMix, Cutout and Random Erasing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from trainables.mixing.canvas import Canvas, namespace
from trainables.mixing.masks.base import Mask
from trainables.mixing.masks.shapes import frac_of_each, ramp
from trainables.mixing.rendering import rectangles, union

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

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Draw ``edges`` in whole pixels, int64 [B, count, 4], or with soft edges the values of rows and columns."""
        frac = frac_of_each(pasted_frac, self.count)
        sides = np.sqrt(frac) * canvas.sides_px
        if self.aspect_max > 1:
            aspect = self.aspect_max ** canvas.rng.uniform(-1.0, 1.0, size=frac.shape)
            fitting = np.maximum(frac, np.finfo(np.float64).tiny)
            stretch = np.sqrt(np.clip(aspect, fitting, 1 / fitting))
            sides *= np.stack([stretch, 1 / stretch])
        return self._soft(sides, canvas) if self.edge_px else self._hard(sides, canvas)

    def _hard(self, sides: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Place rectangles with the given height and width, float64 [2, B * count]."""
        centres = canvas.position.centres(sides, canvas)
        if self.whole_px:
            sides, centres = 2 * np.floor(sides / 2), namespace(centres).floor(centres)
        return {"edges": canvas.edges_within(centres, sides).reshape(-1, self.count, 4)}

    def _soft(self, sides: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Place rectangles with soft edges: values, float32 [B, count, H] and [B, count, W]."""
        edge = np.minimum(self.edge_px, np.minimum(sides, canvas.sides_px - sides))
        offsets = canvas.offsets(canvas.position.centres(sides + edge, canvas))
        rows, columns = (ramp(along, side, width) for along, side, width in zip(offsets, sides, edge, strict=True))
        return {
            "rows": rows.reshape(-1, self.count, rows.shape[1]),
            "columns": columns.reshape(-1, self.count, columns.shape[1]),
        }

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Return the rectangles of each sample: bool, or float32 with soft edges, [B, 1, H, W]."""
        if not self.edge_px:
            return union(rectangles(parameters["edges"], height_px, width_px), self.count)
        rows = parameters["rows"].reshape(-1, 1, height_px, 1)
        return union(rows * parameters["columns"].reshape(-1, 1, 1, width_px), self.count)
