"""Masks of whole cells of a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask

if TYPE_CHECKING:
    import torch


class Grid(Mask):
    """Some cells of a regular grid (GridMix: Baek et al., Pattern Recognition 109, 2021), the mask alone.

    The image is cut into ``cells`` by ``cells`` parts, as equal as whole pixels allow; a random subset is pasted. Its
    size is ``f * cells^2``, rounded up or down at random so that the mean area is exact. The paper's loss on the
    label of each cell is not part of it. In place ``whole`` the grid begins at the border; in place ``torus`` every
    sample's is shifted by itself and wraps around.

    Attributes:
        cells: cells along each side.
    """

    family: Literal["grid"] = "grid"
    positions: ClassVar[tuple[str, ...]] = ("whole", "torus")
    cells: int = Field(default=4, ge=1, le=64)

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Choose cells and paint them: bool [B, 1, H, W]."""
        chosen = _chosen(pasted_frac, self.cells**2, canvas.rng)
        rows, columns = (
            self._cell_of_pixel(len(chosen), length_px, canvas) for length_px in (canvas.height_px, canvas.width_px)
        )
        first_row = np.arange(len(chosen))[:, None] * self.cells  # of each sample's cells, all laid one below the other
        if canvas.on_host:
            painted = _painted(chosen.reshape(-1, self.cells), first_row, rows, columns)
            return canvas.on_device(painted[:, None])
        rows_there, columns_there = (canvas.on_device(cells) for cells in (first_row + rows, columns))
        cells_there = canvas.on_device(chosen).view(-1, self.cells)
        return cells_there[rows_there[:, None, :, None], columns_there[:, None, None]]

    def _cell_of_pixel(self, count: int, length_px: int, canvas: Canvas) -> np.ndarray:
        """Return the row or column of cells that each row or column of pixels is in: int64 [B or 1, length_px]."""
        pixels = np.arange(length_px)[None]
        if canvas.position.wraps:
            pixels = (pixels + canvas.rng.integers(length_px, size=(count, 1))) % length_px
        return pixels * self.cells // length_px


def _chosen(pasted_frac: np.ndarray, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Choose which cells to paste, each as likely as any other: bool [B, cells]."""
    draws = rng.random((len(pasted_frac), cells + 1))
    wanted = (pasted_frac * cells + draws[:, -1]).astype(np.int64)
    lots = draws[:, :-1]
    greatest = np.sort(lots, axis=1)[np.arange(len(lots)), wanted - 1]
    greatest[wanted == 0] = -1.0
    chosen: np.ndarray = lots <= greatest[:, None]
    return chosen


def _painted(cells: np.ndarray, first_row: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Spread cells, bool [B * k, k], over pixels, bool [B, H, W]: along rows, then whole rows at a time.

    Args:
        cells: the samples' cells, one below the other.
        first_row: where each sample's begin, int64 [B, 1].
        rows: row of cells of each row of pixels, int64 [B or 1, H].
        columns: column of cells of each column of pixels, int64 [B or 1, W].
    """
    per_side = cells.shape[1]
    starts = np.arange(len(cells)).reshape(-1, per_side, 1) * per_side
    spread = cells.ravel().take(starts + columns[:, None, :], mode="clip")
    painted: np.ndarray = spread.reshape(len(cells), -1).take(first_row + rows, axis=0, mode="clip")
    return painted
