"""Mixing in one compiled pass if numba is installed: the bits of NumPy in a fifth to two thirds of its time.

NumPy writes the whole batch after each step. Here a sample stays in the cache until it is done. Its mask is first
extended to all channels: the loop over all numbers then has no branch and is compiled to vector instructions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Pass = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]
"""Writes ``out`` [n, N] from ``originals`` [n, N], row ``index[i]`` of ``pasted`` [m, N], and ``mask`` [k, M].

The N numbers of a row are M pixels with their channels side by side. A mask of one number (M = 1) is valid for all.
A row is a sample (k = n), or one channel of a sample (k = n / channels): the channels of a sample share its mask.
"""


ShiftedPass = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]
"""Writes into ``out`` [n, P, H, L] image ``index[i]`` of ``pasted`` [m, P, H, L] where ``mask`` [n, H, W] is set.

Pixel (y, x) gets the pixel ``(y + dy[i], x + dx[i])``, around the borders. The L numbers of a row are W pixels with
their channels side by side.
"""


class Passes(NamedTuple):
    """Compiled passes.

    Attributes:
        paste: for hard masks, uint8 0 or 1: moves bits, given as unsigned integers.
        blend: for soft masks: ``(1 - mask) * original + mask * pasted``, all float32.
        paste_shifted: for hard masks: moves bits of displaced images. Pixels outside the mask are not touched.
    """

    paste: Pass
    blend: Pass
    paste_shifted: ShiftedPass


@functools.cache
def passes() -> Passes | None:
    """Compile the passes, or load them from numba's cache on disk; None without numba."""
    try:
        from numba import njit
    except ImportError:
        return None
    # without fastmath, which would reorder the arithmetic: the result must not depend on whether numba is installed
    compiled = njit(nogil=True, cache=True)
    return Passes(compiled(_paste), compiled(_blend), compiled(_paste_shifted))


RGB = 3
"""Channels of most images. A constant lets the compiler unroll the extension of the mask: a third of the time."""


def _paste(out: np.ndarray, originals: np.ndarray, pasted: np.ndarray, index: np.ndarray, mask: np.ndarray) -> None:
    (count, size), pixels = out.shape, mask.shape[1]
    rows, channels = count // len(mask), size // pixels
    chosen = np.empty(size, dtype=out.dtype)
    for i in range(count):
        ones, original, paste, mixed = mask[i // rows], originals[i], pasted[index[i]], out[i]
        if channels == 1:
            for pixel in range(pixels):
                chosen[pixel] = np.uint64(0) - np.uint64(ones[pixel])
        elif channels == RGB:
            for pixel in range(pixels):
                bits = np.uint64(0) - np.uint64(ones[pixel])  # all bits or none
                chosen[pixel * RGB] = bits
                chosen[pixel * RGB + 1] = bits
                chosen[pixel * RGB + 2] = bits
        else:
            for place in range(size):
                chosen[place] = np.uint64(0) - np.uint64(ones[place // channels])
        for place in range(size):  # a choice by bits instead of an if: without a branch it is vectorised
            mixed[place] = original[place] ^ ((original[place] ^ paste[place]) & chosen[place])


def _blend(out: np.ndarray, originals: np.ndarray, pasted: np.ndarray, index: np.ndarray, mask: np.ndarray) -> None:
    (count, size), pixels = out.shape, mask.shape[1]
    rows, channels = count // len(mask), size // pixels
    extended = np.empty(size, dtype=np.float32)
    for i in range(count):
        values, original, paste, mixed = mask[i // rows], originals[i], pasted[index[i]], out[i]
        if pixels == 1:
            extended[:] = values[0]
        elif channels == 1:
            extended[:] = values
        elif channels == RGB:
            for pixel in range(pixels):
                extended[pixel * RGB] = values[pixel]
                extended[pixel * RGB + 1] = values[pixel]
                extended[pixel * RGB + 2] = values[pixel]
        else:
            for place in range(size):
                extended[place] = values[place // channels]
        for place in range(size):
            mixed[place] = paste[place] * extended[place] + original[place] * (np.float32(1) - extended[place])


def _paste_shifted(
    out: np.ndarray, pasted: np.ndarray, index: np.ndarray, mask: np.ndarray, dy: np.ndarray, dx: np.ndarray
) -> None:
    (count, planes, height, length), width = out.shape, mask.shape[2]
    channels = length // width
    for i in range(count):
        shown, down, right = pasted[index[i]], dy[i] % height, dx[i] % width
        for y in range(height):
            ones = mask[i, y]
            n_ones = 0  # counted first: most rows have none or all
            for x in range(width):
                n_ones += ones[x]
            if n_ones == 0:
                continue
            source_y = y + down
            if source_y >= height:
                source_y -= height
            x = 0
            while n_ones > 0:
                if ones[x] == 0:
                    x += 1
                    continue
                # a run of pixels, at most up to the border of the partner: adjacent numbers in both images
                source_x = x + right
                if source_x >= width:
                    source_x -= width
                room = min(width - x, width - source_x)
                run = 1
                while run < room and ones[x + run] == 1:
                    run += 1
                for plane in range(planes):
                    mixed = out[i, plane, y, x * channels : (x + run) * channels]
                    row = shown[plane, source_y, source_x * channels : (source_x + run) * channels]
                    for place in range(run * channels):
                        mixed[place] = row[place]
                n_ones -= run
                x += run
