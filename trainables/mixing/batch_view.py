"""What a draw may look at."""

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
        labels: classes, int64 [B], on the host: pairing by class needs them there.
        images: normalised images [B, C, H, W] on the device; None where no policy looks at them.
        boxes: each object's (y0, x0, y1, x1) in half-open pixels, int64 [B, 4], on the host, after crop and flip;
            empty where the crop left nothing of it. None: the data have none.
    """

    shape: tuple[int, int, int, int]
    labels: np.ndarray
    images: Tensor | None = None
    boxes: np.ndarray | None = None
