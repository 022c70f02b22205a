"""Operations on batches of images: each sample has its own operation, and nothing is random.

All sums and products are rounded one at a time, counts and grey values are whole numbers, and nothing is divided by a
constant, for which a GPU multiplies by a rounded reciprocal. So every device computes the same bits. On a CPU each
operation runs on the samples that have it. On other devices it runs on all samples and is selected afterwards: neither
a shape nor a branch depends on a draw.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.augment.colors import changed_hue, changed_saturation, grey, sharpened
from trainables.augment.operations import AFFINE, CODES, TABLES
from trainables.augment.sampling import moved
from trainables.device_paths import on_host


@dataclass(frozen=True, eq=False)
class Change:
    """One operation per sample.

    Attributes:
        codes: codes of :data:`trainables.augment.operations.CODES`, uint8 [B].
        amounts: what the operations are applied with, float32 [B]; see :class:`trainables.augment.operations.Levels`.
        matrices: rows of :func:`trainables.augment.operations.matrices`, float32 [B, 6]; None: no operation of
            the batch moves pixels.
    """

    codes: Tensor
    amounts: Tensor
    matrices: Tensor | None = None

    def of(self, rows: Tensor) -> Change:
        """Return the change of some rows, int64 [n]."""
        moved_by = None if self.matrices is None else self.matrices[rows]
        return Change(self.codes[rows], self.amounts[rows], moved_by)


def changed(
    images: Tensor, change: Change, *, among: Collection[str], interpolation: str = "nearest", fill: int = 0
) -> Tensor:
    """Return images after one operation each.

    Args:
        images: uint8 [B, H, W, 3], left unchanged.
        change: the operations, on the device of the images.
        among: names of the operations that may occur: others are not computed.
        interpolation: ``nearest`` or ``bilinear``, for operations that move pixels.
        fill: grey level of pixels that come from outside the image.

    Examples:
        >>> images = torch.tensor([0, 100, 250], dtype=torch.uint8).expand(2, 1, 1, 3)
        >>> codes = torch.tensor([CODES["invert"], CODES["brightness"]], dtype=torch.uint8)
        >>> changed(images, Change(codes, torch.tensor([0.0, 0.5])), among=["invert", "brightness"]).flatten(1)
        tensor([[255, 155,   5],
                [  0, 150, 255]], dtype=torch.uint8)
    """
    groups: list[tuple[tuple[str, ...], Callable[[Tensor, Change], Tensor]]] = [
        (AFFINE, lambda images, change: _moved(images, change, interpolation, fill)),
        (TABLES, lambda images, change: _mapped(images, change, among)),
        (("color",), lambda images, change: changed_saturation(images, change.amounts)),
        (("sharpness",), lambda images, change: sharpened(images, change.amounts)),
        (("hue",), lambda images, change: changed_hue(images, change.amounts)),
    ]
    result = images
    for names, operation in groups:
        if not any(name in among for name in names):
            continue
        chosen = (change.codes >= CODES[names[0]]) & (change.codes <= CODES[names[-1]])
        if not on_host(images.device):
            result = torch.where(chosen[:, None, None, None], operation(images, change), result)
        elif len(rows := chosen.nonzero()[:, 0]):
            result = result.clone() if result is images else result
            result[rows] = operation(images[rows], change.of(rows))
    return result


def _moved(images: Tensor, change: Change, interpolation: str, fill: int) -> Tensor:
    assert change.matrices is not None
    return moved(images, change.matrices, interpolation=interpolation, fill=fill)


def mapped(images: Tensor, tables: Tensor) -> Tensor:
    """Return images whose values are looked up: uint8 [B, H, W, C], from tables uint8 [B, C, 256]."""
    count, height, width, channels = images.shape
    index = images.long().reshape(count, height * width, channels)
    return tables.transpose(1, 2).gather(1, index).view(count, height, width, channels)


def _mapped(images: Tensor, change: Change, among: Collection[str]) -> Tensor:
    values = torch.arange(256, device=images.device)
    tables = values.to(torch.uint8).expand(len(images), images.shape[3], 256)
    for name in TABLES:
        if name in among:
            made = _TABLES[name](images, change.amounts[:, None, None], values)
            tables = torch.where((change.codes == CODES[name])[:, None, None], made, tables)
    return mapped(images, tables)


def _brightness(_: Tensor, amounts: Tensor, values: Tensor) -> Tensor:
    return (values * (1 + amounts)).clamp(0, 255).to(torch.uint8)


def _contrast(images: Tensor, amounts: Tensor, values: Tensor) -> Tensor:
    """Move values away from the mean grey level of the image, or towards it."""
    total = grey(images).sum(dim=(1, 2), dtype=torch.int64)
    mean = (total.double() * (1 / (images.shape[1] * images.shape[2]))).float()[:, None, None]
    return (values * (1 + amounts) + mean * -amounts).clamp(0, 255).to(torch.uint8)


def _posterize(_: Tensor, amounts: Tensor, values: Tensor) -> Tensor:
    dropped = 8 - amounts.clamp(0, 8).int()
    return ((values.int() >> dropped) << dropped).to(torch.uint8)


def _solarize(_: Tensor, amounts: Tensor, values: Tensor) -> Tensor:
    return torch.where(values >= 255 * amounts, 255 - values, values).to(torch.uint8)


def _auto_contrast(images: Tensor, _: Tensor, values: Tensor) -> Tensor:
    """Stretch each channel to 0..255; a constant channel stays as it is."""
    lowest, highest = (ends(dim=(1, 2)).float()[:, :, None] for ends in (images.amin, images.amax))
    constant = lowest == highest
    unit = torch.where(constant, 1, (highest - lowest) * (1 / 255))
    return ((values - torch.where(constant, 0, lowest)) / unit).clamp(0, 255).to(torch.uint8)


def _equalize(images: Tensor, _: Tensor, values: Tensor) -> Tensor:
    """Equalise the histogram of each channel by the integer rule of Pillow's ``ImageOps.equalize``."""
    count, height, width, channels = images.shape
    up_to = _counts(images).cumsum(dim=2)
    # the largest value of a channel is the first that all pixels are at most equal to
    below_largest = torch.where(up_to < height * width, up_to, 0).amax(dim=2, keepdim=True)
    step = below_largest // 255
    before = torch.cat([up_to.new_zeros(count, channels, 1), up_to[:, :, :-1]], dim=2)
    equalized = ((before + step // 2) // step.clamp(min=1)).clamp(0, 255)
    return torch.where(step > 0, equalized, values).to(torch.uint8)


def _counts(images: Tensor) -> Tensor:
    """Return how many pixels of each channel have each value, int64 [B, C, 256]."""
    count, _, _, channels = images.shape
    places = torch.arange(count * channels, device=images.device).view(count, 1, 1, channels)
    index = (images + 256 * places).flatten()
    # one dimension: the only form of this sum that a GPU computes in the same way each time
    counts = torch.zeros(count * channels * 256, dtype=torch.int64, device=images.device)
    return counts.scatter_add_(0, index, torch.ones_like(index)).view(count, channels, 256)


def _invert(_: Tensor, amounts: Tensor, values: Tensor) -> Tensor:
    return (255 - values).to(torch.uint8).expand(len(amounts), 1, 256)


_TABLES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "posterize": _posterize,
    "solarize": _solarize,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": _invert,
}
"""Tables of the operations: from images uint8 [B, H, W, 3], amounts float32 [B, 1, 1] and all values int64 [256]."""
