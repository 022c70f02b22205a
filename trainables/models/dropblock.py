"""DropBlock: square blocks of single channels are left out while a network is trained."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from trainables.config import DropBlock
from trainables.models.staged import Change

EPS = 1e-6
"""Keeps the scale finite where everything is dropped; torchvision's value."""


class BlockDropper:
    """Drops blocks after some stages of a network, with a generator of its own.

    The network does not know of it: its weights and their names are the same with and without, and whoever does not
    ask for :meth:`changes`, as in evaluation, drops nothing.

    Attributes:
        generator: the only source of randomness, on the device of the maps.
    """

    def __init__(self, config: DropBlock, *, n_stages: int, seed: int, device: torch.device) -> None:
        """Prepare for a network of ``n_stages`` stages."""
        self.generator = torch.Generator(device).manual_seed(seed)
        self._config = config
        last_two = tuple(range(max(1, n_stages - 1), n_stages + 1))
        self._stages = last_two if config.after_stages is None else config.after_stages

    def changes(self, t: float) -> list[tuple[int, Change]]:
        """Return what to do after which stage when the share ``t`` of the planned steps is done."""
        config = self._config
        prob = config.prob * config.schedule.factor(t)
        drop = partial(drop_blocks, prob=prob, block_px=config.block_px, generator=self.generator)
        return [(stage, drop) for stage in self._stages]


def drop_blocks(maps: Tensor, *, prob: float, block_px: int, generator: torch.Generator) -> Tensor:
    """Set blocks of maps to zero and scale up what is left (Ghiasi, Lin and Le, NeurIPS 2018, algorithm 1).

    Each place where a whole block fits begins one with the chance of equation 1, in each sample and channel for itself.
    From generators in the same state it computes what ``torchvision.ops.drop_block2d`` does, float32 to the bit, in
    about a tenth of the time on a CPU. Blocks of an even side, which that one refuses, are dropped as well.

    Args:
        maps: float [B, C, H, W]; the result has their type and memory layout.
        prob: share that is meant to be dropped; of 0 nothing is drawn and the maps themselves are returned.
        block_px: side of a block, cut to the map's shorter one.
        generator: on the device of the maps.
    """
    if prob == 0:
        return maps
    count, channels, height_px, width_px = maps.shape
    side_px = min(block_px, height_px, width_px)
    rows, columns = height_px - side_px + 1, width_px - side_px + 1
    gamma = prob * height_px * width_px / (side_px**2 * (rows * columns))
    begun = torch.empty((count, channels, rows, columns), device=maps.device).bernoulli_(gamma, generator=generator)
    kept = 1 - _blocks(begun, side_px)
    # one scale for the whole batch, as the authors have it
    return maps * (kept * (kept.numel() / (EPS + kept.sum()))).to(maps.dtype)


def _blocks(begun: Tensor, side_px: int) -> Tensor:
    """Return the blocks, [B, C, h + side - 1, w + side - 1], that begin at the ones of ``begun``, [B, C, h, w].

    A maximum along rows, then one along columns, channels last: pooling by whole blocks takes many times as long.
    """
    border = side_px - 1
    rows = functional.pad(begun.permute(0, 2, 3, 1), (0, 0, 0, 0, border, border)).unfold(1, side_px, 1).amax(-1)
    both = functional.pad(rows, (0, 0, border, border)).unfold(2, side_px, 1).amax(-1)
    return both.permute(0, 3, 1, 2)
