"""Masks of random convex patches."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask
from trainables.mixing.torus_bank import TorusBank, maps_that_fit
from trainables.seeds import generator

if TYPE_CHECKING:
    import torch


class Voronoi(Mask):
    """Patches that are no rectangles: the cells of random points, each pixel going to the nearest one.

    Points are uniform and distances wrap around the borders, so that no place is favoured. Cells are pasted one after
    the other until the wanted area is reached; the one that would overshoot is pasted with the probability of the
    share that is wanted of it, so that the mean area is exact. The grid is its regular counterpart.
    Not taken from a publication. Not
    taken from a publication.

    Attributes:
        cells: points an image; 16 have cells about as large as those of a 4 by 4 grid.
    """

    family: Literal["voronoi"] = "voronoi"
    positions: ClassVar[tuple[str, ...]] = ("torus",)
    cells: int = Field(default=16, ge=2, le=128)

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Draw diagrams from a bank, shift them and paste their first cells: bool [B, 1, H, W]."""
        bank, before, areas = _bank(canvas.height_px, canvas.width_px, self.cells, canvas.device)
        uniform = canvas.rng.random((4, len(pasted_frac)))
        places = bank.places(uniform[:3])
        wanted = pasted_frac * (canvas.height_px * canvas.width_px)
        reached = before[places[0]] + uniform[3][:, None] * areas[places[0]]
        return bank.below((reached < wanted[:, None]).sum(axis=1), places, canvas)


@functools.lru_cache(maxsize=8)
def _bank(height_px: int, width_px: int, cells: int, device: torch.device) -> tuple[TorusBank, np.ndarray, np.ndarray]:
    """Return diagrams, the pixels in the cells before each cell, and in each: the latter int64 [N, cells]."""
    diagrams = _diagrams(height_px, width_px, cells)
    first_label = cells * np.arange(len(diagrams))[:, None, None]
    areas = np.bincount((diagrams + first_label).ravel(), minlength=cells * len(diagrams)).reshape(-1, cells)
    return TorusBank.of(diagrams, device), areas.cumsum(axis=1) - areas, areas


def _diagrams(height_px: int, width_px: int, cells: int) -> np.ndarray:
    """Return the cell of each pixel, uint8 [N, H, W]. Points have no order, so the cells' order is random as it is."""
    count = maps_that_fit(height_px, width_px, 1)
    points = generator("voronoi bank").random((2, cells, count), dtype=np.float32)
    down = _squared_distances(points[0], height_px)[:, :, :, None]
    across = _squared_distances(points[1], width_px)[:, :, None, :]
    diagrams = np.empty((count, height_px, width_px), dtype=np.uint8)
    at_once = max(1, 2**16 // (height_px * width_px))  # what the processor's cache holds
    for start in range(0, count, at_once):
        part = slice(start, start + at_once)
        diagrams[part] = _nearest(down[:, part], across[:, part])
    return diagrams


def _squared_distances(points: np.ndarray, length_px: int) -> np.ndarray:
    """Return squares of the pixels' distances to points, given in [0, 1), around a circle: float32 [..., length_px]."""
    straight = np.abs(np.arange(0.5, length_px, dtype=np.float32) - points[..., None] * np.float32(length_px))
    distances: np.ndarray = np.minimum(straight, length_px - straight) ** 2
    return distances


def _nearest(down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the nearest point of each pixel, uint8 [n, H, W], of squares [cells, n, H, 1] and [cells, n, 1, W]."""
    least = down[0] + across[0]
    label = np.zeros(least.shape, dtype=np.uint8)
    for cell in range(1, len(down)):
        squares = down[cell] + across[cell]
        np.copyto(label, cell, where=squares < least)
        np.minimum(least, squares, out=least)
    return label
