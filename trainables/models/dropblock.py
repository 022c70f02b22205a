"""DropBlock: square blocks of single channels are set to zero during training."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from trainables.config import DropBlock
from trainables.networks.modules.staged import Change
from trainables.share import Share

EPS = 1e-6
"""Keeps the scale finite if everything is dropped; the value of torchvision."""


def drop_prob_at(config: DropBlock, t: float) -> float:
    """Return the intended fraction of dropped pixels when the fraction ``t`` of the planned steps is done.

    Examples:
        >>> drop_prob_at(DropBlock(prob=0.2), 0.5)
        0.1
    """
    return config.prob * config.schedule.factor(t)


class BlockDropper:
    """Drops blocks after some stages of a network, with its own generator.

    The network does not depend on it: its weights and their names are the same with and without. Blocks are dropped
    only if the caller passes :meth:`changes` to the network, which evaluation does not.

    Attributes:
        generator: the only source of randomness, on the device of the maps.
    """

    def __init__(self, config: DropBlock, *, n_stages: int, seed: int, device: torch.device) -> None:
        """Prepare for a network of ``n_stages`` stages."""
        self.generator = torch.Generator(device).manual_seed(seed)
        self._config = config
        last_two = tuple(range(max(1, n_stages - 1), n_stages + 1))
        self._stages = last_two if config.after_stages is None else config.after_stages

    def changes(self, prob: float | Tensor, *, share: Share | None = None) -> list[tuple[int, Change]]:
        """Return (stage, change) pairs for one step.

        Args:
            prob: intended fraction of dropped pixels, of :func:`drop_prob_at`; a tensor is on the device of the maps.
            share: rows of the batch that this worker computes; None: all of them.
        """
        block_px = self._config.block_px
        drop = partial(drop_blocks, prob=prob, block_px=block_px, generator=self.generator, share=share)
        return [(stage, drop) for stage in self._stages]


def build_dropper(config: DropBlock | None, *, n_stages: int, seed: int, device: torch.device) -> BlockDropper | None:
    """Return what drops blocks in a network of ``n_stages`` stages; None without a configuration."""
    return None if config is None else BlockDropper(config, n_stages=n_stages, seed=seed, device=device)


def drop_blocks(
    maps: Tensor, *, prob: float | Tensor, block_px: int, generator: torch.Generator, share: Share | None = None
) -> Tensor:
    """Set blocks of maps to zero and scale up the rest (Ghiasi, Lin and Le, NeurIPS 2018, algorithm 1).

    Each place where a whole block fits starts a block with the probability of equation 1, independently in each sample
    and channel. With generators in the same state, the result equals ``torchvision.ops.drop_block2d`` to the bit in
    float32, in about a tenth of its time on a CPU. Blocks with an even side, which torchvision refuses, are possible.

    Args:
        maps: float [B, C, H, W]; the result has their type and memory layout.
        prob: intended fraction of dropped pixels; at 0.0 nothing is drawn and the maps themselves are returned. A
            tensor, float32 [] on the device of the maps, may change in a captured step; the numbers drawn for it are
            others.
        block_px: side of a block, limited to the shorter side of the map.
        generator: source of randomness, on the device of the maps.
        share: rows of the batch that ``maps`` has; blocks are drawn for the whole batch. None: all rows.

    Examples:
        >>> maps = torch.ones(1, 1, 4, 4)
        >>> dropped = drop_blocks(maps, prob=0.2, block_px=2, generator=torch.Generator().manual_seed(0))
        >>> bool(dropped.mean().isclose(maps.mean()))
        True
    """
    if not isinstance(prob, Tensor) and prob == 0:
        return maps
    count, channels, height_px, width_px = maps.shape
    rows_of_share = slice(None)
    if share is not None:
        count, rows_of_share = share.n_batch, share.rows
    side_px = min(block_px, height_px, width_px)
    rows, columns = height_px - side_px + 1, width_px - side_px + 1
    gamma = prob * height_px * width_px / (side_px**2 * (rows * columns))
    starts = torch.empty((count, channels, rows, columns), device=maps.device)
    if isinstance(gamma, Tensor):
        starts = (starts.uniform_(generator=generator) < gamma).float()
    else:
        starts.bernoulli_(gamma, generator=generator)
    kept = 1 - _blocks(starts, side_px)
    # one scale for the whole batch, as in the authors' code
    return maps * (kept * (kept.numel() / (EPS + kept.sum()))).to(maps.dtype)[rows_of_share]


def _blocks(starts: Tensor, side_px: int) -> Tensor:
    """Return the blocks, [B, C, h + side - 1, w + side - 1], that start at ``starts``, [B, C, h, w].

    The maximum along rows, then along columns, with channels last: pooling over whole blocks is many times slower.
    """
    border = side_px - 1
    rows = functional.pad(starts.permute(0, 2, 3, 1), (0, 0, 0, 0, border, border)).unfold(1, side_px, 1).amax(-1)
    both = functional.pad(rows, (0, 0, border, border)).unfold(2, side_px, 1).amax(-1)
    return both.permute(0, 3, 1, 2)
