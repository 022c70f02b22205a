"""Masks of random convex patches."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask
from trainables.mixing.torus_bank import below, maps_that_fit, places, shift_windows
from trainables.seeds import generator

if TYPE_CHECKING:
    import torch


class Voronoi(Mask):
    """Random convex patches: the cells of random points, where each pixel belongs to the nearest point.

    Points are uniform and distances wrap around the borders, so that all places are equally likely. Cells are pasted
    one after the other until the requested area is reached. The last one, which would overshoot, is pasted with a
    probability equal to the fraction of it that is still missing. So the mean area is exact. The family ``grid`` is the
    regular counterpart. Not taken from a publication.

    Attributes:
        cells: points per image; with 16 points, cells are about as large as those of a 4 by 4 grid.

    Examples:
        >>> import torch
        >>> from trainables.mixing.position import TorusPosition
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=16, width_px=16, position=TorusPosition(), rng=rng, device=cpu)
        >>> mask = Voronoi(cells=16).draw(np.full(500, 0.3), canvas)
        >>> mask.shape, round(mask.float().mean().item(), 1)
        (torch.Size([500, 1, 16, 16]), 0.3)
    """

    family: Literal["voronoi"] = "voronoi"
    positions: ClassVar[tuple[str, ...]] = ("torus",)
    cells: int = Field(default=16, ge=2, le=128)

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Draw a diagram of the bank and its shift, int64 [B, 3], and the number of cells to paste, int64 [B]."""
        before, areas = _areas(canvas.height_px, canvas.width_px, self.cells)
        uniform = canvas.rng.random((4, len(pasted_frac)))
        place = places(uniform[:3], len(areas), canvas)
        wanted = pasted_frac * (canvas.height_px * canvas.width_px)
        reached = before[place[:, 0]] + uniform[3][:, None] * areas[place[:, 0]]
        return {"place": place, "limit": (reached < wanted[:, None]).sum(axis=1)}

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Shift the diagrams and paste their first cells: bool [B, 1, H, W]."""
        return below(parameters["windows"], parameters["place"], parameters["limit"])

    def constants(self, height_px: int, width_px: int, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the bank of diagrams."""
        return {"windows": _bank(height_px, width_px, self.cells, device)}


@functools.lru_cache(maxsize=8)
def _bank(height_px: int, width_px: int, cells: int, device: torch.device) -> torch.Tensor:
    return shift_windows(_diagrams(height_px, width_px, cells), device)


@functools.lru_cache(maxsize=8)
def _areas(height_px: int, width_px: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels in all cells before each cell of N diagrams, and the pixels in each: int64 [N, cells] each."""
    diagrams = _diagrams(height_px, width_px, cells)
    first_label = cells * np.arange(len(diagrams))[:, None, None]
    areas = np.bincount((diagrams + first_label).ravel(), minlength=cells * len(diagrams)).reshape(-1, cells)
    return areas.cumsum(axis=1) - areas, areas


@functools.lru_cache(maxsize=8)
def _diagrams(height_px: int, width_px: int, cells: int) -> np.ndarray:
    """Return the cell of each pixel, uint8 [N, H, W].

    The points are independent, so the order of the cells is random without a shuffle.
    """
    count = maps_that_fit(height_px, width_px, 1)
    points = generator("voronoi bank").random((2, cells, count), dtype=np.float32)
    down = _squared_distances(points[0], height_px)[:, :, :, None]
    across = _squared_distances(points[1], width_px)[:, :, None, :]
    diagrams = np.empty((count, height_px, width_px), dtype=np.uint8)
    at_once = max(1, 2**16 // (height_px * width_px))  # as many as the processor's cache contains
    for start in range(0, count, at_once):
        part = slice(start, start + at_once)
        diagrams[part] = _nearest(down[:, part], across[:, part])
    return diagrams


def _squared_distances(points: np.ndarray, length_px: int) -> np.ndarray:
    """Return squared distances of pixels to points in [0, 1) on a circle: float32 [..., length_px]."""
    straight = np.abs(np.arange(0.5, length_px, dtype=np.float32) - points[..., None] * np.float32(length_px))
    distances: np.ndarray = np.minimum(straight, length_px - straight) ** 2
    return distances


def _nearest(down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the nearest point of each pixel, uint8 [n, H, W].

    Args:
        down: squared distances along the height, float32 [cells, n, H, 1].
        across: squared distances along the width, float32 [cells, n, 1, W].
    """
    least = down[0] + across[0]
    label = np.zeros(least.shape, dtype=np.uint8)
    for cell in range(1, len(down)):
        squares = down[cell] + across[cell]
        np.copyto(label, cell, where=squares < least)
        np.minimum(least, squares, out=least)
    return label
