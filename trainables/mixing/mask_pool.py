"""A pool of masks: the masks of several batches are drawn at a time, which spreads the fixed cost of drawing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Mix
from trainables.mixing.rendering import on_host

AHEAD_PX = 1 << 20
"""Pixels of the masks drawn at a time: 1 MB of hard masks, 1,024 masks of 32 px. More would not fit in the cache."""

BLOCK_PX = 1024
"""Pixels that are counted together: 128 in each of eight bytes."""


@dataclass(frozen=True, eq=False)
class MaskBatch:
    """Sizes and masks: the part of a draw that may be drawn before the batch is known.

    Attributes:
        pasted_frac: requested fraction of the image, before clipping, float64 [n], on the host.
        mask: where pixels are pasted, broadcasting to [n, 1, H, W]: bool or float32.
        lam: realised fraction of the original image, float32 [n].
    """

    pasted_frac: np.ndarray
    mask: Tensor
    lam: Tensor

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self.pasted_frac)

    def __getitem__(self, part: slice) -> MaskBatch:
        """Return some of the masks."""
        return MaskBatch(self.pasted_frac[part], self.mask[part], self.lam[part])


@dataclass(frozen=True, eq=False)
class MaskPlan:
    """Sizes and masks that are drawn, but not rendered.

    Attributes:
        pasted_frac: requested fraction of the image, before clipping, float64 [n].
        parameters: what the mask family renders, [n, ...] each.
    """

    pasted_frac: np.ndarray
    parameters: dict[str, np.ndarray]

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self.pasted_frac)

    def __getitem__(self, part: slice) -> MaskPlan:
        """Return some of the masks."""
        return MaskPlan(self.pasted_frac[part], {name: values[part] for name, values in self.parameters.items()})


def draw_masks(mix: Mix, count: int, canvas: Canvas) -> MaskBatch:
    """Draw sizes and masks on a canvas."""
    pasted_frac = mix.size.draw(count, canvas.rng)
    mask = mix.mask.draw(pasted_frac, canvas)
    return MaskBatch(pasted_frac, mask, realised_lam(mask))


def plan_masks(mix: Mix, count: int, canvas: Canvas) -> MaskPlan:
    """Draw sizes and the parameters of masks: the same random numbers as :func:`draw_masks`, and no pixel."""
    pasted_frac = mix.size.draw(count, canvas.rng)
    return MaskPlan(pasted_frac, mix.mask.parameters(pasted_frac, canvas))


Masks = TypeVar("Masks", MaskBatch, MaskPlan)


class MaskPool(Generic[Masks]):
    """Masks for the samples of an epoch, drawn ahead for several batches where that cannot change the result.

    Masks are drawn batch by batch in three cases: they depend on the batch (``mix.needs``), samples share them (the
    pool counts one mask per sample), or the layer varies (maps of different layers have different sizes).
    """

    def __init__(self, mix: Mix, n_samples: int, draw: Callable[[Mix, int, Canvas], Masks]) -> None:
        """Prepare the masks of ``n_samples`` samples in total under the policy ``mix``.

        Args:
            mix: the policy.
            n_samples: total number of samples of the batches to come.
            draw: :func:`draw_masks` or :func:`plan_masks`.
        """
        self._mix = mix
        self._left = n_samples
        self._draw: Callable[[Mix, int, Canvas], Masks] = draw
        self._ahead = not mix.needs and mix.granularity == "sample" and len(mix.layers) == 1
        self._ready: Masks | None = None

    def take(self, count: int, canvas: Canvas) -> Masks:
        """Return the next ``count`` masks; those drawn ahead are used if there are enough of them."""
        if not self._ahead:
            return self._draw(self._mix, count, canvas)
        if self._ready is None or len(self._ready) < count:
            room = AHEAD_PX // (canvas.height_px * canvas.width_px)
            # whole batches, so that no rest is thrown away. Never beyond the last sample of the epoch: a trial is saved
            # between epochs with the state of its generator alone, and masks in the pool would be lost
            self._ready = self._draw(self._mix, max(count, min(self._left, room // count * count)), canvas)
        taken, self._ready = self._ready[:count], self._ready[count:]
        self._left -= count
        return taken


def realised_lam(mask: Tensor) -> Tensor:
    """Return the fraction of the image that each mask leaves, float32 [n]; exact before rounding for hard masks.

    Examples:
        >>> realised_lam(torch.tensor([True, False, False, False]).view(1, 1, 2, 2)).tolist()
        [0.75]
    """
    if mask.dtype != torch.bool:
        return 1 - mask.flatten(1).mean(dim=1)
    pixels = math.prod(mask.shape[1:])
    if not on_host(mask.device):
        ones = mask.flatten(1).sum(dim=1).double()
        # a quotient of tensors: a GPU multiplies by the reciprocal of a number, which is rounded differently
        return (1 - ones / torch.full_like(ones, pixels)).float()
    return torch.from_numpy((1 - _count_ones(mask.numpy().reshape(mask.shape[0], -1)) / pixels).astype(np.float32))


def _count_ones(masks: np.ndarray) -> np.ndarray:
    """Return the number of ones in each mask, bool [n, pixels]: int64 [n].

    If the pixels fill whole blocks, eight are counted at a time, in a tenth of the time: eight bytes are added as one
    number. Within a block no byte can overflow into the next one.
    """
    lanes = masks
    if masks.shape[1] % BLOCK_PX == 0:
        lanes = masks.view(np.uint64).reshape(-1, BLOCK_PX // 8).sum(axis=1).view(np.uint8)
    ones: np.ndarray = lanes.reshape(len(masks), -1).sum(axis=1, dtype=np.int64)
    return ones
