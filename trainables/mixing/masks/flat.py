"""The constant mask: both images everywhere, as in Mixup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask

if TYPE_CHECKING:
    import torch


class Flat(Mask):
    """The same value at every pixel: ``x = lam * a + (1 - lam) * b`` (Zhang et al., ICLR 2018, equation 1).

    Examples:
        >>> import torch
        >>> from trainables.mixing.position import WholePosition
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=8, width_px=8, position=WholePosition(), rng=rng, device=cpu)
        >>> mask = Flat().draw(np.array([0.25]), canvas)
        >>> mask.shape, mask.item()  # one value, broadcast over the image
        (torch.Size([1, 1, 1, 1]), 0.25)
    """

    family: Literal["flat"] = "flat"
    positions: ClassVar[tuple[str, ...]] = ("whole",)

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Return the pasted fraction, float32 [B]: nothing else is random."""
        return {"frac": pasted_frac.astype(np.float32)}

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Return the pasted fraction as a mask: float32 [B, 1, 1, 1]."""
        return parameters["frac"][:, None, None, None]
