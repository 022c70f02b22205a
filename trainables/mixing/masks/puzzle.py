"""Masks of blocks that keep what is salient in both images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.device_paths import on_host
from trainables.mixing.batch_view import MapKind
from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.base import Mask
from trainables.mixing.rendering import cells_as_pixels

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables.mixing.block_labels import BlockEnergy


class Puzzle(Mask):
    """Blocks of both images, chosen such that little saliency is lost: PuzzleMix (Kim, Choo and Song, ICML 2020).

    Without the paper's transport, which moves blocks within an image. The labels of the blocks have the least energy
    that :func:`~trainables.mixing.block_labels.least_energy` finds; that module states the equation. The requested
    fraction acts through the prior alone, so another one is pasted; the label follows the pasted one, as in the paper.

    Attributes:
        blocks: blocks along each side; one of these numbers is drawn per sample (the authors: per batch).
        labels: number of labels: with 2 a block shows one image, with 3 (the authors) also the mean of both.
        label_smoothness: weight of differences in labels between neighbours, the paper's beta; it is divided by 16
            times the blocks per side, as in the authors' code.
        data_smoothness: weight of differences in pixels, the paper's gamma, per standard deviation of a pixel. The
            authors' 0.5 is per range of a pixel, of which the deviation is about a quarter on CIFAR.
        prior_weight: weight of the prior on the labels, the paper's eta.
        neighbour_px: pixels on each side of a border between blocks that are compared.
        maps: kind of maps: ``gradient`` (the paper), ``cam`` or ``attention``.

    Examples:
        >>> import torch
        >>> from trainables.mixing.batch_view import BatchView
        >>> from trainables.mixing.position import WholePosition
        >>> gradient = torch.zeros(2, 4, 4)
        >>> gradient[0, :, :2] = gradient[1, :, 2:] = 1.0  # the first is salient on the left, the second on the right
        >>> batch = BatchView((2, 3, 4, 4), np.arange(2), torch.zeros(2, 3, 4, 4), maps=lambda kind: gradient)
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=4, width_px=4, position=WholePosition(), rng=rng, device=cpu,
        ...                 batch=batch, partner=np.array([1, 0]))
        >>> Puzzle(blocks=(2,)).draw(np.array([0.5, 0.5]), canvas)[:, 0, 0].tolist()
        [[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]]
    """

    family: Literal["puzzle"] = "puzzle"
    positions: ClassVar[tuple[str, ...]] = ("whole",)
    needs: ClassVar[Literal["images", "boxes", "maps"] | None] = "maps"
    exact_area: ClassVar[bool] = False
    blocks: Annotated[
        tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(strict=False, min_length=1, max_length=8)
    ] = (2, 4, 8, 16)
    labels: int = Field(default=3, ge=2, le=8)
    label_smoothness: float = Field(default=1.2, ge=0)
    data_smoothness: float = Field(default=0.125, ge=0)
    prior_weight: float = Field(default=0.2, gt=0)
    neighbour_px: int = Field(default=4, ge=1)
    maps: MapKind = "gradient"

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Return the log of the prior of each label, float32 [B, K], and draw the number of blocks, int64 [B]."""
        drawn = canvas.rng.integers(len(self.blocks), size=len(pasted_frac))
        k, last = np.arange(self.labels), self.labels - 1
        ways = np.array([math.comb(last, int(each)) for each in k])
        frac = pasted_frac[:, None]
        with np.errstate(divide="ignore"):  # a label of probability 0 has an infinite cost
            prior = np.log(ways * frac**k * (1 - frac) ** (last - k))
        return {"prior": prior.astype(np.float32), "drawn": drawn}

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Return the partner's fraction of each block, float32 [B, 1, H, W]; with two labels bool."""
        import torch

        drawn = parameters["drawn"]
        labels = torch.zeros(len(drawn), 1, height_px, width_px, dtype=torch.int64, device=drawn.device)
        for index, per_side in enumerate(self.blocks):
            is_drawn = drawn == index
            if on_host(drawn.device):  # each number of blocks for its own samples: a GPU must not know them
                rows = is_drawn.nonzero()[:, 0]
                if len(rows):
                    part = {name: values[rows] for name, values in parameters.items()}
                    labels[rows] = self._labels(part, per_side, height_px, width_px)
            else:
                chosen = self._labels(parameters, per_side, height_px, width_px)
                labels = torch.where(is_drawn[:, None, None, None], chosen, labels)
        return labels > 0 if self.labels == 2 else labels.float() / (self.labels - 1)

    def _labels(self, parameters: Mapping[str, Tensor], per_side: int, height_px: int, width_px: int) -> Tensor:
        """Return the label of each pixel, int64 [B, 1, H, W] from 0 to K - 1, with blocks of one size."""
        from trainables.mixing.block_labels import least_energy

        side_px = min(height_px, width_px)
        chosen = least_energy(self._energy(parameters, min(per_side, side_px), side_px))
        return cells_as_pixels(chosen, height_px, width_px)

    def _energy(self, parameters: Mapping[str, Tensor], per_side: int, side_px: int) -> BlockEnergy:
        import torch

        from trainables.mixing.block_labels import BlockEnergy

        own, partner = (_saliency(parameters[name], per_side) for name in ("own_maps", "maps"))
        strips = max(1, side_px // per_side // self.neighbour_px)
        looks = [
            torch.nn.functional.adaptive_avg_pool2d(parameters[name].float(), per_side * strips)
            for name in ("own_images", "images")
        ]
        down, up_linear, down_linear = _borders(looks, strips)
        across, left_linear, right_linear = (each.mT for each in _borders([look.mT for look in looks], strips))
        linear = own - partner
        weight, pad = self.label_smoothness / (16 * per_side), torch.nn.functional.pad
        data = pad(up_linear, (0, 0, 0, 1)) + pad(down_linear, (0, 0, 1, 0))
        data = data + pad(left_linear, (0, 1)) + pad(right_linear, (1, 0))
        linear = linear + weight * self.data_smoothness * data
        z = torch.arange(self.labels, device=linear.device) / (self.labels - 1)
        prior = self.prior_weight / per_side**2 * parameters["prior"]
        return BlockEnergy(
            linear[..., None] * z - prior[:, None, None],
            *(weight * (1 + self.data_smoothness * each).clamp(min=0) for each in (down, across)),
        )


def _saliency(maps: Tensor, per_side: int) -> Tensor:
    """Return the saliency of blocks, float32 [B, n, n], scaled to the sum 1; the same everywhere if all of it is 0."""
    import torch

    # an activation may be negative; a gradient's norm is not
    pooled = torch.nn.functional.adaptive_avg_pool2d(maps.clamp(min=0)[:, None], per_side)[:, 0]
    total = pooled.sum(dim=(1, 2), keepdim=True)
    return torch.where(total > 0, pooled / total, 1 / per_side**2)


def _borders(looks: list[Tensor], strips: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the differences in pixels across the borders between blocks and the blocks below them.

    With d_ab the mean absolute difference between the strip above a border in image a and the strip below it in image
    b (0: the original, 1: the partner), a border costs d_ab for labels a and b. For labels z from 0 to 1 the authors
    write this as ``c (z_i - z_j)^2`` and a linear part for each of the two blocks, up to a constant.

    Args:
        looks: pooled images of originals and partners, float32 [B, C, n * strips, n * strips].
        strips: strips per block.

    Returns:
        c and the linear parts of the upper and of the lower block, float32 [B, n - 1, n] each.
    """
    above = [look[:, :, strips - 1 : -1 : strips] for look in looks]
    below = [look[:, :, strips::strips] for look in looks]
    (d00, d01), (d10, d11) = (
        [_by_block((upper - lower).abs().mean(dim=1), strips) for lower in below] for upper in above
    )
    upper, lower = (d10 + d11 - d01 - d00) / 2, (d01 + d11 - d10 - d00) / 2
    return (d01 + d10 - d00 - d11) / 2, upper, lower


def _by_block(values: Tensor, strips: int) -> Tensor:
    """Return the mean of every ``strips`` values along the last axis, [B, n - 1, n], of [B, n - 1, n * strips]."""
    count, borders, length = values.shape
    return values.view(count, borders, length // strips, strips).mean(dim=3)
