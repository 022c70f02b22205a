"""Writing of a store of JPEGs: files are copied where they can be, otherwise resized and encoded once more."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.data.decoding import PixelBudget, check_16_bits, in_order
from trainables.data.jpegs.codec import Pixels, decode_jpeg, encode_jpeg
from trainables.data.jpegs.images import CONTENT, OFFSETS, SIZES
from trainables.data.pixels import (
    open_image,
    orientation_of,
    quiet_pillow,
    read_content,
    read_pixels,
    turn_upright,
    upright_size,
)
from trainables.data.sources.base import Listed

ORIGINAL_SIZES = "original-sizes.npy"
"""File of the heights and widths of the images before they were resized, int64 [N, 2]: boxes are in these pixels."""


@dataclass(frozen=True, eq=False)
class StoredJpeg:
    """One image as it is stored.

    Attributes:
        content: the JPEG.
        size_px: its height and width.
        original_px: height and width of the image in its file, upright if the source is.
        counts: number of pixels with each value, int64 [3, 256].
        largest: as :func:`trainables.data.pixels.read_pixels` returns it, or 0.
        digest: SHA-256 of the file.
    """

    content: bytes
    size_px: tuple[int, int]
    original_px: tuple[int, int]
    counts: npt.NDArray[np.int64]
    largest: int
    digest: str


@dataclass(frozen=True, eq=False)
class WrittenJpegs:
    """What is known after a store was written.

    Attributes:
        sha256: SHA-256 of the file with the JPEGs, 64 hexadecimal digits.
        counts: number of stored pixels with each value, int64 [3, 256].
        digests: SHA-256 of each original file by its path.
    """

    sha256: str
    counts: npt.NDArray[np.int64]
    digests: Mapping[str, str]

    def statistics(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return each channel's mean and standard deviation over all stored pixels, float32 [3], in [0, 1] units.

        A standard deviation is at least one grey level, so that a constant channel can be divided by it.
        """
        values = np.arange(256.0)
        weights = self.counts / self.counts.sum(axis=1, keepdims=True)
        mean = weights @ values
        std = np.sqrt(np.maximum(weights @ values**2 - mean**2, 1.0))
        return (mean / 255).astype(np.float32), (std / 255).astype(np.float32)


def write_jpegs(listed: Listed, folder: Path, *, stored_px: int) -> WrittenJpegs:
    """Write the images of a split into one file, in their order, on up to 8 threads.

    Args:
        listed: the image files.
        folder: where the files of the store are written.
        stored_px: largest short side of a stored image; larger images are resized.

    Raises:
        UserError: files cannot be read; see :func:`trainables.data.decoding.decode`.
        OSError: the store cannot be written.
    """
    files, count = listed.files, len(listed.files)
    offsets, sizes, originals = np.zeros(count + 1, np.int64), np.empty((count, 2), np.int64), np.empty((count, 2), int)
    largest, digests = np.zeros(count, dtype=np.int32), [""] * count
    counts, digest = np.zeros((3, 256), dtype=np.int64), hashlib.sha256()
    budget = PixelBudget()

    def work(index: int) -> StoredJpeg:
        return stored_jpeg(files[index], stored_px, budget, upright=listed.upright)

    with (folder / CONTENT).open("wb") as file, quiet_pillow():
        for index, stored in enumerate(in_order(files, work)):
            file.write(stored.content)
            digest.update(stored.content)
            offsets[index + 1] = offsets[index] + len(stored.content)
            sizes[index], originals[index], largest[index] = stored.size_px, stored.original_px, stored.largest
            counts += stored.counts
            digests[index] = stored.digest
    check_16_bits(files, largest)
    np.save(folder / OFFSETS, offsets)
    np.save(folder / SIZES, sizes)
    np.save(folder / ORIGINAL_SIZES, originals)
    return WrittenJpegs(digest.hexdigest(), counts, dict(zip(files, digests, strict=True)))


def stored_jpeg(file: str, stored_px: int, budget: PixelBudget, *, upright: bool = False) -> StoredJpeg:
    """Return an image as it is stored.

    A JPEG in colours is copied byte for byte if it is small enough, upright, and undamaged. All other images are
    decoded, turned upright, resized and encoded: large ones, other formats, grey ones, and those in CMYK.

    Args:
        file: an image file of any format, size and mode.
        stored_px: largest short side of the result; larger images are resized.
        budget: limit of the pixels that all threads decode at one time.
        upright: whether the EXIF orientation is applied.

    Raises:
        UserError: the file cannot be read.
    """
    content = read_content(file)
    with open_image(file, content) as image:
        original_px = upright_size(image, upright=upright)
        orientation = orientation_of(image) if upright else 1
        scale = min(1.0, stored_px / min(original_px))
        finish = functools.partial(StoredJpeg, original_px=original_px, digest=hashlib.sha256(content).hexdigest())
        if image.format == "JPEG" and image.mode == "RGB" and orientation == 1 and scale == 1:
            with budget.use(image.width * image.height):
                kept = _decoded(content)
            if kept is not None:
                return finish(content, original_px, counts=_counts(kept), largest=0)
        # decoding a JPEG at 1/2, 1/4 or 1/8 is faster; twice the final size keeps the quality of the resampling
        n_px = image.width * image.height
        image.draft(None, (round(2 * scale * image.width), round(2 * scale * image.height)))
        if not image.info.get("progressive"):  # a progressive JPEG is decoded whole before it is reduced
            n_px = image.width * image.height
        with budget.use(n_px):
            pixels, largest = read_pixels(image, file)
            height_px, width_px = (max(1, round(scale * side)) for side in original_px)
            resized = _resized(pixels, *((width_px, height_px) if orientation >= 5 else (height_px, width_px)))
            encoded = encode_jpeg(np.ascontiguousarray(turn_upright(resized, orientation)))
    return finish(encoded, (height_px, width_px), counts=_counts(decode_jpeg(encoded)), largest=largest or 0)


def _decoded(content: bytes) -> Pixels | None:
    """Return the pixels of a JPEG; None if the decoder finds a fault, of which Pillow overlooks some."""
    try:
        return decode_jpeg(content)
    except ValueError:
        return None


def _resized(image: Image.Image, height_px: int, width_px: int) -> Pixels:
    colours = image.convert("RGB")
    if colours.size != (width_px, height_px):
        colours = colours.resize((width_px, height_px), Image.Resampling.BICUBIC)
    return np.asarray(colours)


def _counts(pixels: Pixels) -> npt.NDArray[np.int64]:
    return np.array(Image.fromarray(pixels).histogram(), dtype=np.int64).reshape(3, 256)
