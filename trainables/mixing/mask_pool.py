"""Masks in stock: those of several batches are drawn at a time, which spreads the fixed cost of drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Mix

AHEAD_PX = 1 << 20
"""Pixels of the masks drawn at a time: a megabyte of hard ones, 1,024 of 32 px. More would leave the cache."""

BLOCK_PX = 1024
"""Pixels that are counted together: 128 in each of eight bytes."""


@dataclass(frozen=True, eq=False)
class MaskBatch:
    """What can be drawn of a mixing without a batch.

    Attributes:
        pasted_frac: wanted share of the partner, float64 [n], on the host.
        mask: where it goes, broadcasting to [n, 1, H, W]: bool or float32.
        lam: share of the original that each mask leaves, float32 [n].
    """

    pasted_frac: np.ndarray
    mask: Tensor
    lam: Tensor

    def __len__(self) -> int:
        """Number of masks."""
        return len(self.pasted_frac)

    def __getitem__(self, part: slice) -> MaskBatch:
        """Return some of the masks."""
        return MaskBatch(self.pasted_frac[part], self.mask[part], self.lam[part])


def draw_masks(mix: Mix, count: int, canvas: Canvas) -> MaskBatch:
    """Draw sizes and masks on a canvas."""
    pasted_frac = mix.size.draw(count, canvas.rng)
    mask = mix.mask.draw(pasted_frac, canvas)
    return MaskBatch(pasted_frac, mask, _kept_frac(mask, canvas))


class MaskPool:
    """Hands out shapes, drawn ahead where nothing of a batch is looked at and all batches have one size of image."""

    def __init__(self, mix: Mix, n_samples: int) -> None:
        """Serve ``n_samples`` in all under the policy ``mix``: no more are drawn."""
        self._mix = mix
        self._left = n_samples
        self._ahead = not mix.looks_at and mix.granularity == "sample" and len(mix.layers) == 1
        self._ready: MaskBatch | None = None

    def take(self, count: int, canvas: Canvas) -> MaskBatch:
        """Return ``count`` shapes; what is left of the stock goes first, if it suffices."""
        if not self._ahead:
            return draw_masks(self._mix, count, canvas)
        if self._ready is None or len(self._ready) < count:
            room = AHEAD_PX // (canvas.height_px * canvas.width_px)
            self._ready = draw_masks(self._mix, max(count, min(self._left, room // count * count)), canvas)
        taken, self._ready = self._ready[:count], self._ready[count:]
        self._left -= count
        return taken


def _kept_frac(mask: Tensor, canvas: Canvas) -> Tensor:
    """Return lam, the share of the image that each mask leaves, float32 [n]: of hard masks the exact one, rounded."""
    if mask.dtype != torch.bool:
        return 1 - mask.flatten(1).mean(dim=1)
    pixels = math.prod(mask.shape[1:])
    if not canvas.on_host:
        return 1 - mask.flatten(1).sum(dim=1) / pixels
    return torch.from_numpy((1 - _count_ones(mask.numpy().reshape(len(mask), -1)) / pixels).astype(np.float32))


def _count_ones(masks: np.ndarray) -> np.ndarray:
    """Count the ones of masks, bool [n, pixels], int64 [n].

    Eight pixels at a time where they fill whole blocks, in a tenth of the time: eight bytes are added as one number,
    and within a block no byte can overflow into the next.
    """
    lanes = masks
    if masks.shape[1] % BLOCK_PX == 0:
        lanes = masks.view(np.uint64).reshape(-1, BLOCK_PX // 8).sum(axis=1).view(np.uint8)
    ones: np.ndarray = lanes.reshape(len(masks), -1).sum(axis=1, dtype=np.int64)
    return ones
