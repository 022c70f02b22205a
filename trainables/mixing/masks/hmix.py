"""A box in front of a blend: the mask between CutMix and Mixup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask
from trainables.mixing.masks.shapes import COLUMNS, ROWS

if TYPE_CHECKING:
    import torch

_TINY = np.finfo(np.float64).tiny


class HMix(Mask):
    """The partner alone in a box of the fraction ``r*f``, and blended in outside so that the mean is f.

    HMix of Park et al. (NeurIPS 2022, arXiv 2208.09913): with A the box's share of the image after clipping and
    rounding, the weight outside is ``(f - A) / (1 - A)``. The mean over the image is therefore exactly f, wherever
    the box lies: what clipping takes from the box goes into the blend. So ``r = 1`` is CutMix only where nothing is
    cut off. Where rounding to pixels makes A larger than f, nothing is blended in outside and the box is given the
    weight ``f / A``.

    Attributes:
        inner_frac: r, the part of f that the box is drawn with: 0 is Mixup, 1 is CutMix.
    """

    family: Literal["hmix"] = "hmix"
    inner_frac: float = Field(default=0.5, ge=0, le=1)

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Draw one mask a sample: float32 [B, 1, H, W]."""
        sides = np.sqrt(self.inner_frac * pasted_frac) * canvas.sides_px
        centres = canvas.position.centres(sides, canvas)
        rows, columns = (canvas.lines_within(axis, centres, sides) for axis in (ROWS, COLUMNS))
        pixels = np.count_nonzero(rows, axis=1) * np.count_nonzero(columns, axis=1)
        area = pixels / (canvas.height_px * canvas.width_px)
        inside = np.minimum(pasted_frac / np.maximum(area, _TINY), 1.0)
        outside = np.maximum(pasted_frac - area, 0.0) / np.maximum(1 - area, _TINY)
        return _lesser(_levels(rows, inside, outside), _levels(columns, inside, outside), canvas)


def _levels(lines: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return the one weight, [B], for chosen lines, bool [B, L], and the other for the rest: float32 [B, L]."""
    return np.where(lines, inside.astype(np.float32)[:, None], outside.astype(np.float32)[:, None])


def _lesser(rows: np.ndarray, columns: np.ndarray, canvas: Canvas) -> torch.Tensor:
    """Return the smaller of a row's and a column's weight, the inner one where both are inside: [B, 1, H, W]."""
    import torch

    return torch.minimum(canvas.on_device(rows)[:, None, :, None], canvas.on_device(columns)[:, None, None, :])
