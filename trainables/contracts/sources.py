"""Laws of data sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainables.contracts.global_state import check_no_global_draws
from trainables.contracts.law import Law, require
from trainables.data.sources.base import SPLITS, Decoded, Source
from trainables.errors import UserError


@dataclass(frozen=True)
class SourceCase:
    """A source to check.

    Attributes:
        kind: class of the source.
        path: what it reads; None for a source without files or with a default folder.
    """

    kind: type[Source]
    path: Path | None

    def source(self) -> Source:
        """Return a new reader."""
        return self.kind(self.path)


def check_description(case: SourceCase) -> None:
    """Check that ``check`` accepts the data, and ``describe``, ``classes`` and ``has_boxes`` say what is read."""
    source = case.source()
    source.check()
    read, described = source.read("train"), source.describe()
    wanted = (described.n_train, described.height_px, described.width_px, 3)
    require(read.images.shape == wanted, f"describe means images {wanted}, read returned {read.images.shape}")
    require(
        described.n_classes == len(read.classes), f"describe has {described.n_classes} classes, read {read.classes}"
    )
    require(source.classes() == read.classes, f"classes() is {source.classes()}, read returned {read.classes}")
    require((read.boxes is not None) == source.has_boxes, f"has_boxes is {source.has_boxes}, but read says otherwise")


def check_arrays(case: SourceCase) -> None:
    """Check that both splits have images uint8 [N, H, W, 3], labels int64 [N] and, if any, boxes inside the images."""
    for image_size_px in (None, 24):
        read = {split: case.source().read(split, image_size_px) for split in SPLITS}
        train, test = read["train"], read["test"]
        require(train.classes == test.classes, "the splits have different classes")
        require(len(set(train.classes)) == len(train.classes), f"two classes have one name: {train.classes}")
        require(train.images.shape[1:] == test.images.shape[1:], "the splits have images of different size")
        for split, decoded in read.items():
            _check_decoded(decoded, f"split '{split}', image_size_px {image_size_px}", image_size_px)


def _check_decoded(read: Decoded, where: str, image_size_px: int | None) -> None:
    count, height_px, width_px, channels = read.images.shape
    require(channels == 3, f"{where}: images have {channels} channels")
    require(count > 0, f"{where}: there is no image")
    sides = (height_px, width_px)
    require(image_size_px is None or sides == (image_size_px, image_size_px), f"{where}: images have {sides} px")
    require(read.images.dtype == np.uint8, f"{where}: images are {read.images.dtype}")
    require(read.labels.dtype == np.int64, f"{where}: labels are {read.labels.dtype}")
    require(read.labels.shape == (count,), f"{where}: labels have the shape {read.labels.shape}, images {count}")
    lowest, highest = int(read.labels.min()), int(read.labels.max())
    require(0 <= lowest <= highest < len(read.classes), f"{where}: labels from {lowest} to {highest}")
    if read.boxes is not None:
        y0, x0, y1, x1 = read.boxes.T
        require(read.boxes.dtype == np.int32, f"{where}: boxes are {read.boxes.dtype}")
        require(read.boxes.shape == (count, 4), f"{where}: boxes have the shape {read.boxes.shape}")
        inside = (y0 >= 0) & (y0 < y1) & (y1 <= height_px) & (x0 >= 0) & (x0 < x1) & (x1 <= width_px)
        require(inside.all(), f"{where}: {int((~inside).sum())} boxes are empty or outside their image")


def check_listed(case: SourceCase) -> None:
    """Check that ``listed`` names one file per image of ``read``, with its label, if the source lists files."""
    if not case.kind.lists_files():
        return
    for split in SPLITS:
        listed, read = case.source().listed(split), case.source().read(split)
        n_files, n_images = len(listed.files), len(read.images)
        require(n_files == n_images, f"split '{split}': {n_files} files are listed, {n_images} images are read")
        require(np.array_equal(listed.labels, read.labels), f"split '{split}': labels of listed and read differ")
        require(listed.classes == read.classes, f"split '{split}': classes of listed and read differ")
        require(
            (listed.boxes is None) == (read.boxes is None), f"split '{split}': only one of listed and read has boxes"
        )


def check_same_at_every_call(case: SourceCase) -> None:
    """Check that two calls read the same data, without global random generators."""
    for split in SPLITS:
        with check_no_global_draws(f"split '{split}'"):
            first, second = (case.source().read(split) for _ in range(2))
        require(np.array_equal(first.images, second.images), f"split '{split}': images differ")
        require(np.array_equal(first.labels, second.labels), f"split '{split}': labels differ")
        boxes: list[Any] = [[] if read.boxes is None else read.boxes for read in (first, second)]
        require(np.array_equal(*boxes), f"split '{split}': boxes differ")
        require(
            case.source().fingerprint(split) == case.source().fingerprint(split),
            f"split '{split}': fingerprints differ",
        )


def check_splits_are_apart(case: SourceCase) -> None:
    """Check that no image is in both splits, and the splits have different fingerprints."""
    source = case.source()
    train, test = ({image.tobytes() for image in source.read(split).images} for split in SPLITS)
    require(not train & test, f"{len(train & test)} images are in both splits")
    require(source.fingerprint("train") != source.fingerprint("test"), "both splits have one fingerprint")


def check_decodes_into_the_given_array(case: SourceCase) -> None:
    """Check that ``read`` fills and returns the array that ``allocate`` makes."""
    arrays = []

    def allocate(shape: tuple[int, int, int, int]) -> np.ndarray:
        arrays.append(np.empty(shape, np.uint8))
        return arrays[-1]

    images = case.source().read("test", allocate=allocate).images
    require(len(arrays) == 1 and images is arrays[0], "read returned another array, so images would stay in memory")


def check_originals_are_together(case: SourceCase) -> None:
    """Check that training images of one original have one class, and originals are complete."""
    repeats = case.kind.images_per_original
    labels = case.source().read("train").labels
    require(len(labels) % repeats == 0, f"{len(labels)} images, but images_per_original is {repeats}")
    groups = labels.reshape(-1, repeats)
    require((groups == groups[:, :1]).all(), f"{repeats} consecutive images have different labels")


def check_missing_path_is_refused(case: SourceCase) -> None:
    """Check that a missing path is refused with a ``UserError`` that names it, if the source takes a path."""
    if not case.kind.takes_path:
        return
    source = case.kind(Path("/no/such/folder"))
    uses: dict[str, Callable[[], object]] = {
        "check": source.check,
        "classes": source.classes,
        "describe": source.describe,
        "fingerprint": lambda: source.fingerprint("train"),
    }
    for name, use in uses.items():
        try:
            use()
        except UserError as error:
            require("/no/such/folder" in str(error), f"{name}: the message does not name the path: {error}")
        else:
            require(False, f"{name} accepts '/no/such/folder'")


LAWS: tuple[Law[SourceCase], ...] = (
    check_description,
    check_arrays,
    check_listed,
    check_same_at_every_call,
    check_splits_are_apart,
    check_decodes_into_the_given_array,
    check_originals_are_together,
    check_missing_path_is_refused,
)
