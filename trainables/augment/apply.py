"""Apply drawn changes to a batch of images on a device; nothing is random."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainables.augment.config import Augment
from trainables.augment.draw import JITTER, POLICY, SHIFTS, WINDOWS, jitter_operations
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
