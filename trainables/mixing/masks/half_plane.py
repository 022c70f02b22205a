"""One side of a straight cut through the image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask
from trainables.mixing.masks.shapes import render_spans, spans

if TYPE_CHECKING:
    import torch

_TINY = 1e-12


class HalfPlane(Mask):
    """One side of a straight line of random direction; the line is placed so that the side has the fraction f.

    The family has the shortest border for its area. Both images stay in one piece, and each piece reaches the image's
    edge. "Vertical Concat" and "Horizontal Concat" of Summers and Dinneen (WACV 2019) are its cuts along the axes;
    random directions are not taken from a publication. The direction is uniform on the image stretched to a square. The
    fraction on one side of a cut at the angle a is then the distribution function of a trapezoid of widths ``|cos a|``
    and ``|sin a|``.

    Examples:
        >>> import torch
        >>> from trainables.mixing.position import WholePosition
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=32, width_px=32, position=WholePosition(), rng=rng, device=cpu)
        >>> mask = HalfPlane().draw(np.full(100, 0.3), canvas)
        >>> round(mask.float().mean().item(), 2)
        0.3
    """

    family: Literal["half_plane"] = "half_plane"
    positions: ClassVar[tuple[str, ...]] = ("whole",)

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Draw one cut per sample, as a run of pixels per row."""
        angle = 2 * math.pi * canvas.rng.random(len(pasted_frac))
        down, across = np.sin(angle), np.cos(angle)
        across = np.where(np.abs(across) < _TINY, _TINY, across)
        cut = _cut(pasted_frac, np.abs(down), np.abs(across))
        rows = (np.arange(canvas.height_px) + 0.5) / canvas.height_px - 0.5
        meets = (cut[:, None] - rows * down[:, None]) / across[:, None]  # the column where the line crosses each row
        column = np.clip(np.ceil((meets + 0.5) * canvas.width_px - 0.5), 0, canvas.width_px)
        left = across[:, None] > 0
        start, stop = np.where(left, 0, column), np.where(left, column, canvas.width_px)
        return spans(start, stop, 1, canvas)

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Return one side of each cut: bool [B, 1, H, W]."""
        return render_spans(parameters, width_px)


def _cut(frac: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return u such that ``one * y + other * x < u`` holds for a fraction of the unit square around 0: float64 [B].

    The density of the sum of two uniform numbers is a trapezoid: a plateau of height ``1 / large`` between two slopes
    as wide as the smaller part, each with the probability ``small / (2 * large)``.
    """
    small, large = np.minimum(one, other), np.maximum(one, other)
    tail = np.minimum(frac, 1 - frac)
    slope = np.sqrt(2 * small * large * tail)
    plateau = small / 2 + large * tail
    reach = np.where(2 * large * tail < small, slope, plateau)
    cut: np.ndarray = np.where(frac < 0.5, -1, 1) * ((one + other) / 2 - reach)
    return cut
