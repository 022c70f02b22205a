"""Batches of images that are moved or resized, each by its own numbers; the same bits on every device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad


def moved(images: Tensor, matrices: Tensor, *, interpolation: str, fill: int) -> Tensor:
    """Return images whose pixels come from other places.

    Args:
        images: uint8 [B, H, W, 3].
        matrices: rows of :func:`trainables.augment.operations.matrices`, float32 [B, 6].
        interpolation: ``nearest`` or ``bilinear``.
        fill: value of pixels from outside the image.

    Examples:
        >>> images = torch.tensor([1, 2, 3], dtype=torch.uint8).view(1, 1, 3, 1).expand(1, 1, 3, 3)
        >>> right = torch.tensor([[1.0, 0.0, -1.0, 0.0, 1.0, 0.0]])
        >>> moved(images, right, interpolation="nearest", fill=9)[..., 0]
        tensor([[[9, 1, 2]]], dtype=torch.uint8)
    """
    height, width = images.shape[1:3]
    a, b, c, d, e, f = matrices.double().T[:, :, None, None]
    x, y = (torch.arange(side, device=images.device) - (side - 1) / 2 for side in (width, height))
    x, y = x.double(), y.double()[:, None]
    from_x = (a * x + (c + (width - 1) / 2)) + b * y
    from_y = (d * x + (f + (height - 1) / 2)) + e * y
    bordered = _bordered(images, fill)
    if interpolation == "nearest":
        return torch.stack([part.to(torch.uint8) for part in _taken(bordered, from_y.round(), from_x.round())], dim=3)
    top, left = from_y.floor(), from_x.floor()
    down, right = (from_y - top).float(), (from_x - left).float()
    corners = (_taken(bordered, row, column) for row in (top, top + 1) for column in (left, left + 1))
    channels = [
        (first * (1 - right) + second * right) * (1 - down) + (third * (1 - right) + fourth * right) * down
        for first, second, third, fourth in zip(*corners, strict=True)
    ]
    return torch.stack([channel.round().int().to(torch.uint8) for channel in channels], dim=3)


def _bordered(images: Tensor, fill: int) -> Tensor:
    """Return images with a border of one pixel and three channels per number, int32 [B, H + 2, W + 2].

    One index then reads all channels, and needs no test whether a place is inside the image.
    """
    red, green, blue = pad(images, (0, 0, 1, 1, 1, 1), value=fill).int().unbind(dim=3)
    return red + 2**8 * green + 2**16 * blue


def _taken(bordered: Tensor, rows: Tensor, columns: Tensor) -> list[Tensor]:
    """Return the channels at rows and columns of images, whole numbers float64 [B, H, W]: 3 of int32 [B, H, W]."""
    count, height, width = bordered.shape
    index = rows.clamp(-1, height - 2) * width + (columns.clamp(-1, width - 2) + (width + 1))
    pixels = bordered.view(count, -1).gather(1, index.long().view(count, -1)).view(rows.shape)
    return [pixels & 255, (pixels >> 8) & 255, pixels >> 16]


def resized_windows(images: Tensor, windows: Tensor, *, height_px: int, width_px: int) -> Tensor:
    """Return windows of images, each resized to one size by bilinear interpolation with antialiasing.

    An output pixel is the mean of the input pixels within a triangle around its place, as in Pillow: as wide as two
    pixels of the output, or of the input if these are wider.

    Args:
        images: uint8 [B, H, W, C].
        windows: top, left, height and width of each window in pixels, int64 [B, 4]; inside the image.
        height_px: height of the result.
        width_px: width of the result.

    Returns:
        uint8 [B, height_px, width_px, C].

    Examples:
        >>> images = torch.arange(16, dtype=torch.uint8).view(1, 4, 4, 1)
        >>> resized_windows(images, torch.tensor([[0, 1, 2, 2]]), height_px=4, width_px=2)[0, :, :, 0]
        tensor([[1, 2],
                [2, 3],
                [4, 5],
                [5, 6]], dtype=torch.uint8)
    """
    top, left, height, width = windows.T
    rows = _blended(images, _taps(top, height, images.shape[1], height_px))
    columns = _blended(rows.transpose(1, 2), _taps(left, width, images.shape[2], width_px))
    return columns.transpose(1, 2).round().int().to(torch.uint8).contiguous()


def _taps(start: Tensor, size: Tensor, full_px: int, result_px: int) -> list[tuple[Tensor, Tensor]]:
    """Return the input pixels that make up each output pixel along one side, and their weights.

    The number of taps is that of the largest window: it depends on shapes alone.

    Returns:
        Pairs of place, int64 [B, result_px], and weight, float32 [B, result_px].
    """
    scale = (size.double() / torch.full_like(size, result_px, dtype=torch.float64))[:, None]
    support = scale.clamp(min=1)
    centre = (torch.arange(result_px, device=start.device) + 0.5) * scale
    first = (centre - support + 0.5).floor().long()
    n_taps = math.ceil(2 * max(1.0, full_px / result_px))
    places = [first + tap for tap in range(n_taps)]
    inside = [(place >= 0) & (place < size[:, None]) for place in places]
    weights = [
        (1 - ((place + 0.5 - centre) / support).abs()).clamp(min=0) * valid
        for place, valid in zip(places, inside, strict=True)
    ]
    total = sum(weights[1:], start=weights[0])
    return [
        ((start[:, None] + place.clamp(min=0)).clamp(max=full_px - 1), (weight / total).float())
        for place, weight in zip(places, weights, strict=True)
    ]


def _blended(images: Tensor, taps: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return weighted sums of the rows of images, float32 [B, result_px, W, C]."""
    batch = torch.arange(len(images), device=images.device)[:, None]
    parts = [images[batch, place] * weight[:, :, None, None] for place, weight in taps]
    return sum(parts[1:], start=parts[0])
