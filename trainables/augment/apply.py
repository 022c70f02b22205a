"""Apply drawn changes to a batch of images on a device; nothing is random."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from trainables.augment.config import Augment
from trainables.augment.crops import draw_windows
from trainables.augment.draw import (
    JITTER,
    POLICY,
    SHIFTS,
    WINDOWS,
    device_arrays,
    draw_changes,
    jitter_operations,
)
from trainables.augment.rendering import Change, changed, mapped
from trainables.augment.sampling import resized_windows


def augmented(images: Tensor, arrays: Mapping[str, Tensor], augment: Augment) -> Tensor:
    """Return images after crop, policy, color jitter and lighting, in this order.

    No value is read back, and neither a shape nor a branch depends on a draw, except on a CPU.

    Args:
        images: uint8 [B, H, W, 3], left unchanged; flipped already.
        arrays: what :func:`trainables.augment.draw.device_arrays` returned, on the device of the images; empty:
            nothing is changed.
        augment: the configuration.

    Returns:
        uint8 [B, H, W, 3].
    """
    if WINDOWS in arrays:
        height_px, width_px = images.shape[1:3]
        images = resized_windows(images, arrays[WINDOWS], height_px=height_px, width_px=width_px)
    of_policy = {name.removeprefix(POLICY): values for name, values in arrays.items() if name.startswith(POLICY)}
    if augment.policy is not None and of_policy:
        images = augment.policy.render(images, of_policy)
    if augment.color_jitter is not None and JITTER + "codes" in arrays:
        operations = jitter_operations(augment.color_jitter)
        for place in range(len(operations)):
            change = Change(arrays[JITTER + "codes"][:, place], arrays[JITTER + "amounts"][:, place])
            images = changed(images, change, among=operations)
    return lit(images, arrays[SHIFTS]) if SHIFTS in arrays else images


def draw_and_apply(
    images: np.ndarray, augment: Augment, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return images after changes that are drawn here, without flips, for a picture of what a section does.

    Args:
        images: uint8 [n, H, W, 3].
        augment: the configuration.
        rng: generator of the draws.

    Returns:
        The changed images, uint8 [n, H, W, 3], and the windows of the crops, int64 [n, 4]; None without such crops.

    Examples:
        >>> augment = Augment.model_validate({"policy": {"kind": "trivial_augment"}})
        >>> images, windows = draw_and_apply(np.zeros((2, 8, 8, 3), np.uint8), augment, np.random.default_rng(0))
        >>> images.shape, windows
        ((2, 8, 8, 3), None)
    """
    count, height_px, width_px, _ = images.shape
    sides = np.full(count, height_px), np.full(count, width_px)
    crop = augment.resized_crop
    windows = None if crop is None else draw_windows(*sides, crop, rng)
    drawn = draw_changes(augment, count, height_px=height_px, width_px=width_px, rng=rng)
    unflipped = np.zeros(count, dtype=bool)
    arrays = device_arrays(augment, drawn, windows=windows, flipped=unflipped, height_px=height_px, width_px=width_px)
    on_cpu = {name: torch.from_numpy(values) for name, values in arrays.items()}
    return augmented(torch.from_numpy(np.array(images)), on_cpu, augment).numpy(), windows


def lit(images: Tensor, shifts: Tensor) -> Tensor:
    """Return images plus a number of grey levels per channel, rounded and limited to 0..255.

    Args:
        images: uint8 [B, H, W, 3].
        shifts: float32 [B, 3].

    Examples:
        >>> images = torch.tensor([0, 100, 250], dtype=torch.uint8).view(1, 1, 1, 3)
        >>> lit(images, torch.tensor([[1.6, -1.6, 9.0]])).flatten()
        tensor([  2,  98, 255], dtype=torch.uint8)
    """
    values = torch.arange(256, device=images.device)
    return mapped(images, (values + shifts[:, :, None]).round().clamp(0, 255).to(torch.uint8))
