"""Random draws of an epoch's data: order, corners of the crops, and flips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class EpochDraw:
    """Draws of the n samples of an epoch, in the order in which they are trained on; all arrays are on the host.

    Attributes:
        samples: index of each sample among the training rows, int64 [n].
        corners: top and left corner of each crop in the image with its border, int64 [2, n].
        flipped: whether each image is mirrored left to right, bool [n].
    """

    samples: np.ndarray
    corners: np.ndarray
    flipped: np.ndarray

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def batches(self, size: int) -> Iterator[EpochDraw]:
        """Yield the draws of each batch, as views; the last batch may be smaller."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield EpochDraw(self.samples[part], self.corners[:, part], self.flipped[part])


def draw_epoch(
    n_samples: int,
    *,
    batch_size: int,
    pad_px: int,
    flip: bool,
    order_rng: np.random.Generator,
    augment_rng: np.random.Generator,
) -> EpochDraw:
    """Draw the order, the crops and the flips of an epoch.

    The corners and then the flips are drawn batch by batch: ``batch_size`` decides the order of the random numbers.

    Args:
        n_samples: number of training images.
        batch_size: images per batch.
        pad_px: largest shift of a crop from the centre, pixels.
        flip: whether each image is mirrored with probability 0.5; otherwise no number is drawn for it.
        order_rng: generator of the order.
        augment_rng: generator of corners and flips.

    Examples:
        >>> order, augment = np.random.default_rng(0), np.random.default_rng(1)
        >>> draw = draw_epoch(5, batch_size=2, pad_px=4, flip=False, order_rng=order, augment_rng=augment)
        >>> sorted(draw.samples.tolist()), draw.corners.shape, [len(part) for part in draw.batches(2)]
        ([0, 1, 2, 3, 4], (2, 5), [2, 2, 1])
    """
    samples = order_rng.permutation(n_samples)
    corners, flipped = np.empty((2, n_samples), dtype=np.int64), np.zeros(n_samples, dtype=bool)
    for start in range(0, n_samples, batch_size):
        stop = min(start + batch_size, n_samples)
        corners[:, start:stop] = augment_rng.integers(2 * pad_px + 1, size=(2, stop - start))
        if flip:
            flipped[start:stop] = augment_rng.uniform(size=stop - start) < 0.5
    return EpochDraw(samples, corners, flipped)
