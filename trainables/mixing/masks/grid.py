"""Masks of whole cells of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.device_paths import on_host
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

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Choose cells, bool [B, cells, cells]; on the torus also the shift of each sample's grid, int64 [B, 2]."""
        chosen = _chosen(pasted_frac, self.cells**2, canvas.rng)
        parameters = {"chosen": chosen.reshape(-1, self.cells, self.cells)}
        if canvas.position.wraps:
            sides = (canvas.height_px, canvas.width_px)
            shifts = [canvas.rng.integers(length_px, size=(len(chosen), 1)) for length_px in sides]
            parameters["shift"] = np.concatenate(shifts, axis=1)
        return parameters

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Return the pixels of the chosen cells: bool [B, 1, H, W]."""
        import torch

        chosen, shift = parameters["chosen"], parameters.get("shift")
        device, per_side = chosen.device, self.cells
        if on_host(device):
            shifts = None if shift is None else shift.numpy()
            rows, columns = (_cells_along(axis, shifts, per_side, px) for axis, px in enumerate((height_px, width_px)))
            return torch.from_numpy(_pixels_of(chosen.numpy().reshape(-1, per_side), rows, columns)[:, None])
        index = []
        for axis, length_px in enumerate((height_px, width_px)):
            pixels = torch.arange(length_px, device=device)[None]
            if shift is not None:
                pixels = (pixels + shift[:, axis, None]) % length_px
            index.append(pixels * per_side // length_px)
        sample = torch.arange(len(chosen), device=device)[:, None, None]
        return chosen[sample, index[0][:, :, None], index[1][:, None, :]][:, None]


def _cells_along(axis: int, shifts: np.ndarray | None, per_side: int, length_px: int) -> np.ndarray:
    """Return the row (column) of cells of each row (column) of pixels: int64 [B or 1, length_px]."""
    pixels = np.arange(length_px)[None]
    if shifts is not None:
        pixels = (pixels + shifts[:, axis, None]) % length_px
    return pixels * per_side // length_px


def _chosen(pasted_frac: np.ndarray, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Choose which cells to paste, all equally likely: bool [B, cells]."""
    draws = rng.random((len(pasted_frac), cells + 1))
    n_chosen = (pasted_frac * cells + draws[:, -1]).astype(np.int64)
    keys = draws[:, :-1]  # the cells with the smallest random keys are chosen
    limit = np.sort(keys, axis=1)[np.arange(len(keys)), n_chosen - 1]
    limit[n_chosen == 0] = -1.0
    chosen: np.ndarray = keys <= limit[:, None]
    return chosen


def _pixels_of(cells: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Extend cells, bool [B * k, k], to pixels, bool [B, H, W]: first along rows, then whole rows at a time.

    Args:
        cells: the samples' cells, one below the other.
        rows: row of cells of each row of pixels, int64 [B or 1, H].
        columns: column of cells of each column of pixels, int64 [B or 1, W].
    """
    per_side = cells.shape[1]
    starts = np.arange(len(cells)).reshape(-1, per_side, 1) * per_side
    lines = cells.ravel().take(starts + columns[:, None, :], mode="clip")
    first_row = np.arange(0, len(cells), per_side)[:, None]  # the samples' cells are one below the other
    pixels: np.ndarray = lines.reshape(len(cells), -1).take(first_row + rows, axis=0, mode="clip")
    return pixels
