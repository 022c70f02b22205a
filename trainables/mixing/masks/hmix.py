"""A box on top of a blend: the mask between CutMix and Mixup."""

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
    """The partner alone in a box of the fraction ``r*f``, and a blend outside, so that the mean is f.

    HMix of Park et al. (NeurIPS 2022, arXiv 2208.09913). A is the box's fraction of the image after clipping and
    rounding, and the mask value outside is ``(f - A) / (1 - A)``. The mean over the image is therefore exactly f at
    every place of the box: the blend compensates for the clipped part. So ``r = 1`` is CutMix only if nothing is cut
    off. If rounding to pixels makes A larger than f, the mask is 0 outside and ``f / A`` in the box.

    Attributes:
        inner_frac: r, the fraction of f that the box is drawn with: 0 is Mixup, 1 is CutMix.

    Examples:
        >>> import torch
        >>> from trainables.mixing.position import InsidePosition
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=32, width_px=32, position=InsidePosition(), rng=rng, device=cpu)
        >>> mask = HMix(inner_frac=0.5).draw(np.array([0.5]), canvas)  # a box of 16 by 16 pixels
        >>> (mask == 1).sum().item(), round(mask.mean().item(), 4), round(mask.min().item(), 4)
        (256, 0.5, 0.3333)
    """

    family: Literal["hmix"] = "hmix"
    inner_frac: float = Field(default=0.5, ge=0, le=1)

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Draw one mask per sample: float32 [B, 1, H, W]."""
        import torch

        sides = np.sqrt(self.inner_frac * pasted_frac) * canvas.sides_px
        centres = canvas.position.centres(sides, canvas)
        rows, columns = (canvas.lines_within(axis, centres, sides) for axis in (ROWS, COLUMNS))
        pixels = np.count_nonzero(rows, axis=1) * np.count_nonzero(columns, axis=1)
        area = pixels / (canvas.height_px * canvas.width_px)
        inside = np.minimum(pasted_frac / np.maximum(area, _TINY), 1.0)
        outside = np.maximum(pasted_frac - area, 0.0) / np.maximum(1 - area, _TINY)
        # the outer value is never the larger one, so the smaller of a row's and a column's value is right everywhere
        of_row = canvas.on_device(_levels(rows, inside, outside))[:, None, :, None]
        of_column = canvas.on_device(_levels(columns, inside, outside))[:, None, None, :]
        return torch.minimum(of_row, of_column)


def _levels(lines: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return the value ``inside``, [B], on chosen lines, bool [B, L], and ``outside`` on the rest: float32 [B, L]."""
    return np.where(lines, inside.astype(np.float32)[:, None], outside.astype(np.float32)[:, None])
