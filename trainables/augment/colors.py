"""Saturation, hue and sharpness of batches of images; the same bits on every device."""

from __future__ import annotations

import torch
from torch import Tensor


def grey(images: Tensor) -> Tensor:
    """Return the grey level of each pixel, int32 [B, H, W], rounded down.

    The weights are torchvision's: 0.2989, 0.587 and 0.114. Their sum is 0.9999, so a grey pixel becomes one level
    darker, as it does there.

    Examples:
        >>> grey(torch.tensor([200, 100, 0], dtype=torch.uint8).view(1, 1, 1, 3))
        tensor([[[118]]], dtype=torch.int32)
    """
    red, green, blue = images.int().unbind(dim=3)
    return (2989 * red + 5870 * green + 1140 * blue) // 10_000


def changed_saturation(images: Tensor, amounts: Tensor) -> Tensor:
    """Return images moved away from their grey image by amounts, or towards it: -1 gives the grey image.

    Args:
        images: uint8 [B, H, W, 3].
        amounts: factor of the saturation minus 1, float32 [B].
    """
    amounts = amounts[:, None, None, None]
    blended = images * (1 + amounts) + grey(images)[..., None] * -amounts
    return blended.clamp(0, 255).int().to(torch.uint8)


def sharpened(images: Tensor, amounts: Tensor) -> Tensor:
    """Return images moved away from their blurred image by amounts, or towards it; the outermost pixels stay.

    The blur weighs a pixel by 5 / 13 and each of its 8 neighbours by 1 / 13, as in Pillow.

    Args:
        images: uint8 [B, H, W, 3]; images of less than 3 pixels on a side stay.
        amounts: factor of the sharpness minus 1, float32 [B].
    """
    if min(images.shape[1:3]) < 3:
        return images
    whole = images.int()
    rows = whole[:, :-2] + whole[:, 1:-1] + whole[:, 2:]
    box = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = whole[:, 1:-1, 1:-1]
    blurred = (2 * (box + 4 * inner) + 13) // 26  # to the nearest level: a 13th is never halfway
    result = images.clone()
    moved = inner + (blurred - inner) * -amounts[:, None, None, None]
    result[:, 1:-1, 1:-1] = moved.clamp(0, 255).int().to(torch.uint8)
    return result


def changed_hue(images: Tensor, amounts: Tensor) -> Tensor:
    """Return images whose hues are rotated by a fraction of the circle; value and saturation stay.

    Args:
        images: uint8 [B, H, W, 3].
        amounts: rotation, float32 [B] in [-0.5, 0.5].
    """
    red, green, blue = images.float().unbind(dim=3)
    highest = torch.maximum(torch.maximum(red, green), blue)
    lowest = torch.minimum(torch.minimum(red, green), blue)
    is_grey = highest == lowest
    spread = torch.where(is_grey, 1, highest - lowest)
    red_part, green_part, blue_part = ((highest - channel) / spread for channel in (red, green, blue))
    sixths = torch.where(
        red == highest,
        blue_part - green_part,
        torch.where(green == highest, 2 + red_part - blue_part, 4 + green_part - red_part),
    )
    turned = (sixths + 6 * amounts[:, None, None]) % 6
    # a channel is the largest one minus a part of the spread, by the distance of its hue on the circle
    channels = [
        highest - spread * torch.minimum((turned + start) % 6, 4 - (turned + start) % 6).clamp(0, 1)
        for start in (5, 3, 1)
    ]
    colored = (torch.stack(channels, dim=3) * (255.999 / 255)).int().to(torch.uint8)
    return torch.where(is_grey[..., None], images, colored)
