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

    A new source is one file in this folder: :mod:`trainables.data.sources.registry` finds its class. Help texts, the
    table of sources and the checks of a configuration use the attributes below.

    Attributes:
        name: the short name in ``--data NAME`` or ``--data NAME:PATH``.
        reads: one line for the table of sources: the files that the source reads.
        takes_path: whether ``NAME:PATH`` is valid; False for a source without files.
        needs_path: whether ``NAME`` alone is invalid, because the source has no default folder.
        path_names_data: whether PATH says which images are read, as for a folder of the user's own images; False for a
            published data set.
        has_boxes: whether ``read`` returns the box of the object in each image.
        flips: whether a left-right flip keeps the class of an image: yes for photographs, no for digits.
        images_per_original: number of consecutive training images that show the same original. The split into
            training and validation images keeps them together.
    """

    name: ClassVar[str]
    reads: ClassVar[str]
    takes_path: ClassVar[bool] = True
    needs_path: ClassVar[bool]
    path_names_data: ClassVar[bool] = False
    has_boxes: ClassVar[bool]
    flips: ClassVar[bool]
    images_per_original: ClassVar[int] = 1

    def __init__(self, path: Path | None = None) -> None:
        """Take the folder the source reads from; None where it needs none or has a default."""
        self._path = path

    @classmethod
    def spelling(cls) -> str:
        """Return ``NAME``, or ``NAME:PATH`` for a source that needs a path."""
        return f"{cls.name}:PATH" if cls.needs_path else cls.name

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
