"""Some images decoded as a store would do it, to estimate its size and the time to write it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainables.data.decoding import PixelBudget, decode, in_order
from trainables.data.jpegs.writing import stored_jpeg
from trainables.data.pixels import quiet_pillow


def sample_jpegs(files: Sequence[str], stored_px: int) -> float:
    """Return the mean size in bytes of the JPEGs that are stored of some files.

    Raises:
        UserError: a file cannot be read.
    """
    budget = PixelBudget()
    with quiet_pillow():
        jpegs = list(in_order(files, lambda index: stored_jpeg(files[index], stored_px, budget)))
    return float(np.mean([len(jpeg.content) for jpeg in jpegs]))


def sample_pixels(files: Sequence[str], height_px: int, width_px: int, *, center_crop_frac: float) -> None:
    """Decode some files to one size, and forget them.

    Raises:
        UserError: a file cannot be read.
    """
    decode(files, np.empty((len(files), height_px, width_px, 3), np.uint8), center_crop_frac=center_crop_frac)
