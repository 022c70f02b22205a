"""The facts about a batch that a draw may depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class BatchView:
    """The batch that is about to be mixed.

    Attributes:
        shape: (B, C, H, W) of what is mixed: images, or maps inside the network.
        labels: classes, int64 [B], on the host because pairing by class is computed there.
        images: normalised images [B, C, H, W] on the device; None if no policy needs them.
        boxes: each object's (y0, x0, y1, x1) in half-open pixels, int64 [B, 4], on the host, after crop and flip;
            empty if the crop contains nothing of the object. None if the data have no boxes.
    """

    shape: tuple[int, int, int, int]
    labels: np.ndarray
    images: Tensor | None = None
    boxes: np.ndarray | None = None
