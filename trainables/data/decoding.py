"""Decoding of image files to arrays of one size; boxes are resized and cropped with their images.

An image is fitted to a size by resizing its largest centred window of that aspect ratio. For a square size, this
resizes the short side and crops the centre. Colours are used as stored: an alpha channel is dropped, and a colour
profile is ignored, as in torchvision's ``ImageFolder``. The first frame of an image is used.
"""

from __future__ import annotations

import hashlib
import statistics
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.cores import usable_cores
from trainables.data.files import printable_path
from trainables.data.pixels import (
    FULL_16_BITS,
    MAX_PX,
    open_image,
    orientation_of,
    quiet_pillow,
    read_content,
    read_pixels,
    turn_upright,
    upright_size,
)
from trainables.errors import UserError

T = TypeVar("T")

NAMED = 2
"""Number of files that a message names after the first one."""

SAMPLED_FILES = 1000
"""Number of files whose headers decide the size of the images in a folder."""

MAX_MIXED_PX = 224
"""Largest side that is chosen for images of different sizes if none is given."""

MAX_THREADS = 8
FILES_PER_TASK = 64
TASKS_PER_THREAD = 2
"""Tasks that wait for each thread: results that are not used yet stay in memory."""

MAY_HAVE_FRAMES = (".apng", ".avif", ".gif", ".png", ".tif", ".tiff", ".webp")
"""Endings of files that may hold several images."""


