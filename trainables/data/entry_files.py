"""Files of an entry of the image cache: how a split is written, as pixels or as JPEGs, and read again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.data.config import Data
from trainables.data.decoding import fit_boxes
from trainables.data.entries import IMAGES_AT_ONCE, Entry, blaming, describe_array, mapped, write_meta
from trainables.data.image_set import ImageArray, ImageSet
from trainables.data.jpegs.codec import QUALITY
from trainables.data.jpegs.images import CONTENT, JpegImages
from trainables.data.jpegs.writing import ORIGINAL_SIZES, write_jpegs
from trainables.data.sources.base import Source, Split
from trainables.errors import UserError

FORMAT = 2
"""Version of the files and of the decoding. Raise it with each change: older entries are then ignored."""

JPEG_FORMAT = 1
"""Version of the files of JPEGs, as ``FORMAT``."""

IMAGES, LABELS, BOXES = "images.npy", "labels.npy", "boxes.npy"


@dataclass(frozen=True, eq=False)
class Written:
    """What was written besides the images.

    Attributes:
        labels: int64 [N].
        boxes: int32 [N, 4] or None: in pixels of the images, or of the original files for JPEGs.
        classes: names of the classes.
        mean: mean of each channel, float32 [3].
        std: standard deviation of each channel, float32 [3].
        digests: SHA-256 of what was decoded, as in :class:`trainables.data.sources.base.Decoded`.
        sha256: SHA-256 of files that are no arrays, by name.
        facts: what else is recorded.
    """

    labels: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int32] | None
    classes: tuple[str, ...]
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]
    digests: Mapping[str, str]
    sha256: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def storage_key(data: Data) -> Any:
    """Return all of a configuration that decides the stored images of a content.

    Examples:
        >>> storage_key(Data(image_size_px=64)), storage_key(Data(source="imagefolder:x", store="jpeg"))
        (64, ('jpeg', 1, 90, 320))
    """
    if data.stored_short_px is not None:  # the size of the view is no part of it
        return "jpeg", JPEG_FORMAT, QUALITY, data.stored_short_px
    return data.image_size_px if data.center_crop_frac == 1 else (data.image_size_px, data.center_crop_frac)


def write_images(source: Source, split: Split, data: Data, folder: Path) -> Written:
    """Write the images of a split into a folder.

    Args:
        source: where the images come from.
        split: which of its splits.
        data: how they are stored.
        folder: an empty folder in the cache.

    Raises:
        UserError: the source cannot be read, or the cache cannot be written.
    """
    if data.stored_short_px is not None:
        return _write_jpegs(source, split, data.stored_short_px, folder)
    read = (
        source.read
        if data.center_crop_frac == 1
        else partial(source.read_files, center_crop_frac=data.center_crop_frac)
    )
    decoded = read(split, data.image_size_px, allocate=partial(mapped, folder / IMAGES))
    mean, std = statistics_of(decoded.images) if split == "train" else (np.zeros(3, np.float32),) * 2
    return Written(decoded.labels, decoded.boxes, decoded.classes, mean, std, decoded.digests)


def _write_jpegs(source: Source, split: Split, stored_px: int, folder: Path) -> Written:
    described = source.describe()
    listed = source.listed(split)
    with blaming(folder.parent):
        written = write_jpegs(listed, folder, stored_px=stored_px)
    return Written(
        listed.labels,
        listed.boxes,
        listed.classes,
        *written.statistics(),
        written.digests,
        sha256={CONTENT: written.sha256},
        facts={"sides_px": [described.height_px, described.width_px]},
    )


def complete_entry(folder: Path, written: Written, split: Split, fingerprint: str) -> None:
    """Write all but the images and flush them: the files must be on the disk before the entry is renamed."""
    np.save(folder / LABELS, written.labels)
    if written.boxes is not None:
        np.save(folder / BOXES, written.boxes)
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    meta: dict[str, Any] = {"format": FORMAT, "content": fingerprint, "padded": {}, **written.facts}
    if split == "train":
        meta |= {"classes": written.classes, "mean": written.mean.tolist(), "std": written.std.tolist()}
    arrays = {path.name: describe_array(path) for path in sorted(folder.iterdir()) if path.name not in written.sha256}
    meta["arrays"] = arrays | {name: {"sha256": digest} for name, digest in written.sha256.items()}
    write_meta(folder, meta)


def load_entry(entry: Entry, train: Entry, data: Data) -> ImageSet:
    """Open the images of an entry.

    Args:
        entry: the entry of a split.
        train: that of the training split of the same source.
        data: how the images are stored, and the size of their view.

    Raises:
        UserError: the size of the images is not given, and is larger than that of the stored JPEGs.
    """
    boxes = np.load(entry.path / BOXES) if (entry.path / BOXES).exists() else None
    images: ImageArray
    if data.stored_short_px is None:
        images = np.load(entry.path / IMAGES, mmap_mode="r")
    else:
        sides_px = (data.image_size_px,) * 2 if data.image_size_px is not None else tuple(train.meta["sides_px"])
        if data.image_size_px is None and min(sides_px) > data.stored_short_px:
            raise UserError(
                f"the images of '{data.source}' have {sides_px[0]} x {sides_px[1]} px, but their JPEGs are stored with "
                f"at most {data.stored_short_px} px: set data.image_size_px to the size that is trained on, or "
                f"data.stored_px to {min(sides_px)}"
            )
        images, boxes = _open_jpegs(entry, sides_px, data.center_crop_frac, boxes)
    return ImageSet(
        images=images,
        labels=np.load(entry.path / LABELS),
        classes=tuple(map(str, train.meta["classes"])),
        boxes=boxes,
        mean=np.array(train.meta["mean"], dtype=np.float32),
        std=np.array(train.meta["std"], dtype=np.float32),
        content=entry.content,
    )


def _open_jpegs(
    entry: Entry, sides_px: tuple[int, ...], center_crop_frac: float, boxes: npt.NDArray[np.int32] | None
) -> tuple[JpegImages, npt.NDArray[np.int32] | None]:
    """Return the images, and their boxes in pixels of the view."""
    height_px, width_px = sides_px
    stored_boxes = None
    if boxes is not None:
        originals, sizes = np.load(entry.path / ORIGINAL_SIZES), JpegImages.stored_sizes(entry.path)
        stored_boxes = scaled_boxes(boxes, originals, sizes)
        boxes = fit_boxes(boxes, originals, height_px, width_px, center_crop_frac=center_crop_frac)
    images = JpegImages.opened(
        entry.path, sides_px=(height_px, width_px), center_crop_frac=center_crop_frac, boxes=stored_boxes
    )
    return images, boxes


def scaled_boxes(
    boxes: npt.NDArray[np.int32], originals: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """Return boxes after each image was resized as a whole, int32 [N, 4], rounded outwards.

    Args:
        boxes: (y0, x0, y1, x1) in half-open pixels of the original images, int32 [N, 4].
        originals: heights and widths of the original images, int64 [N, 2].
        sizes: heights and widths of the resized images, int64 [N, 2].

    Examples:
        >>> scaled_boxes(np.array([[1, 2, 5, 9]], np.int32), np.array([[8, 16]]), np.array([[4, 8]])).tolist()
        [[0, 1, 3, 5]]
    """
    low = boxes[:, :2] * sizes // originals
    high = -(-boxes[:, 2:] * sizes // originals)
    return np.concatenate([low, high], axis=1).clip(0, np.tile(sizes, 2)).astype(np.int32)


def statistics_of(images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return each channel's mean and standard deviation in [0, 1] units, from exact sums of integers in float64.

    A standard deviation is at least one grey level, so that a constant channel can be divided by it.
    """
    total = np.zeros(3)
    squares = np.zeros(3)
    for start in range(0, len(images), IMAGES_AT_ONCE):
        pixels = images[start : start + IMAGES_AT_ONCE].reshape(-1, 3).astype(np.float64)
        total += np.ones(len(pixels)) @ pixels  # a matrix product is faster than a sum over three columns
        squares += np.diagonal(pixels.T @ pixels)
    count = images.size / 3
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1.0))
    return (mean / 255).astype(np.float32), (std / 255).astype(np.float32)
