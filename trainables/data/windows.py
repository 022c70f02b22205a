"""Views of all crops of images with a border."""

from __future__ import annotations

from typing import overload

import numpy as np
from torch import Tensor


@overload
def windows_of(padded: np.ndarray, pad_px: int) -> np.ndarray: ...


@overload
def windows_of(padded: Tensor, pad_px: int) -> Tensor: ...


def windows_of(padded: np.ndarray | Tensor, pad_px: int) -> np.ndarray | Tensor:
    """Return a view of all crops of all images, without a copy: uint8 [N, 2 pad_px + 1, 2 pad_px + 1, H, W, C].

    Args:
        padded: uint8 [N, H + 2 pad_px, W + 2 pad_px, C]; views of arrays are read-only.
        pad_px: width of the border.

    Examples:
        >>> windows_of(np.zeros((5, 12, 14, 3), np.uint8), 2).shape
        (5, 5, 5, 8, 10, 3)
    """
    count, full_height, full_width, channels = padded.shape
    shape = (count, 2 * pad_px + 1, 2 * pad_px + 1, full_height - 2 * pad_px, full_width - 2 * pad_px, channels)
    if isinstance(padded, Tensor):
        of_image, of_row, of_column, of_channel = padded.stride()
        return padded.as_strided(shape, (of_image, of_row, of_column, of_row, of_column, of_channel))
    of_image, of_row, of_column, of_channel = padded.strides
    strides = (of_image, of_row, of_column, of_row, of_column, of_channel)
    return np.lib.stride_tricks.as_strided(np.asarray(padded), shape, strides, writeable=False)
