"""Gaussian noise for whole batches, at the cost of copying it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from trainables.seeds import generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables.mixing.canvas import Canvas

BANK_SIZE = 1 << 22
"""Numbers in the bank; each sample takes a run of consecutive numbers from a random start."""


def noise_images(shape: tuple[int, int, int, int], canvas: Canvas) -> Tensor:
    """Draw standard normal images, float32 [B, C, H, W], channels last in memory.

    Fresh numbers for every pixel would take longer than the rest of the mixing together. A run from a bank of four
    million numbers serves the same purpose and costs one copy.
    """
    import torch

    count, channels, height_px, width_px = shape
    length = height_px * width_px * channels
    bank = _bank(length, canvas.device)
    starts = canvas.rng.integers(BANK_SIZE, size=count)
    if canvas.device.type == "cpu":
        runs = np.lib.stride_tricks.sliding_window_view(bank.numpy(), length)[starts]
        noise = torch.from_numpy(runs)
    else:
        noise = bank.unfold(0, length, 1)[canvas.on_device(starts)]
    return noise.view(count, height_px, width_px, channels).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=2)
def _bank(length: int, device: torch.device) -> Tensor:
    import torch

    numbers = generator("noise bank").standard_normal(BANK_SIZE, dtype=np.float32)
    repeats = -(-length // BANK_SIZE)  # the bank is continued by itself: a run may start at the last number
    return torch.from_numpy(np.concatenate([numbers, *[numbers] * repeats])[: BANK_SIZE + length]).to(device)
