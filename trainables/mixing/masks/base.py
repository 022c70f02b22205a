"""The face of a mask family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from trainables.mixing.position import Position
from trainables.strict import Frozen

if TYPE_CHECKING:
    import torch


class Mask(Frozen, ABC):
    """A family of masks: where the partner's pixels go. A subclass adds ``family: Literal[...]`` and parameters."""

    @abstractmethod
    def draw(
        self,
        pasted_frac: np.ndarray,
        *,
        height_px: int,
        width_px: int,
        position: Position,
        rng: np.random.Generator,
        device: torch.device,
    ) -> torch.Tensor:
        """Draw one mask a sample.

        Args:
            pasted_frac: wanted share of the partner, float64 [B]; the drawn mask may hold less after clipping.
            height_px: image height in pixels.
            width_px: image width in pixels.
            position: places the shape.
            rng: the only source of randomness; it lives on the host, so CPU and GPU draw the same masks.
            device: where the mask is made.

        Returns:
            Mask that broadcasts to [B, 1, H, W] on ``device``, 1 where the partner's pixel goes: bool for hard
            masks, float32 in [0, 1] for soft ones.
        """
