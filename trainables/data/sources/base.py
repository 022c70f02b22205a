"""What every data source can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

Split = Literal["train", "test"]

Allocate = Callable[[tuple[int, int, int, int]], npt.NDArray[np.uint8]]
"""Makes the array [N, H, W, 3] that a source decodes into: file-backed, it keeps large sets out of memory."""


@dataclass(frozen=True)
class Description:
    """Size of a source, known without decoding it.

    Attributes:
        n_train: training images, those later used for validation included.
        n_classes: classes.
        height_px: height of the images once read.
        width_px: width of the images once read.
    """

    n_train: int
    n_classes: int
    height_px: int
    width_px: int


@dataclass(frozen=True, eq=False)
class Decoded:
    """One split as read.

    Attributes:
        images: uint8 [N, H, W, 3], RGB.
        labels: int64 [N], indices into ``classes``.
        classes: name of each class; the same for both splits.
        boxes: int32 [N, 4], the object's (y0, x0, y1, x1) in half-open pixels, or None.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    boxes: npt.NDArray[np.int32] | None


def in_memory(shape: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    """Allocate an array [N, H, W, 3] in memory."""
    return np.empty(shape, dtype=np.uint8)


class Source(ABC):
    """Labelled images in two splits.

    Attributes:
        name: the short name users give.
        flips: whether a left-right flip keeps an image's class (photographs yes, digits no).
        images_per_original: so many consecutive training images show the same original; a split that parted them
            would validate on what was trained on.
    """

    name: ClassVar[str]
    flips: ClassVar[bool]
    images_per_original: ClassVar[int] = 1

    def __init__(self, path: Path | None = None) -> None:
        """Take the folder the source reads from; None where it needs none or has a default."""
        self._path = path

    @abstractmethod
    def check(self) -> None:
        """Refuse what can be refused without decoding an image.

        Raises:
            UserError: something is missing or contradictory; names the path, what is wrong and what is
                expected.
        """

    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of the labels that ``read`` gives, decoding no image.

        Raises:
            UserError: as for :meth:`check`.
        """

    @abstractmethod
    def fingerprint(self, split: Split) -> str:
        """Return a text that differs whenever ``read(split, ...)`` would give other data.

        Images of the test split may further depend on the training split (classes, size): its fingerprint has
        to be looked at, too.

        Raises:
            UserError: the split's folder is missing.
        """

    @abstractmethod
    def describe(self, image_size_px: int | None = None) -> Description:
        """Return the number of images and classes and the size that ``read`` would give.

        Raises:
            UserError: as for :meth:`check`.
        """

    @abstractmethod
    def read(self, split: Split, image_size_px: int | None = None, *, allocate: Allocate = in_memory) -> Decoded:
        """Decode a split; the same data at every call.

        Args:
            split: ``train`` or ``test``; the other one's images are not decoded.
            image_size_px: side to which images are resized (short side, then centre crop); None keeps their
                size.
            allocate: makes the array that is filled and returned as ``images``.

        Raises:
            UserError: as for :meth:`check`, or an image cannot be read.
        """

    def download(self) -> None:  # noqa: B027 (a source that is always at hand has nothing to fetch)
        """Fetch what :meth:`check` would miss, where the source can be fetched.

        Raises:
            UserError: it cannot be fetched.
        """
