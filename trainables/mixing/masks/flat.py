"""The constant mask: both images everywhere, as in Mixup."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask

if TYPE_CHECKING:
    import torch


class Flat(Mask):
    """The same weight at every pixel: ``x = lam * a + (1 - lam) * b`` (Zhang et al., ICLR 2018, equation 1)."""

    family: Literal["flat"] = "flat"
    positions: ClassVar[tuple[str, ...]] = ("whole",)

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Return the pasted fraction as a mask: float32 [B, 1, 1, 1]."""
        return canvas.on_device(pasted_frac.astype(np.float32))[:, None, None, None]
