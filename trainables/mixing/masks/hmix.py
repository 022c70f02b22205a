"""A box on top of a blend: the mask between CutMix and Mixup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from trainables.mixing.canvas import Canvas, as_float, beside, namespace
from trainables.mixing.masks.base import Mask
from trainables.mixing.rendering import lines

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

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Draw the box, ``edges`` in whole pixels, and the mask's ``levels`` inside and outside of it."""
        sides = np.sqrt(self.inner_frac * pasted_frac) * canvas.sides_px
        edges = canvas.edges_within(canvas.position.centres(sides, canvas), sides)
        xp, frac = namespace(edges), beside(pasted_frac, edges)
        pixels = (edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1])
        area = pixels / beside(np.array([float(canvas.height_px * canvas.width_px)]), edges)
        inside = xp.clip(frac / xp.clip(area, _TINY, None), None, 1.0)
        outside = xp.clip(frac - area, 0.0, None) / xp.clip(1 - area, _TINY, None)
        return {"edges": edges, "levels": as_float(xp.stack([inside, outside], 1))}

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Return one mask per sample: float32 [B, 1, H, W]."""
        import torch

        y0, x0, y1, x1 = parameters["edges"].unbind(dim=1)
        inside, outside = parameters["levels"][:, :, None].unbind(dim=1)
        # the outer value is never the larger one, so the smaller of a row's and a column's value is right everywhere
        of_row = torch.where(lines(y0, y1, height_px), inside, outside)[:, None, :, None]
        of_column = torch.where(lines(x0, x1, width_px), inside, outside)[:, None, None, :]
        return torch.minimum(of_row, of_column)
