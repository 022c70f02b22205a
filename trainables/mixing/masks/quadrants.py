"""Four images in the four quadrants around a random point, as in RICAP."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from trainables.mixing.masks.division import Division, whole_px

if TYPE_CHECKING:
    from trainables.mixing.partners import Partners
    from trainables.mixing.size import Size


class Quadrants(Division):
    """The original above on the left, three partners in the other quadrants (Takahashi et al., ACML 2018).

    ``size`` is drawn twice per mask: for the height of the lower quadrants as a fraction of the image's, and for the
    width of the right ones. With ``size`` beta(0.3) these are the paper's boundary positions. Borders are rounded to
    the nearest pixel, as in the authors' code.

    Examples:
        >>> Quadrants().borders(np.array([[0.125, 0.375, 0.375]]), 8, 4)[0].tolist()
        [[0, 0, 2, 2], [0, 2, 2, 4], [2, 0, 8, 2], [2, 2, 8, 4]]
    """

    family: Literal["quadrants"] = "quadrants"
    n_partners: ClassVar[int | None] = 3
    sizes_per_mask: ClassVar[int] = 2

    def draw_fracs(self, size: Size, partners: Partners, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the fractions above on the right, below on the left, and below on the right: float64 [count, 3]."""
        low, right = size.draw(count, rng), size.draw(count, rng)
        return np.stack([(1 - low) * right, low * (1 - right), low * right], axis=1)

    def borders(self, fracs: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
        """Return the four quadrants; the point where they meet follows from the sums of two fractions each."""
        above_right, below_left, below_right = fracs.T
        y = whole_px(height_px, 1 - (below_left + below_right))
        x = whole_px(width_px, 1 - (above_right + below_right))
        zero, bottom, right = np.zeros_like(y), np.full_like(y, height_px), np.full_like(y, width_px)
        quadrants = [[zero, zero, y, x], [zero, x, y, right], [y, zero, bottom, x], [y, x, bottom, right]]
        return np.array(quadrants).transpose(2, 0, 1)
