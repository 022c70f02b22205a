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
    """Some cells of a regular grid: the mask of GridMix (Baek et al., Pattern Recognition 109, 2021).

    The image is cut into ``cells`` by ``cells`` parts, as equal as whole pixels allow; a random subset is pasted. The
    size of the subset is ``f * cells^2``, rounded up or down at random so that the mean area is exact. The paper's loss
    on the label of each cell is not included. At position ``whole`` the grid begins at the border. At position
    ``torus`` each sample has a random shift and the grid wraps around.

    Attributes:
        cells: cells along each side.

    Examples:
        >>> import torch
        >>> from trainables.mixing.position import WholePosition
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=8, width_px=8, position=WholePosition(), rng=rng, device=cpu)
        >>> Grid(cells=4).draw(np.array([0.25, 0.5]), canvas).sum(dim=(1, 2, 3)).tolist()  # cells of 4 pixels
        [16, 32]
    """

    family: Literal["grid"] = "grid"
    positions: ClassVar[tuple[str, ...]] = ("whole", "torus")
    cells: int = Field(default=4, ge=1, le=64)

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Choose cells and return their pixels: bool [B, 1, H, W]."""
        chosen = _chosen(pasted_frac, self.cells**2, canvas.rng)
        rows, columns = (
            self._cell_of_pixel(len(chosen), length_px, canvas) for length_px in (canvas.height_px, canvas.width_px)
        )
        first_row = np.arange(len(chosen))[:, None] * self.cells  # the samples' cells are stacked one below the other
        if canvas.on_host:
            pixels = _pixels_of(chosen.reshape(-1, self.cells), first_row, rows, columns)
            return canvas.on_device(pixels[:, None])
        row_index, column_index = (canvas.on_device(index) for index in (first_row + rows, columns))
        stacked = canvas.on_device(chosen).view(-1, self.cells)
        return stacked[row_index[:, None, :, None], column_index[:, None, None]]

    def _cell_of_pixel(self, count: int, length_px: int, canvas: Canvas) -> np.ndarray:
        """Return the row (column) of cells of each row (column) of pixels: int64 [B or 1, length_px]."""
        pixels = np.arange(length_px)[None]
        if canvas.position.wraps:
            pixels = (pixels + canvas.rng.integers(length_px, size=(count, 1))) % length_px
        return pixels * self.cells // length_px


def _chosen(pasted_frac: np.ndarray, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Choose which cells to paste, all equally likely: bool [B, cells]."""
    draws = rng.random((len(pasted_frac), cells + 1))
    n_chosen = (pasted_frac * cells + draws[:, -1]).astype(np.int64)
    keys = draws[:, :-1]  # the cells with the smallest random keys are chosen
    limit = np.sort(keys, axis=1)[np.arange(len(keys)), n_chosen - 1]
    limit[n_chosen == 0] = -1.0
    chosen: np.ndarray = keys <= limit[:, None]
    return chosen


def _pixels_of(cells: np.ndarray, first_row: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Extend cells, bool [B * k, k], to pixels, bool [B, H, W]: first along rows, then whole rows at a time.

    Args:
        cells: the samples' cells, one below the other.
        first_row: the row at which each sample's cells begin, int64 [B, 1].
        rows: row of cells of each row of pixels, int64 [B or 1, H].
        columns: column of cells of each column of pixels, int64 [B or 1, W].
    """
    per_side = cells.shape[1]
    starts = np.arange(len(cells)).reshape(-1, per_side, 1) * per_side
    lines = cells.ravel().take(starts + columns[:, None, :], mode="clip")
    pixels: np.ndarray = lines.reshape(len(cells), -1).take(first_row + rows, axis=0, mode="clip")
    return pixels