def common_size(files: Sequence[str], image_size_px: int | None, *, upright: bool = False) -> tuple[int, int]:
    """Return the height and width in pixels to which ``files`` are fitted; ``upright`` is that of :func:`decode`.

    A given ``image_size_px`` is the side of a square. Otherwise the headers of about 1,000 evenly spaced files decide.
    If all have one size, it is kept. If not, the size is a square of their median short side, rounded down to a
    multiple of 8, at most 224.

    Raises:
        UserError: a file cannot be read.
    """
    if image_size_px is not None:
        return image_size_px, image_size_px
    with quiet_pillow():
        sizes = _of_each(_sample(files), partial(_header_size, upright=upright))
    if len(set(sizes)) == 1:
        return sizes[0]
    median_px = int(statistics.median(min(size) for size in sizes))
    side_px = max(8, min(MAX_MIXED_PX, median_px // 8 * 8))
    return side_px, side_px


def count_with_frames(files: Sequence[str]) -> int:
    """Return how many of about 1,000 evenly spaced files have more than one frame, which are not used.

    Raises:
        UserError: a file cannot be read.
    """
    with quiet_pillow():
        return sum(_of_each([file for file in _sample(files) if file.lower().endswith(MAY_HAVE_FRAMES)], _has_frames))


def decode(
    files: Sequence[str], out: npt.NDArray[np.uint8], *, upright: bool = False, center_crop_frac: float = 1.0
) -> tuple[npt.NDArray[np.int32], dict[str, str]]:
    """Decode ``files`` into ``out``, uint8 [N, H, W, 3], on up to 8 threads; each file is read once.

    Args:
        files: image files of any size and mode.
        out: array that is filled.
        upright: whether the EXIF orientation is applied, as in photographs of a camera. Published data sets are read as
            stored: their boxes and published results refer to the stored pixels.
        center_crop_frac: side of the central window that is used, as a fraction of the largest centred window.

    Returns:
        Heights and widths of the images before fitting, int32 [N, 2], in pixels; and the SHA-256 of each file by path.

    Raises:
        UserError: files cannot be read, are too large, or do not state the range of their samples; the message names
            the first ones, and says how many there are.
    """
    sizes = np.empty((len(files), 2), dtype=np.int32)
    digests = [""] * len(files)
    largest = np.zeros(len(files), dtype=np.int32)
    budget = PixelBudget()

    def decode_one(index: int) -> tuple[tuple[int, int], int, str]:
        return _decode_into(files[index], out[index], budget, upright=upright, center_crop_frac=center_crop_frac)

    with quiet_pillow():
        for index, decoded in enumerate(in_order(files, decode_one)):
            sizes[index], largest[index], digests[index] = decoded
    check_16_bits(files, largest)
    return sizes, dict(zip(files, digests, strict=True))


def decoding_threads() -> int:
    """Return the number of threads on which the files of a source are decoded."""
    return min(MAX_THREADS, usable_cores())


def in_order(files: Sequence[str], work: Callable[[int], T]) -> Iterator[T]:
    """Yield ``work(index)`` for each file in order, computed on up to 8 threads that are not far ahead.

    Raises:
        UserError: ``work`` has raised it. The other files are worked on first, so that the user learns of all that
            cannot be used; their results from the first such file on are not yielded.
    """
    unusable: dict[int, UserError] = {}
    n_threads = decoding_threads()

    def some(start: int) -> list[T]:
        results = []
        for index in range(start, min(start + FILES_PER_TASK, len(files))):
            try:
                results.append(work(index))
            except UserError as error:
                unusable[index] = error
        return results

    waiting: deque[Future[list[T]]] = deque()
    pool = ThreadPoolExecutor(n_threads)
    try:
        for start in range(0, len(files), FILES_PER_TASK):
            waiting.append(pool.submit(some, start))
            if len(waiting) > TASKS_PER_THREAD * n_threads:
                yield from _usable(waiting.popleft().result(), unusable)
        while waiting:
            yield from _usable(waiting.popleft().result(), unusable)
    finally:  # after Ctrl-C the others need not be worked on
        pool.shutdown(cancel_futures=True)
    _check_all_usable(files, unusable)


def _usable(results: list[T], unusable: Mapping[int, UserError]) -> list[T]:
    return [] if unusable else results


def fit_images(images: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> None:
    """Fit ``images``, uint8 [N, h, w, 3], to the size of ``out``, uint8 [N, H, W, 3]."""
    if images.shape == out.shape:
        out[:] = images
        return
    for image, target in zip(images, out, strict=True):
        target[:] = fitted(Image.fromarray(image), *target.shape[:2])


def fit_boxes(
    boxes: npt.NDArray[np.int32],
    sizes: npt.NDArray[np.int32],
    height_px: int,
    width_px: int,
    *,
    center_crop_frac: float = 1.0,
) -> npt.NDArray[np.int32]:
    """Return boxes after their images were fitted to ``height_px`` x ``width_px``.

    Args:
        boxes: int32 [N, 4], (y0, x0, y1, x1) in half-open pixels of the original images.
        sizes: int32 [N, 2] or [2], heights and widths of the original images.
        height_px: height after fitting.
        width_px: width after fitting.
        center_crop_frac: as for :func:`decode`.

    Returns:
        int32 [N, 4]: the smallest whole pixels that contain the object, clipped to the image; empty if cropping
        removed the object.

    Examples:
        >>> boxes, sizes = np.array([[10, 0, 30, 20]], np.int32), np.array([[40, 40]], np.int32)
        >>> fit_boxes(boxes, sizes, height_px=20, width_px=20).tolist()
        [[5, 0, 15, 10]]
    """
    target = np.array([height_px, width_px])
    scale = (target / sizes).max(axis=-1, keepdims=True) / center_crop_frac
    cut = (sizes * scale - target) / 2
    corners = boxes.reshape(-1, 2, 2) * scale[..., None, :] - cut[..., None, :]
    corners = corners.round(6)  # a rounding error must not add a whole pixel below
    low, high = np.floor(corners[:, 0]), np.ceil(corners[:, 1])
    return np.concatenate([low, high], axis=1).clip(0, np.tile(target, 2)).astype(np.int32)


class PixelBudget:
    """Limit of the pixels that are decoded at one time: a large image waits until it is the only one."""

    def __init__(self) -> None:
        """Begin with no pixels."""
        self._n_px = 0
        self._changed = threading.Condition()

    @contextmanager
    def use(self, n_px: int) -> Iterator[None]:
        """Wait until ``n_px`` pixels more stay within the limit, and count them while the context lasts."""
        with self._changed:
            self._changed.wait_for(lambda: not self._n_px or self._n_px + n_px <= MAX_PX)
            self._n_px += n_px
        try:
            yield
        finally:
            with self._changed:
                self._n_px -= n_px
                self._changed.notify_all()


def _sample(files: Sequence[str]) -> Sequence[str]:
    return files[:: max(1, len(files) // SAMPLED_FILES)]


def _of_each(files: Sequence[str], read: Callable[[str], T]) -> list[T]:
    """Return what the header of each file says; all files are read before an error is raised."""
    values: list[T] = []
    unusable: dict[int, UserError] = {}
    for index, file in enumerate(files):
        try:
            values.append(read(file))
        except UserError as error:
            unusable[index] = error
    _check_all_usable(files, unusable)
    return values


def _header_size(file: str, *, upright: bool) -> tuple[int, int]:
    with open_image(file) as image:
        return upright_size(image, upright=upright)


def _has_frames(file: str) -> bool:
    with open_image(file) as image:
        return bool(getattr(image, "is_animated", False))


def _decode_into(
    file: str, out: npt.NDArray[np.uint8], budget: PixelBudget, *, upright: bool, center_crop_frac: float
) -> tuple[tuple[int, int], int, str]:
    """Decode a file; return its height and width, its largest sample, or 0, as :func:`read_pixels`, and its SHA-256."""
    height_px, width_px = out.shape[:2]
    content = read_content(file)
    with open_image(file, content) as image:
        n_px = image.width * image.height
        size = upright_size(image, upright=upright)
        scale = max(height_px / size[0], width_px / size[1]) / center_crop_frac
        # decoding a JPEG at 1/2, 1/4 or 1/8 is faster; twice the final size keeps the quality of the resampling
        image.draft(None, (round(2 * scale * image.width), round(2 * scale * image.height)))
        if not image.info.get("progressive"):  # a progressive JPEG is decoded whole before it is reduced
            n_px = image.width * image.height
        with budget.use(n_px):
            pixels, largest = read_pixels(image, file)
            orientation = orientation_of(image) if upright else 1
            stored_px = (width_px, height_px) if orientation >= 5 else (height_px, width_px)
            upright_pixels = turn_upright(_fitted_rgb(pixels, *stored_px, center_crop_frac), orientation)
        out[:] = upright_pixels if upright_pixels.ndim == 3 else upright_pixels[..., None]
        return size, largest or 0, hashlib.sha256(content).hexdigest()


def _check_all_usable(files: Sequence[str], unusable: Mapping[int, UserError]) -> None:
    """Raise the error of the first file that cannot be used; the message names more of them, and their number."""
    if not unusable:
        return
    first, *others = sorted(unusable)
    if not others:
        raise unusable[first]
    named = " and ".join(printable_path(files[index]) for index in others[:NAMED])
    number = f"{len(others):,} more {'image' if len(others) == 1 else 'images'} cannot be used"
    raise UserError(f"{unusable[first]}; {number}{':' if len(others) <= NAMED else ', for example'} {named}")


def check_16_bits(files: Sequence[str], largest: npt.NDArray[np.int32]) -> None:
    """Check that some sample of all images with 16 bits per sample needs all 16 bits, if there are such images.

    If none does, the images either have fewer bits or are dark. Files do not tell this.
    """
    most = int(largest.max(initial=0))
    if 0 < most <= FULL_16_BITS // 2:
        raise UserError(
            f"cannot read {np.count_nonzero(largest):,} images with 16 bits per sample, for example "
            f"{printable_path(files[int(largest.argmax())])}: their values need {most.bit_length()} bits only, and the "
            "files do not state whether white is "
            f"{(1 << most.bit_length()) - 1:,} or {FULL_16_BITS:,}; scale the values to 16 bits, or convert the images "
            "to 8 bits"
        )


def _fitted_rgb(image: Image.Image, height_px: int, width_px: int, center_crop_frac: float) -> npt.NDArray[np.uint8]:
    """Fit an image without its alpha channel; [H, W] for a grey image."""
    if image.mode == "RGBA":  # one band at a time: a copy of a large image takes much memory
        bands = (fitted(image.getchannel(band), height_px, width_px, center_crop_frac) for band in "RGB")
        return np.stack(list(bands), axis=-1)
    return fitted(image, height_px, width_px, center_crop_frac)


def fitted(image: Image.Image, height_px: int, width_px: int, center_crop_frac: float = 1.0) -> npt.NDArray[np.uint8]:
    """Return the largest centred window of an image, or a central part of it, resized: uint8 [H, W] or [H, W, C].

    Args:
        image: an image of any size.
        height_px: height of the result.
        width_px: width of the result.
        center_crop_frac: side of the central part as a fraction of the side of the window.

    Examples:
        >>> fitted(Image.new("RGB", (500, 375)), 224, 224, 224 / 256).shape
        (224, 224, 3)
    """
    if image.size != (width_px, height_px) or center_crop_frac != 1:
        scale = max(height_px / image.height, width_px / image.width) / center_crop_frac
        left = max(0.0, (image.width - width_px / scale) / 2)
        top = max(0.0, (image.height - height_px / scale) / 2)
        window = (left, top, image.width - left, image.height - top)
        image = image.resize((width_px, height_px), Image.Resampling.BILINEAR, box=window)
    return np.asarray(image)
