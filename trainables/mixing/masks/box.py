"""Rectangles: the mask of CutMix, Cutout and Random Erasing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from trainables.mixing.masks.base import Canvas, Mask

if TYPE_CHECKING:
    import torch


class Box(Mask):
    """A rectangle of the image's own proportions: sides ``H*sqrt(f)`` and ``W*sqrt(f)`` (Yun et al., equation 2).

    With ``aspect_max > 1`` the height is stretched and the width shrunk by ``sqrt(a)``, ``a`` log-uniform on
    ``[1/aspect_max, aspect_max]`` (Zhong et al., AAAI 2020), no further than the image allows, so that the area
    stays what was asked for.
    """

    family: Literal["box"] = "box"
    aspect_max: float = Field(default=1.0, ge=1)

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Draw one rectangle a sample: bool [B, 1, H, W]."""
        import torch

        stretch = np.ones_like(pasted_frac)
        if self.aspect_max > 1:
            aspect = self.aspect_max ** canvas.rng.uniform(-1.0, 1.0, size=pasted_frac.shape)
            fitting = np.maximum(pasted_frac, np.finfo(np.float64).tiny)
            stretch = np.sqrt(np.clip(aspect, fitting, 1 / fitting))
        side = np.sqrt(pasted_frac)
        rows = _span(side * stretch * canvas.height_px, canvas.height_px, canvas)
        columns = _span(side / stretch * canvas.width_px, canvas.width_px, canvas)
        inside = rows[:, None, :, None] & columns[:, None, None, :]
        return torch.from_numpy(inside).to(canvas.device, non_blocking=True)


def _span(side_px: np.ndarray, length_px: int, canvas: Canvas) -> np.ndarray:
    """Pixels along one axis whose centres lie within half a side of a drawn centre: bool [B, length_px]."""
    offsets = canvas.position.offsets(canvas.position.centre(side_px, length_px, canvas.rng), length_px)
    inside: np.ndarray = np.abs(offsets) < side_px[:, None] / 2
    return inside
