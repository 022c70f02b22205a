"""Interface of all data sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, final

import numpy as np
import numpy.typing as npt

from trainables.data.decoding import decode, fit_boxes
from trainables.data.fingerprints import SplitFiles

Split = Literal["train", "test"]

SPLITS: tuple[Split, Split] = ("train", "test")

Allocate = Callable[[tuple[int, int, int, int]], npt.NDArray[np.uint8]]
"""Makes the array [N, H, W, 3] that a source decodes into; a file-backed array keeps large sets out of memory."""


@dataclass(frozen=True)
class Description:
    """Size of a source, known without decoding it.

    Attributes:
        n_train: number of training images, including the images that later validate.
        n_classes: number of classes.
        height_px: height of the images after reading.
        width_px: width of the images after reading.
    """

    n_train: int
    n_classes: int
    height_px: int
    width_px: int


@dataclass(frozen=True, eq=False)
class Decoded:
    """One split after decoding.

    Attributes:
        images: uint8 [N, H, W, 3], RGB.
        labels: int64 [N], indices into ``classes``.
        classes: name of each class, the same for both splits.
        boxes: int32 [N, 4], the object's (y0, x0, y1, x1) in half-open pixels; None for a source without boxes.
        digests: SHA-256 of what was decoded, by path of each file that was read as a whole, or by any name for a
            source without files; what is missing is read again or replaced by :meth:`Source.fingerprint`.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    boxes: npt.NDArray[np.int32] | None
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Listed:
    """Image files of one split, before they are decoded.

    Attributes:
        files: path of each image.
        labels: int64 [N], indices into ``classes``.
        classes: name of each class, the same for both splits.
        boxes: int32 [N, 4], the object's (y0, x0, y1, x1) in half-open pixels of the file; None for a source without
            boxes.
        upright: whether the EXIF orientation is applied.
    """

    files: Sequence[str]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    boxes: npt.NDArray[np.int32] | None = None
    upright: bool = False


def in_memory(shape: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    """Allocate an array [N, H, W, 3] in memory."""
    return np.empty(shape, dtype=np.uint8)


class Source(ABC):
    """Labelled images in two splits.

    A new source is one file in this folder: :mod:`trainables.data.sources.registry` finds its class. Help texts, the
    table of sources and the checks of a configuration use the attributes below. A source outside this package is
    spelled ``package.module:Class`` or ``package.module:Class:PATH``.

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
        """Take the folder that the source reads; None for a source without files or with a default folder."""
        self._path = path

    @classmethod
    def spelling(cls) -> str:
        """Return ``NAME``, or ``NAME:PATH`` for a source that needs a path."""
        return f"{cls.name}:PATH" if cls.needs_path else cls.name

    @abstractmethod
    def check(self) -> None:
        """Check all that can be checked without decoding an image.

        Raises:
            UserError: files are missing or contradict each other; the message names the path, the problem and what is
                expected.
        """

    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes in the order of the labels, without decoding an image.

        Raises:
            UserError: as for :meth:`check`.
        """

    def files(self, split: Split) -> SplitFiles | None:
        """Return all files that ``read(split, ...)`` reads, annotations included; None for a source without files.

        Splits are compared, and decoded images are kept, by the content of these files. The test split may also depend
        on the training split (classes, size): the files of that split are compared as well.

        Raises:
            UserError: the split's folder is missing.
        """
        return None

    def fingerprint(self, split: Split) -> str:
        """Return a text that changes whenever ``read(split, ...)`` would return other data; no image is decoded.

        A source without files must override this method. For the others it is the fingerprint that records of schema
        version 3 and older have.

        Raises:
            UserError: the split's folder is missing.
        """
        files = self.files(split)
        if files is None:
            raise NotImplementedError(f"{type(self).__name__} must define files or fingerprint")
        return files.fingerprint_by_times()

    @abstractmethod
    def describe(self, image_size_px: int | None = None) -> Description:
        """Return the numbers of images and classes, and the size that ``read`` would return.

        Raises:
            UserError: as for :meth:`check`.
        """

    def listed(self, split: Split) -> Listed:
        """Return the image files of a split with their labels and boxes; no image is decoded.

        A source with one file per image overrides this method. Its images can then also be kept as JPEGs.

        Raises:
            UserError: as for :meth:`check`, or an annotation cannot be read.
        """
        raise NotImplementedError(f"{type(self).__name__} must define listed or read")

    @classmethod
    def lists_files(cls) -> bool:
        """Return whether each image of the source is a file."""
        return cls.listed is not Source.listed

    def read(self, split: Split, image_size_px: int | None = None, *, allocate: Allocate = in_memory) -> Decoded:
        """Decode a split, by default the files of :meth:`listed` in their order; each call returns the same data.

        Args:
            split: ``train`` or ``test``; images of the other split are not decoded.
            image_size_px: side to which images are resized (short side, then centre crop); None keeps their size, or
                takes that of the training images if they differ in size.
            allocate: makes the array that is filled and returned as ``images``.

        Raises:
            UserError: as for :meth:`check`, or an image cannot be read.
        """
        return self.read_files(split, image_size_px, allocate=allocate)

    @final
    def read_files(
        self,
        split: Split,
        image_size_px: int | None = None,
        *,
        center_crop_frac: float = 1.0,
        allocate: Allocate = in_memory,
    ) -> Decoded:
        """Do the same as :meth:`read` for a source that lists its files.

        Args:
            split: as for :meth:`read`.
            image_size_px: as for :meth:`read`.
            center_crop_frac: as for :func:`trainables.data.decoding.decode`.
            allocate: as for :meth:`read`.

        Raises:
            UserError: as for :meth:`read`.
        """
        described = self.describe(image_size_px)
        listed = self.listed(split)
        side = described.height_px, described.width_px
        images = allocate((len(listed.files), *side, 3))
        sizes, digests = decode(listed.files, images, upright=listed.upright, center_crop_frac=center_crop_frac)
        boxes = listed.boxes
        if boxes is not None:
            boxes = fit_boxes(boxes, sizes, *side, center_crop_frac=center_crop_frac)
        return Decoded(images, listed.labels, listed.classes, boxes, digests)

    def class_counts(self) -> list[int] | None:
        """Return the number of training originals per class, without decoding; None if they are not known."""
        return None

    def notes(self) -> list[str]:
        """Return what a user should know of the files, one sentence each, for example files that are passed over.

        Raises:
            UserError: as for :meth:`check`.
        """
        return []

    def download(self) -> None:  # noqa: B027 (most sources have nothing to download)
        """Download the missing files, if the source supports this.

        Raises:
            UserError: the files cannot be downloaded.
        """
