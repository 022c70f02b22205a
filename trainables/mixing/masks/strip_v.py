"""Vertical bands across the whole image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask
from trainables.mixing.masks.shapes import COLUMNS, bands, render_bands

if TYPE_CHECKING:
    import torch


class StripV(Mask):
    """Vertical bands of width ``W*f``, placed along one axis only.

    "Horizontal Concat" of Summers and Dinneen (WACV 2019) with a random place: there the partner's part always
    begins at the border. The area is that of CutMix's box (Yun et al., ICCV 2019, equation 2), but the length of the
    border does not depend on the area.

    Attributes:
        count: bands of equal width, each placed independently. Each has the fraction ``1 - (1 - f)^(1/count)``, so that
            together they cover f on average if places are uniform (torus).
        edge_px: width of a linear ramp across each border, no wider than the band or the rest of the axis, so that
            the area stays the same.

    Examples:
        >>> import torch
        >>> from trainables.mixing.position import InsidePosition
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=8, width_px=8, position=InsidePosition(), rng=rng, device=cpu)
        >>> mask = StripV().draw(np.array([0.25]), canvas)[0, 0]
        >>> mask.any(dim=1).sum().item(), mask.any(dim=0).sum().item()  # rows, columns
        (8, 2)
    """

    family: Literal["strip_v"] = "strip_v"
    framed: ClassVar[bool] = True
    count: int = Field(default=1, ge=1, le=64)
    edge_px: float = Field(default=0.0, ge=0)

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Draw the places of the bands; see :func:`~trainables.mixing.masks.shapes.bands`."""
        return bands(pasted_frac, canvas, axis=COLUMNS, count=self.count, edge_px=self.edge_px)

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Return the bands of each sample: bool, or float32 with soft edges, [B, 1, H, W]."""
        return render_bands(parameters, COLUMNS, height_px, width_px)
