"""Masks of patches that follow what the partner shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CACHED = 2**17
"""Pixels taken apart at once on the host: as many as its cache holds, which is up to three times as fast."""


class Superpixel(Mask):
    """Patches of the partner of one colour each, so that their borders tend to run along its contours.

    Every pixel goes to the one of the four seeds around it with the least ``D^2 = dc^2 + (m * ds / S)^2``, with ``dc``
    the distance in colour, ``ds`` that in space and ``S`` the step between seeds (Achanta et al., SLIC, TPAMI 2012,
    the combined distance D). Seeds lie on a regular grid and have the mean colour of their part of it. It is SLIC's
    first pass, whose search also ends one step from a seed; later passes move the seeds, and each costs as much
    again. Distances in space are measured along each axis in its own steps, colours in the normalised channels
    instead of CIELAB.

    As with ``voronoi``, patches are pasted in random order until the wanted area is reached, and the one that would
    overshoot with the probability of the share that is wanted of it, so that the mean area is exact.

    Attributes:
        cells: seeds along each side.
        compactness: m, the weight of space, in units of a channel's standard deviation. Large values give squares.
    """

    family: Literal["superpixel"] = "superpixel"
    positions: ClassVar[tuple[str, ...]] = ("whole",)
    looks_at: ClassVar[Literal["images", "boxes"] | None] = "images"
    cells: int = Field(default=4, ge=1, le=16)
    compactness: float = Field(default=1.5, gt=0)

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Take the partners apart and paste some of the patches: bool [B, 1, H, W]."""
        import torch

        images = canvas.partner_images()
        seeds = min(self.cells, canvas.height_px), min(self.cells, canvas.width_px)
        some = max(1, CACHED // (canvas.height_px * canvas.width_px)) if canvas.on_host else len(images)
        label = torch.cat([_patches(part, seeds, self.compactness) for part in torch.split(images, some)])
        return _some_patches(label, seeds[0] * seeds[1], pasted_frac, canvas)[:, None]


def _patches(images: Tensor, seeds: tuple[int, int], compactness: float) -> Tensor:
    """Return the patch, one for each of the seeds (down, across), of each pixel of images [n, C, H, W]: int64."""
    import torch

    images = images.float().contiguous()
    height_px, width_px = images.shape[2:]
    colours = torch.nn.functional.adaptive_avg_pool2d(images, seeds)
    least, label = None, torch.zeros((), dtype=torch.int64, device=images.device)
    for row, down in _seeds_around(height_px, seeds[0], images.device):
        for column, across in _seeds_around(width_px, seeds[1], images.device):
            seen = colours.index_select(3, column).index_select(2, row)
            squares = (images - seen).square_().sum(dim=1)
            squares += compactness**2 * (down[:, None] + across)
            candidate = row[:, None] * seeds[1] + column
            label = candidate.expand_as(squares) if least is None else torch.where(squares < least, candidate, label)
            least = squares if least is None else torch.minimum(least, squares)
    return label


def _seeds_around(length_px: int, seeds: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Return the seed before each pixel of an axis and the one after: index, int64 [L], and distance^2 in steps.

    On a seed and beyond the outer ones both are the same.
    """
    import torch

    step = 2 * length_px  # in units that make all places whole numbers
    place = (2 * torch.arange(length_px, device=device) + 1) * seeds - length_px
    before, after = place.div(step, rounding_mode="floor"), -(-place).div(step, rounding_mode="floor")
    around = [seed.clamp(0, seeds - 1) for seed in (before, after)]
    return [(seed, (place / step - seed).square()) for seed in around]


def _some_patches(label: Tensor, patches: int, pasted_frac: np.ndarray, canvas: Canvas) -> Tensor:
    """Return the pixels of randomly chosen patches that hold the wanted area together: bool [B, H, W]."""
    import torch

    draws = canvas.rng.random((len(pasted_frac), patches + 1))
    order = canvas.on_device(draws[:, :-1].argsort(axis=1))
    wanted = canvas.on_device(np.stack([pasted_frac * (canvas.height_px * canvas.width_px), draws[:, -1]]))[:, :, None]
    flat = label.flatten(1)
    counts = torch.zeros(order.shape, dtype=torch.float64, device=canvas.device)
    areas = counts.scatter_add(1, flat, counts.new_ones(()).expand_as(flat)).gather(1, order)
    taken = areas.cumsum(dim=1) - areas + wanted[1] * areas < wanted[0]
    chosen = torch.zeros_like(taken).scatter_(1, order, taken)
    return chosen.gather(1, flat).view_as(label)
