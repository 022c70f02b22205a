"""Tiny ImageNet (Stanford CS231n) or a subset of its classes: photographs of 64 x 64 px with the object's box."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.data.decoding import common_size
from trainables.data.files import image_files
from trainables.data.fingerprints import SplitFiles
from trainables.data.sources.base import Description, Listed, Source, Split
from trainables.data.sources.wordnet import class_names
from trainables.errors import UserError

LAYOUT = (
    "expected the official layout: wnids.txt, words.txt, train/<wnid>/<wnid>_boxes.txt, "
    "train/<wnid>/images/, val/val_annotations.txt, val/images/"
)


@dataclass(frozen=True)
class _Annotated:
    """One image of the annotation files; ``box`` is (y0, x0, y1, x1) in half-open pixels."""

    file: str
    label: int
    box: tuple[int, int, int, int]


class TinyImageNet(Source):
    """Tiny ImageNet in its official layout; its ``val`` is the test split, because its ``test`` has no labels.

    Classes are the WordNet ids of ``wnids.txt``, sorted; their names are the first names in ``words.txt``.

    Examples:
        >>> TinyImageNet.spelling(), TinyImageNet.has_boxes
        ('tiny-imagenet:PATH', True)
    """

    name = "tiny-imagenet"
    reads = "Tiny ImageNet in its official layout"
    needs_path = True
    has_boxes = True
    flips = True

    def check(self) -> None:
        """Read the annotation files, and check that the images that they name exist.

        Raises:
            UserError: a file or folder is missing, or a line is invalid; the message names it and what is expected.
        """
        folders = [self._root / "train" / wnid / "images" for wnid in self._wnids()]
        for folder in (*folders, self._root / "val" / "images"):
            if not folder.is_dir():
                raise UserError(f"tiny-imagenet: the folder {folder} does not exist; {LAYOUT}")
        self.classes()
        folder_of: dict[Split, str] = {"train": "train", "test": "val"}
        for split, folder_name in folder_of.items():
            files = {f"{self._root}/{folder_name}/{name}" for name in image_files(self._root / folder_name)}
            for image in self._annotated(split):
                if image.file not in files:
                    raise UserError(f"tiny-imagenet: {image.file} does not exist, but an annotation names it")

    def classes(self) -> tuple[str, ...]:
        """Return the first name of each class, or its WordNet id if two classes share the name."""
        lines = self._existing("words.txt").read_text(encoding="utf-8").splitlines()
        names_by_wnid = {wnid: names for wnid, _, names in (line.partition("\t") for line in lines)}
        return class_names(self._wnids(), names_by_wnid)

    def class_counts(self) -> list[int]:
        """Return the number of training images per class."""
        labels = [image.label for image in self._annotated("train")]
        return [int(count) for count in np.bincount(labels, minlength=len(self._wnids()))]

    def files(self, split: Split) -> SplitFiles:
        """Return the split's annotations and images."""
        folder = "train" if split == "train" else "val"
        images = [f"{folder}/{name}" for name in image_files(self._existing(folder))]
        boxes = [f"train/{wnid}/{wnid}_boxes.txt" for wnid in self._wnids()]
        texts = ["wnids.txt", "words.txt", *(boxes if split == "train" else ["val/val_annotations.txt"])]
        for text in texts:
            self._existing(text)
        return SplitFiles(self._root, texts + images, class_of=_class_of)

    def describe(self, image_size_px: int | None = None) -> Description:
        """Count the annotated training images and read the headers of some."""
        self.check()
        annotated = self._annotated("train")
        size = common_size([image.file for image in annotated], image_size_px)
        return Description(len(annotated), len(self._wnids()), *size)

    def listed(self, split: Split) -> Listed:
        """List the annotated images of a split in the order of the annotation files.

        Raises:
            UserError: an annotation file is missing, or a line of it is invalid.
        """
        annotated = self._annotated(split)
        boxes = np.array([image.box for image in annotated], dtype=np.int32)
        labels = np.array([image.label for image in annotated], dtype=np.int64)
        return Listed([image.file for image in annotated], labels, self.classes(), boxes)

    @property
    def _root(self) -> Path:
        assert self._path is not None  # checked by the registry
        return self._path

    def _existing(self, name: str) -> Path:
        for path in (self._root, self._root / name):
            if not path.exists():
                raise UserError(f"tiny-imagenet: {path} does not exist; {LAYOUT}")
        return self._root / name

    def _wnids(self) -> list[str]:
        path = self._existing("wnids.txt")
        wnids = sorted(path.read_text(encoding="utf-8").split())
        if not wnids:
            raise UserError(f"tiny-imagenet: {path} is empty; expected one WordNet id per line")
        return wnids

    def _annotated(self, split: Split) -> list[_Annotated]:
        images = list(self._train_images() if split == "train" else self._val_images())
        if not images:
            raise UserError(f"tiny-imagenet: the annotations in {self._root} name no {split} image; {LAYOUT}")
        return images

    def _train_images(self) -> Iterator[_Annotated]:
        for label, wnid in enumerate(self._wnids()):
            folder = f"{self._root}/train/{wnid}/images"
            for name, *corners in _rows(self._existing(f"train/{wnid}/{wnid}_boxes.txt"), n_names=1):
                yield _Annotated(f"{folder}/{name}", label, _half_open(corners))

    def _val_images(self) -> Iterator[_Annotated]:
        path = self._existing("val/val_annotations.txt")
        labels = {wnid: label for label, wnid in enumerate(self._wnids())}
        for name, wnid, *corners in _rows(path, n_names=2):
            if wnid not in labels:
                raise UserError(f"tiny-imagenet: {path} names the class {wnid}, which is not in wnids.txt")
            yield _Annotated(f"{self._root}/val/images/{name}", labels[wnid], _half_open(corners))


def _class_of(name: str) -> str | None:
    """Return the WordNet id in the name of a training image, "" for a test image, None for a text file."""
    if name.endswith(".txt"):
        return None
    return name.split("/")[1] if name.startswith("train/") else ""


def _rows(path: Path, *, n_names: int) -> Iterator[list[str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = line.split()
        if len(row) != n_names + 4 or not all(corner.isdecimal() for corner in row[n_names:]):
            columns = " ".join(["file", "wnid"][:n_names])
            raise UserError(f"tiny-imagenet: line {number} of {path} is not '{columns} x0 y0 x1 y1': {line!r}")
        yield row


def _half_open(corners: list[str]) -> tuple[int, int, int, int]:
    """Turn inclusive x0, y0, x1, y1 into half-open y0, x0, y1, x1."""
    x0, y0, x1, y1 = map(int, corners)
    return y0, x0, y1 + 1, x1 + 1
