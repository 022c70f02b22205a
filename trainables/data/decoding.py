"""Decoding of image files to arrays of one size; boxes are resized and cropped with their images.

An image is fitted to a size by resizing its largest centred window of that aspect ratio. For a square size, this
resizes the short side and crops the centre. Pixels are used as stored: an EXIF orientation is not applied, and an alpha
channel is dropped, as in torchvision's ``ImageFolder``.
"""

from __future__ import annotations

import hashlib
import io
import statistics
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.cores import usable_cores
from trainables.errors import UserError

SAMPLED_FILES = 1000
"""Number of files whose headers decide the size of the images in a folder."""

MAX_MIXED_PX = 224
"""Largest side that is chosen for images of different sizes if none is given."""

MAX_THREADS = 8
FILES_PER_TASK = 64

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""Exceptions that Pillow raises for broken files of the various formats."""


def common_size(files: Sequence[str], image_size_px: int | None) -> tuple[int, int]:
    """Return the height and width in pixels to which ``files`` are fitted.

    A given ``image_size_px`` is the side of a square. Otherwise the headers of about 1,000 evenly spaced files decide.
    If all have one size, it is kept. If not, the size is a square of their median short side, rounded down to a
    multiple of 8, at most 224.

    Raises:
        UserError: a file cannot be read.
    """
    if image_size_px is not None:
        return image_size_px, image_size_px
    sizes = [_header_size(file) for file in files[:: max(1, len(files) // SAMPLED_FILES)]]
    if len(set(sizes)) == 1:
        return sizes[0]
    median_px = int(statistics.median(min(size) for size in sizes))
    side_px = max(8, min(MAX_MIXED_PX, median_px // 8 * 8))
    return side_px, side_px


def decode(files: Sequence[str], out: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int32], dict[str, str]]:
    """Decode ``files`` into ``out``, uint8 [N, H, W, 3], on up to 8 threads; each file is read once.

    Returns:
        Heights and widths of the images before fitting, int32 [N, 2], in pixels; and the SHA-256 of each file by path.

    Raises:
        UserError: a file cannot be read; the message names it.
    """
    sizes = np.empty((len(files), 2), dtype=np.int32)
    digests = [""] * len(files)

    def decode_some(start: int) -> None:
        for index in range(start, min(start + FILES_PER_TASK, len(files))):
            sizes[index], digests[index] = _decode_into(files[index], out[index])

    pool = ThreadPoolExecutor(min(MAX_THREADS, usable_cores()))
    try:
        for _ in pool.map(decode_some, range(0, len(files), FILES_PER_TASK)):
            pass
    finally:  # after a broken file the others need not be decoded
        pool.shutdown(cancel_futures=True)
    return sizes, dict(zip(files, digests, strict=True))


def fit_images(images: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> None:
    """Fit ``images``, uint8 [N, h, w, 3], to the size of ``out``, uint8 [N, H, W, 3]."""
    if images.shape == out.shape:
        out[:] = images
        return
    for image, target in zip(images, out, strict=True):
        target[:] = _fitted(Image.fromarray(image), *target.shape[:2])


def fit_boxes(
    boxes: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32], height_px: int, width_px: int
) -> npt.NDArray[np.int32]:
    """Return boxes after their images were fitted to ``height_px`` x ``width_px``.

    Args:
        boxes: int32 [N, 4], (y0, x0, y1, x1) in half-open pixels of the original images.
        sizes: int32 [N, 2] or [2], heights and widths of the original images.
        height_px: height after fitting.
        width_px: width after fitting.

    Returns:
        int32 [N, 4]: the smallest whole pixels that contain the object, clipped to the image; empty if cropping
        removed the object.

    Examples:
        >>> boxes, sizes = np.array([[10, 0, 30, 20]], np.int32), np.array([[40, 40]], np.int32)
        >>> fit_boxes(boxes, sizes, height_px=20, width_px=20).tolist()
        [[5, 0, 15, 10]]
    """
    target = np.array([height_px, width_px])
    scale = (target / sizes).max(axis=-1, keepdims=True)
    cut = (sizes * scale - target) / 2
    corners = boxes.reshape(-1, 2, 2) * scale[..., None, :] - cut[..., None, :]
    corners = corners.round(6)  # a rounding error must not add a whole pixel below
    low, high = np.floor(corners[:, 0]), np.ceil(corners[:, 1])
    return np.concatenate([low, high], axis=1).clip(0, np.tile(target, 2)).astype(np.int32)


def _header_size(file: str) -> tuple[int, int]:
    try:
        with Image.open(file) as image:
            return image.height, image.width
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error


def _decode_into(file: str, out: npt.NDArray[np.uint8]) -> tuple[tuple[int, int], str]:
    height_px, width_px = out.shape[:2]
    try:
        content = Path(file).read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            size = image.height, image.width
            scale = max(height_px / image.height, width_px / image.width)
            # decoding a JPEG at 1/2, 1/4 or 1/8 is faster; twice the final size keeps the quality of the resampling
            image.draft(None, (round(2 * scale * image.width), round(2 * scale * image.height)))
            out[:] = _fitted(_to_rgb(image), height_px, width_px)
            return size, hashlib.sha256(content).hexdigest()
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error


def _unreadable(file: str, error: Exception) -> UserError:
    return UserError(f"cannot read the image {file}: {error}; repair or remove the file")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip at 255 instead of scaling
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:  # Pillow warns about a direct conversion to RGB
        image = image.convert("RGBA")
    return image.convert("RGB")


def _fitted(image: Image.Image, height_px: int, width_px: int) -> npt.NDArray[np.uint8]:
    if image.size != (width_px, height_px):
        scale = max(height_px / image.height, width_px / image.width)
        left = max(0.0, (image.width - width_px / scale) / 2)
        top = max(0.0, (image.height - height_px / scale) / 2)
        window = (left, top, image.width - left, image.height - top)
        image = image.resize((width_px, height_px), Image.Resampling.BILINEAR, box=window)
    return np.asarray(image)
