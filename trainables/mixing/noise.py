"""Gaussian noise for whole batches, at the cost of copying it."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from trainables.device_paths import on_host
from trainables.seeds import generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BANK_SIZE = 1 << 22
"""Numbers in the bank; each sample takes a run of consecutive numbers from a random start."""


def draw_starts(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw where in the bank the noise of each sample begins: int64 [count]."""
    return rng.integers(BANK_SIZE, size=count)


def noise_images(starts: Tensor, bank: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return standard normal images, float32 [B, C, H, W], channels last in memory.

    Fresh numbers for every pixel would take longer than the rest of the mixing together. A run from a bank of four
    million numbers serves the same purpose and costs one copy.

    Args:
        starts: the first number of each sample in the bank, int64 [B].
        bank: the result of :func:`noise_bank` for this shape.
        shape: (C, H, W).

    Examples:
        >>> import torch
        >>> noise_images(torch.tensor([7, 7]), noise_bank((3, 8, 8), torch.device("cpu")), (3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """
    import torch

    channels, height_px, width_px = shape
    length = height_px * width_px * channels
    if on_host(bank.device):
        runs = np.lib.stride_tricks.sliding_window_view(bank.numpy(), length)[starts.numpy()]
        noise = torch.from_numpy(runs)
    else:
        noise = bank.unfold(0, length, 1)[starts]
    return noise.view(len(starts), height_px, width_px, channels).permute(0, 3, 1, 2)


def noise_bank(shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """Return the numbers that images of a shape (C, H, W) take their noise from: float32 on the device."""
    return _bank(math.prod(shape), device)


@functools.lru_cache(maxsize=2)
def _bank(length: int, device: torch.device) -> Tensor:
    import torch

    numbers = generator("noise bank").standard_normal(BANK_SIZE, dtype=np.float32)
    repeats = -(-length // BANK_SIZE)  # the bank is continued by itself: a run may start at the last number
    return torch.from_numpy(np.concatenate([numbers, *[numbers] * repeats])[: BANK_SIZE + length]).to(device)
