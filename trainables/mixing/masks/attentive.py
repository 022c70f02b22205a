"""Masks of the cells to which the network attends most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.mixing.batch_view import MapKind
from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask
from trainables.mixing.rendering import cells_as_pixels

if TYPE_CHECKING:
    import torch


class Attentive(Mask):
    """The cells with the highest values in the partner's map: Attentive CutMix (Walawalkar et al., ICASSP 2020).

    The image is cut into ``cells`` by ``cells`` parts, as equal as whole pixels allow. The map of the partner is
    averaged in each cell, and the highest cells are pasted at their own place. Their number is ``f * cells^2``, rounded
    up or down at random so that the mean is exact. Cells differ by a row or a column of pixels if the side is no
    multiple of ``cells``; lam is counted on the pixels.

    The paper takes the map from a ResNet-50 that was trained on ImageNet before. Here it is a map of the network in
    training itself, so no other data is used. The maps of its first steps are close to random.

    Attributes:
        cells: cells along each side; the paper's maps have 7 by 7.
        maps: kind of maps: ``attention`` (the paper), ``cam`` or ``gradient``.

    Examples:
        >>> import torch
        >>> from trainables.mixing.batch_view import BatchView
        >>> from trainables.mixing.position import WholePosition
        >>> attention = torch.tensor([[[0.1, 0.9], [0.2, 0.3]]])
        >>> batch = BatchView((1, 3, 4, 4), np.array([0]), torch.zeros(1, 3, 4, 4), maps=lambda kind: attention)
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=4, width_px=4, position=WholePosition(), rng=rng, device=cpu,
        ...                 batch=batch, partner=np.array([0]))
        >>> Attentive(cells=2).draw(np.array([0.5]), canvas)[0, 0].int().tolist()  # two of four cells
        [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    """

    family: Literal["attentive"] = "attentive"
    positions: ClassVar[tuple[str, ...]] = ("whole",)
    needs: ClassVar[Literal["images", "boxes", "maps"] | None] = "maps"
    cells: int = Field(default=7, ge=1, le=64)
    maps: MapKind = "attention"

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Draw the number of cells to paste, int64 [B, 1]."""
        n_cells = pasted_frac * self.cells**2 + canvas.rng.random(len(pasted_frac))
        return {"n_cells": n_cells.astype(np.int64)[:, None]}

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Return the pixels of the highest cells: bool [B, 1, H, W]; of equal cells the first ones count."""
        import torch

        maps, n_cells = parameters["maps"], parameters["n_cells"]
        per_cell = torch.nn.functional.adaptive_avg_pool2d(maps[:, None], self.cells).flatten(1)
        order = per_cell.argsort(dim=1, descending=True, stable=True)
        rank = torch.arange(order.shape[1], device=order.device)
        chosen = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order, rank < n_cells)
        return cells_as_pixels(chosen.view(-1, self.cells, self.cells), height_px, width_px)
