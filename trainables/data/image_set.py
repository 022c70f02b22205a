"""Arrays of one split of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class ImageArray(Protocol):
    """Images uint8 [N, H, W, 3]: an array, or JPEGs that are decoded when they are read.

    ``images[rows]`` with an integer, a slice or an array of integers returns an array. Nothing else may be assumed: all
    images together may not fit into memory.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of images, height, width, and 3."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels: uint8."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, rows: Any, /) -> npt.NDArray[np.uint8]:
        """Return one image, uint8 [H, W, 3], or several, uint8 [B, H, W, 3]."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size with their labels; each array is kept as a read-only view.

    Attributes:
        images: uint8 [N, H, W, 3], RGB; see :class:`ImageArray`.
        labels: int64 [N], indices into ``classes``.
        classes: name of each class.
        boxes: int32 [N, 4], the object's (y0, x0, y1, x1) in half-open pixels, empty (y0 == y1 or x0 == x1) if cropping
            removed the object; None for sources without boxes.
        mean: float32 [3], each channel's mean over all training images, in [0, 1] units. A test set has the values of
            its training set.
        std: float32 [3], each channel's standard deviation over the same images.
        content: fingerprint of the files that the images were decoded from; "" for other images.

    Raises:
        ValueError: an array has another shape or type, or values outside their range.

    Examples:
        >>> images, labels = np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1])
        >>> mean, std = np.zeros(3, np.float32), np.ones(3, np.float32)
        >>> len(ImageSet(images, labels, ("cat", "dog"), None, mean, std))
        2
        >>> ImageSet(images, labels, ("cat",), None, mean, std)
        Traceback (most recent call last):
        ...
        ValueError: labels must be indices of the 1 classes
    """

    images: ImageArray
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    boxes: npt.NDArray[np.int32] | None
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]
    content: str = ""

    def __post_init__(self) -> None:
        """Check shapes, types and ranges, and make read-only views."""
        if len(self.images.shape) != 4 or self.images.shape[-1] != 3:
            raise ValueError(f"images must have the shape [N, H, W, 3], got {list(self.images.shape)}")
        count, height_px, width_px, _ = self.images.shape
        _check("images", self.images, np.uint8, self.images.shape)
        _check("labels", self.labels, np.int64, (count,))
        _check("mean", self.mean, np.float32, (3,))
        _check("std", self.std, np.float32, (3,))
        if count and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(f"labels must be indices of the {len(self.classes)} classes")
        if self.boxes is not None:
            _check("boxes", self.boxes, np.int32, (count, 4))
            _check_boxes(self.boxes, height_px, width_px)
        for name in ("images", "labels", "boxes", "mean", "std"):
            object.__setattr__(self, name, _read_only(getattr(self, name)))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)


def _check(name: str, array: ImageArray | npt.NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name} must be {np.dtype(dtype)} {list(shape)}, got {array.dtype} {list(array.shape)}")


def _check_boxes(boxes: npt.NDArray[np.int32], height_px: int, width_px: int) -> None:
    low, high = boxes[:, :2], boxes[:, 2:]
    if (low < 0).any() or (low > high).any() or (high > (height_px, width_px)).any():
        raise ValueError(f"boxes must be (y0, x0, y1, x1) inside images of {height_px} x {width_px} px")


def _read_only(array: Any) -> Any:
    if not isinstance(array, np.ndarray):
        return array
    view = array.view()
    view.flags.writeable = False
    return view
