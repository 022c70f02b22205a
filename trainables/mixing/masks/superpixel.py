"""Masks of patches that follow the contours in the partner's image."""

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
    from torch import Tensor

CACHED = 2**17
"""Pixels segmented at a time on the host: as many as its cache contains, which is up to three times as fast."""


class Superpixel(Mask):
    """Patches of the partner with one colour each, so that their borders tend to follow its contours.

    Every pixel belongs to one of the four seeds around it: the one with the least ``D^2 = dc^2 + (m * ds / S)^2``.
    ``dc`` is the distance in colour, ``ds`` the distance in space and ``S`` the step between seeds (Achanta et al.,
    SLIC, TPAMI 2012, the combined distance D). Seeds form a regular grid; each has the mean colour of its cell. This is
    the first pass of SLIC, the search of which also ends one step from a seed. Later passes would move the seeds, and
    each of them would cost as much again. Distances in space are measured along each axis in its own steps, colours in
    the normalised channels instead of CIELAB.

    As with ``voronoi``, patches are pasted in random order until the requested area is reached. The last one, which
    would overshoot, is pasted with a probability equal to the fraction of it that is still missing. So the mean area
    is exact.

    Attributes:
        cells: seeds along each side.
        compactness: m, the factor on distances in space, in units of a channel's standard deviation. Large values give
            squares.

    Examples:
        >>> import torch
        >>> from trainables.mixing.batch_view import BatchView
        >>> from trainables.mixing.position import WholePosition
        >>> batch = BatchView((1, 3, 8, 8), np.array([0]), torch.zeros(1, 3, 8, 8))
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=8, width_px=8, position=WholePosition(), rng=rng, device=cpu,
        ...                 batch=batch, partner=np.array([0]))
        >>> Superpixel(cells=2).draw(np.array([0.5]), canvas).sum().item()  # two of four 4x4 patches
        32
    """

    family: Literal["superpixel"] = "superpixel"
    positions: ClassVar[tuple[str, ...]] = ("whole",)
    needs: ClassVar[Literal["images", "boxes"] | None] = "images"
    cells: int = Field(default=4, ge=1, le=16)
    compactness: float = Field(default=1.5, gt=0)

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Draw the ``order`` of the patches, int64 [B, patches], the pixels wanted and a uniform number, [B, 2]."""
        down, across = self._seeds(canvas.height_px, canvas.width_px)
        draws = canvas.rng.random((len(pasted_frac), down * across + 1))
        wanted = pasted_frac * (canvas.height_px * canvas.width_px)
        return {"order": draws[:, :-1].argsort(axis=1), "wanted": np.stack([wanted, draws[:, -1]], axis=1)}

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Segment the partners' images and return the chosen patches: bool [B, 1, H, W]."""
        import torch

        images, seeds = parameters["images"], self._seeds(height_px, width_px)
        at_once = max(1, CACHED // (height_px * width_px)) if on_host(images.device) else len(images)
        label = torch.cat([_patches(part, seeds, self.compactness) for part in torch.split(images, at_once)])
        return _some_patches(label, parameters["order"], parameters["wanted"])[:, None]

    def _seeds(self, height_px: int, width_px: int) -> tuple[int, int]:
        return min(self.cells, height_px), min(self.cells, width_px)


def _patches(images: Tensor, seeds: tuple[int, int], compactness: float) -> Tensor:
    """Return the patch of each pixel of images [n, C, H, W], one patch per seed (down, across): int64 [n, H, W]."""
    import torch

    images = images.float().contiguous()
    height_px, width_px = images.shape[2:]
    colours = torch.nn.functional.adaptive_avg_pool2d(images, seeds)
    least, label = None, torch.zeros((), dtype=torch.int64, device=images.device)
    for row, down in _seeds_around(height_px, seeds[0], images.device):
        for column, across in _seeds_around(width_px, seeds[1], images.device):
            colour = colours.index_select(3, column).index_select(2, row)
            squares = (images - colour).square_().sum(dim=1)
            squares += compactness**2 * (down[:, None] + across)
            candidate = row[:, None] * seeds[1] + column
            label = candidate.expand_as(squares) if least is None else torch.where(squares < least, candidate, label)
            least = squares if least is None else torch.minimum(least, squares)
    return label


def _seeds_around(length_px: int, seeds: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Return the seeds before and after each pixel of an axis: index, int64 [L], and squared distance in steps.

    On a seed, and beyond the outer seeds, both are the same.
    """
    import torch

    step = 2 * length_px  # in units in which all places are whole numbers: no rounding decides a tie
    place = (2 * torch.arange(length_px, device=device) + 1) * seeds - length_px
    before, after = place.div(step, rounding_mode="floor"), -(-place).div(step, rounding_mode="floor")
    around = [seed.clamp(0, seeds - 1) for seed in (before, after)]
    steps = torch.full_like(place, step)  # a GPU multiplies by the reciprocal of a number, which is rounded differently
    return [(seed, (place / steps - seed).square()) for seed in around]


def _some_patches(label: Tensor, order: Tensor, wanted: Tensor) -> Tensor:
    """Return the pixels of the first patches in a random order that together have the requested area: bool [B, H, W].

    Areas are whole numbers in float64, so that every device sums them without rounding.
    """
    import torch

    area, chance = wanted[:, :, None].unbind(dim=1)
    flat = label.flatten(1)
    counts = torch.zeros(order.shape, dtype=torch.float64, device=label.device)
    areas = counts.scatter_add(1, flat, counts.new_ones(()).expand_as(flat)).gather(1, order)
    taken = areas.cumsum(dim=1) - areas + chance * areas < area
    chosen = torch.zeros_like(taken).scatter_(1, order, taken)
    return chosen.gather(1, flat).view_as(label)
