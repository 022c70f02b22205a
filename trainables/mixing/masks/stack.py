"""Images one under another, or side by side."""

from __future__ import annotations

from typing import Literal

import numpy as np

from trainables.mixing.masks.division import Division, whole_px


class Stack(Division):
    """Bands across the whole image: the original's first, then one per partner.

    With ``source: resized`` every image is shrunk to its band, as in StackMix (Chen et al., UAI 2022), which enlarges
    the input instead. With ``source: same`` it is the "Vertical Concat" of Summers and Dinneen (WACV 2019). Borders
    are rounded to the nearest pixel.

    Attributes:
        direction: ``vertical``, one under another, or ``horizontal``, side by side.

    Examples:
        >>> Stack().borders(np.array([[0.25, 0.25]]), 8, 4)[0].tolist()
        [[0, 0, 4, 4], [4, 0, 6, 4], [6, 0, 8, 4]]
    """

    family: Literal["stack"] = "stack"
    direction: Literal["vertical", "horizontal"] = "vertical"

    def borders(self, fracs: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
        """Return the bands; each is as thick as its fraction."""
        upright = self.direction == "vertical"
        length_px = height_px if upright else width_px
        ends = np.ones((len(fracs), fracs.shape[1] + 2))
        ends[:, 0] = 0
        ends[:, 1:-1] = 1 - np.cumsum(fracs[:, ::-1], axis=1)[:, ::-1]
        lines = whole_px(length_px, ends.clip(0, 1))
        first, last = lines[:, :-1], lines[:, 1:]
        zero = np.zeros_like(first)
        edges = (first, zero, last, zero + width_px) if upright else (zero, first, zero + height_px, last)
        return np.stack(edges, axis=2)
