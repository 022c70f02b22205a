"""Images that stay JPEGs in a memory-mapped file, and are decoded when they are read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.data.decoding import fitted
from trainables.data.jpegs.codec import Pixels, decode_jpeg, resize_window

CONTENT, OFFSETS, SIZES = "images.jpegs", "offsets.npy", "sizes.npy"
"""Files of a store: the JPEGs one after another; where each begins, int64 [N + 1]; heights and widths, int64 [N, 2]."""

ROWS_PER_TASK = 4


class JpegImages:
    """The images of a split, which look like an array uint8 [N, H, W, 3] that is decoded row by row.

    ``images[rows]`` returns the view that is evaluated, see :func:`trainables.data.decoding.fitted`: the same as the
    array that a store of pixels holds, apart from the compression. :meth:`read_windows` returns crops of the stored
    images. Both decode on several threads; the results do not depend on their number.

    Attributes:
        shape: N, height and width of the view, and 3.
        dtype: uint8.
        sizes_px: height and width of each stored image, int64 [N, 2].
        boxes: the objects' (y0, x0, y1, x1) in half-open pixels of the stored images, int32 [N, 4]; None: no boxes.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        content: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.int64],
        sizes_px: npt.NDArray[np.int64],
        *,
        sides_px: tuple[int, int],
        center_crop_frac: float = 1.0,
        boxes: npt.NDArray[np.int32] | None = None,
    ) -> None:
        """Take the files of a store.

        Args:
            content: the JPEGs, uint8 [n_bytes].
            offsets: the first byte of each JPEG, and the number of bytes, int64 [N + 1].
            sizes_px: height and width of each JPEG, int64 [N, 2].
            sides_px: height and width of the view.
            center_crop_frac: part of each image that the view shows.
            boxes: boxes of the objects, int32 [N, 4], in pixels of the stored images.
        """
        self.shape: tuple[int, ...] = (len(sizes_px), *sides_px, 3)
        self.sizes_px = sizes_px
        self.boxes = boxes
        self._content = content
        self._offsets = offsets
        self._center_crop_frac = center_crop_frac

    @classmethod
    def opened(
        cls,
        folder: Path,
        *,
        sides_px: tuple[int, int],
        center_crop_frac: float,
        boxes: npt.NDArray[np.int32] | None,
    ) -> JpegImages:
        """Open the store in a folder; its JPEGs are mapped, not read."""
        content = np.memmap(folder / CONTENT, dtype=np.uint8, mode="r")
        return cls(
            content,
            np.load(folder / OFFSETS),
            cls.stored_sizes(folder),
            sides_px=sides_px,
            center_crop_frac=center_crop_frac,
            boxes=boxes,
        )

    @staticmethod
    def stored_sizes(folder: Path) -> npt.NDArray[np.int64]:
        """Return height and width of each image of the store in a folder, int64 [N, 2]."""
        sizes_px: npt.NDArray[np.int64] = np.load(folder / SIZES)
        return sizes_px

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.sizes_px)

    @property
    def n_bytes(self) -> int:
        """Size of all JPEGs, bytes."""
        return int(self._offsets[-1])

    def __getitem__(self, rows: Any) -> Pixels:
        """Return the view of one image, uint8 [H, W, 3], or of several, uint8 [B, H, W, 3].

        Args:
            rows: an integer, or a slice or an array of integers.
        """
        chosen = np.arange(len(self))[rows]
        views = np.empty((chosen.size, *self.shape[1:]), dtype=np.uint8)
        self.read(chosen.reshape(-1), views)
        return views[0] if chosen.ndim == 0 else views

    def jpeg(self, row: int) -> Pixels:
        """Return the JPEG of an image, uint8 [n_bytes], as a view of the file."""
        return self._content[self._offsets[row] : self._offsets[row + 1]]

    def pixels(self, row: int) -> Pixels:
        """Return the whole stored image, uint8 [h, w, 3]."""
        return decode_jpeg(self.jpeg(row))

    def read(self, rows: npt.NDArray[np.int64], out: Pixels, *, n_threads: int | None = None) -> None:
        """Decode the views of some images.

        Args:
            rows: int64 [B].
            out: uint8 [B, H, W, 3], which is filled.
            n_threads: threads that decode; None: as many as torch uses.
        """
        height_px, width_px = self.shape[1:3]

        def read_one(index: int) -> None:
            image = Image.fromarray(self.pixels(rows[index]))
            out[index] = fitted(image, height_px, width_px, self._center_crop_frac)

        _for_each(len(rows), read_one, n_threads)

    def read_windows(
        self,
        rows: npt.NDArray[np.int64],
        windows: npt.NDArray[np.int64],
        out: Pixels,
        *,
        n_threads: int | None = None,
    ) -> None:
        """Decode crops of some images, resized.

        Args:
            rows: int64 [B].
            windows: top, left, height and width of each crop in pixels of the stored image, int64 [B, 4].
            out: uint8 [B, H, W, 3], which is filled.
            n_threads: as for :meth:`read`.
        """

        def read_one(index: int) -> None:
            resize_window(self.pixels(rows[index]), windows[index], out[index])

        _for_each(len(rows), read_one, n_threads)


def _for_each(count: int, work: Callable[[int], None], n_threads: int | None) -> None:
    if n_threads is None:
        import torch  # commands that only look at a store do not wait for it

        n_threads = torch.get_num_threads()
    if n_threads == 1 or count <= 1:
        for index in range(count):
            work(index)
        return

    def some(start: int) -> None:
        for index in range(start, min(start + ROWS_PER_TASK, count)):
            work(index)

    for _ in _pool(n_threads).map(some, range(0, count, ROWS_PER_TASK)):
        pass


@functools.lru_cache(maxsize=4)
def _pool(n_threads: int) -> ThreadPoolExecutor:
    """Return the threads of this process that decode: starting some for each batch would cost more than some images."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="jpegs")
