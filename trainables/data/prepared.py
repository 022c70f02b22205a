"""The data of a trial, ready to train on: decoded, split, padded, and shared by all trials of a node."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from trainables.data.config import Data
from trainables.data.contents import Contents
from trainables.data.image_set import ImageArray, ImageSet
from trainables.data.places import place_of
from trainables.data.sources.registry import open_source
from trainables.data.splits import split_indices
from trainables.data.store import open_split, open_train


@dataclass(frozen=True)
class TrialData:
    """Images that a trial trains and validates on.

    Attributes:
        images: all training images of the source, memory-mapped.
        padded: these images with a zero border of ``pad_px``: uint8 [N, H + 2 pad_px, W + 2 pad_px, 3], memory-mapped.
            JPEGs are the same object as ``images.images``: they get their border after they were decoded.
        train_rows: int64 [n_train], images to train on.
        val_rows: int64 [n_val], images to validate on.
        flip: whether images are flipped left to right at random.
    """

    images: ImageSet
    padded: ImageArray
    train_rows: np.ndarray
    val_rows: np.ndarray
    flip: bool


def prepare_data(data: Data) -> TrialData:
    """Open the training images of ``data.source`` and split them; the first call on a node decodes them.

    The trials of one process share the open files. Test images are not read. Images that were moved are read from their
    present place: see :func:`trainables.data.places.images_at`.

    Raises:
        UserError: the source cannot be read, or a class has too few images for the split.

    Examples:
        >>> data = prepare_data(Data(source="digits", train_frac=0.1))
        >>> data.images.images.shape, len(data.train_rows), len(data.val_rows)
        ((5752, 32, 32, 3), 460, 120)
    """
    source = open_source(data.source)
    place = place_of(data.source)
    images, padded = _open(_stored(data, place.source), place.contents)
    repeats = source.images_per_original
    originals = split_indices(
        images.labels[::repeats], train_frac=data.train_frac, val_frac=data.val_frac, seed=data.split_seed
    )
    train_rows, val_rows = ((side[:, None] * repeats + np.arange(repeats)).ravel() for side in originals)
    return TrialData(
        images=images,
        padded=padded,
        train_rows=train_rows,
        val_rows=val_rows,
        flip=source.flips if data.flip is None else data.flip,
    )


def prepare_test(data: Data) -> ImageSet:
    """Open the test images of ``data.source``; the first call on a node decodes them.

    Use them only for measurements that no choice depends on.

    Raises:
        UserError: the source cannot be read, or has no test images.
    """
    place = place_of(data.source)
    return _open_test(_stored(data, place.source).model_copy(update={"pad_px": 0}), place.contents)


def _stored(data: Data, source: str) -> Data:
    """Return what decides the stored images: trials that differ in other fields share them."""
    fields = ("image_size_px", "pad_px", "store", "stored_px", "center_crop_frac")
    return Data(source=source, **{name: getattr(data, name) for name in fields})


def forget_images() -> None:
    """Look for changes of the files when images are opened the next time in this process."""
    _open_test.cache_clear()
    _open.cache_clear()


@functools.lru_cache(maxsize=1)
def _open_test(data: Data, contents: Contents) -> ImageSet:
    return open_split(data, "test", contents=contents)


@functools.lru_cache(maxsize=2)
def _open(data: Data, contents: Contents) -> tuple[ImageSet, ImageArray]:
    """Open the arrays once per process: the check for changes looks at each file of a folder."""
    return open_train(data, contents=contents)
