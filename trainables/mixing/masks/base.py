"""The face of a mask family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainables.mixing.position import Position
from trainables.strict import Frozen

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Canvas:
    """What a batch of masks is drawn on.

    Attributes:
        height_px: height of the images.
        width_px: width of the images.
        position: places a shape.
        rng: the only source of randomness; it lives on the host, so that CPU and GPU draw the same masks.
        device: where masks are made.
    """

    height_px: int
    width_px: int
    position: Position
    rng: np.random.Generator
    device: torch.device


class Mask(Frozen, ABC):
    """A family of masks: where the partner's pixels go. A subclass adds ``family: Literal[...]`` and parameters."""

    @abstractmethod
    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Draw one mask a sample.

        Args:
            pasted_frac: wanted share of the partner, float64 [B]; the drawn mask may hold less after clipping.
            canvas: what it is drawn on.

        Returns:
            Mask that broadcasts to [B, 1, H, W] on the canvas's device, 1 where the partner's pixel goes: bool for
            hard masks, float32 in [0, 1] for soft ones.
        """
