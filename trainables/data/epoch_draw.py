"""Random draws of an epoch's data: order, corners of the crops, flips, and the changes of ``augment``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from trainables.augment.config import Augment
from trainables.augment.crops import draw_windows
from trainables.augment.draw import draw_changes


@dataclass(frozen=True, eq=False)
class EpochDraw:
    """Draws of the n samples of an epoch, in the order in which they are trained on; all arrays are on the host.

    Attributes:
        samples: index of each sample among the training rows, int64 [n].
        corners: top and left corner of each crop in the image with its border, int64 [2, n].
        flipped: whether each image is mirrored left to right, bool [n].
        windows: top, left, height and width of each crop that is resized, in pixels of the stored image before the
            flip, int64 [n, 4]; None: crops are not resized.
        changes: arrays of :func:`trainables.augment.draw.draw_changes`, one row per sample.
    """

    samples: np.ndarray
    corners: np.ndarray
    flipped: np.ndarray
    windows: np.ndarray | None = None
    changes: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def batches(self, size: int) -> Iterator[EpochDraw]:
        """Yield the draws of each batch, as views; the last batch may be smaller."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield EpochDraw(
                self.samples[part],
                self.corners[:, part],
                self.flipped[part],
                None if self.windows is None else self.windows[part],
                {name: values[part] for name, values in self.changes.items()},
            )


def draw_epoch(
    n_samples: int,
    *,
    batch_size: int,
    pad_px: int,
    flip: bool,
    order_rng: np.random.Generator,
    augment_rng: np.random.Generator,
    augment: Augment | None = None,
    sides_px: tuple[int, int] = (0, 0),
    stored_px: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None,
) -> EpochDraw:
    """Draw the order, the crops, the flips and the changes of an epoch.

    The corners and then the flips are drawn batch by batch: ``batch_size`` decides the order of the random numbers.
    Windows of resized crops and the other changes are drawn after them, for all samples at once.

    Args:
        n_samples: number of training images.
        batch_size: images per batch.
        pad_px: largest shift of a crop from the centre, pixels. Crops that are resized have no shift: their corners are
            ``pad_px``, and no number is drawn for them.
        flip: whether each image is mirrored with probability 0.5; otherwise no number is drawn for it.
        order_rng: generator of the order.
        augment_rng: generator of corners, flips and changes.
        augment: changes after the flip, and whether crops are resized; None: none.
        sides_px: height and width of the images that are trained on; only ``augment`` needs them.
        stored_px: returns heights and widths, int64 [n] each, of the stored images of samples, int64 [n]; None: all
            have ``sides_px``.

    Examples:
        >>> order, augment = np.random.default_rng(0), np.random.default_rng(1)
        >>> draw = draw_epoch(5, batch_size=2, pad_px=4, flip=False, order_rng=order, augment_rng=augment)
        >>> sorted(draw.samples.tolist()), draw.corners.shape, [len(part) for part in draw.batches(2)]
        ([0, 1, 2, 3, 4], (2, 5), [2, 2, 1])
    """
    resized = None if augment is None else augment.resized_crop
    samples = order_rng.permutation(n_samples)
    corners, flipped = np.full((2, n_samples), pad_px, dtype=np.int64), np.zeros(n_samples, dtype=bool)
    for start in range(0, n_samples, batch_size):
        stop = min(start + batch_size, n_samples)
        if resized is None:
            corners[:, start:stop] = augment_rng.integers(2 * pad_px + 1, size=(2, stop - start))
        if flip:
            flipped[start:stop] = augment_rng.uniform(size=stop - start) < 0.5
    if augment is None or augment.is_off:
        return EpochDraw(samples, corners, flipped)
    windows = None
    if resized is not None:
        alike = np.full(n_samples, sides_px[0]), np.full(n_samples, sides_px[1])
        heights_px, widths_px = alike if stored_px is None else stored_px(samples)
        windows = draw_windows(heights_px, widths_px, resized, augment_rng)
    changes = draw_changes(augment, n_samples, height_px=sides_px[0], width_px=sides_px[1], rng=augment_rng)
    return EpochDraw(samples, corners, flipped, windows, changes)
