"""CUB-200-2011 (Wah et al., Caltech, 2011): 11,788 photographs of 200 species of birds, with the bird's box."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.data.decoding import common_size
from trainables.data.files import image_files
from trainables.data.fingerprints import SplitFiles
from trainables.data.sources.base import Description, Listed, Source, Split
from trainables.errors import UserError

CLASSES, IMAGES, LABELS, SPLITS, BOXES = TABLES = (
    "classes.txt",
    "images.txt",
    "image_class_labels.txt",
    "train_test_split.txt",
    "bounding_boxes.txt",
)
LAYOUT = f"expected the official layout (the folder CUB_200_2011 of the archive): images/, {', '.join(TABLES)}"


@dataclass(frozen=True)
class _Annotated:
    """One image of the tables; ``box`` is (y0, x0, y1, x1) in half-open pixels."""

    file: str
    label: int
    box: tuple[int, int, int, int]


class Cub(Source):
    """CUB-200-2011 in its official layout and split: 5,994 training and 5,794 test images.

    Classes are the species of ``classes.txt`` in the order of their numbers, for example ``Black footed Albatross``.
    Images have many sizes; by default they are fitted to 224 px. A box is the smallest whole pixels around the
    published box.

    Examples:
        >>> Cub.spelling(), Cub.has_boxes
        ('cub:PATH', True)
    """

    name = "cub"
    reads = "CUB-200-2011 as published; PATH is its folder `CUB_200_2011`"
    needs_path = True
    has_boxes = True
    flips = True

    def check(self) -> None:
        """Read the tables, and check that the images that they name exist.

        Raises:
            UserError: a file or folder is missing, or a line is invalid; the message names it and what is expected.
        """
        files = set(image_files(self._existing("images")))
        for split in ("train", "test"):
            for image in self._annotated(split):
                if image.file not in files:
                    raise UserError(f"cub: {self._root / 'images' / image.file} does not exist, but {IMAGES} names it")

    def classes(self) -> tuple[str, ...]:
        """Return the species in the order of ``classes.txt``."""
        return tuple(self._species().values())

    def class_counts(self) -> list[int]:
        """Return the number of training images per class."""
        labels = [image.label for image in self._annotated("train")]
        return [int(count) for count in np.bincount(labels, minlength=len(self._species()))]

    def files(self, split: Split) -> SplitFiles:
        """Return the tables and the split's images."""
        self.check()
        labels = {f"images/{image.file}": str(image.label) for image in self._annotated(split)}
        return SplitFiles(self._root, [*TABLES, *labels], class_of=labels.get)

    def describe(self, image_size_px: int | None = None) -> Description:
        """Count the training images and read the headers of some."""
        self.check()
        files = self._files("train")
        return Description(len(files), len(self._species()), *common_size(files, image_size_px))

    def listed(self, split: Split) -> Listed:
        """List a split in the order of ``images.txt``.

        Raises:
            UserError: a file is missing, or a line of it is invalid.
        """
        annotated = self._annotated(split)
        boxes = np.array([image.box for image in annotated], dtype=np.int32)
        labels = np.array([image.label for image in annotated], dtype=np.int64)
        return Listed(self._files(split), labels, self.classes(), boxes)

    @property
    def _root(self) -> Path:
        assert self._path is not None  # checked by the registry
        return self._path

    def _existing(self, name: str) -> Path:
        for path in (self._root, self._root / name):
            if not path.exists():
                raise UserError(f"cub: {path} does not exist; {LAYOUT}")
        return self._root / name

    def _files(self, split: Split) -> list[str]:
        return [f"{self._root}/images/{image.file}" for image in self._annotated(split)]

    def _species(self) -> dict[str, str]:
        """Return the names of the classes by number, in the order of the numbers."""
        named = {number: name for number, (name,) in self._table(CLASSES, "class").items()}
        plain = {number: re.sub(r"^\d+\.", "", name).replace("_", " ") for number, name in named.items()}
        names = plain if len(set(plain.values())) == len(plain) else named
        return dict(sorted(names.items(), key=lambda item: int(item[0])))

    def _annotated(self, split: Split) -> list[_Annotated]:
        files, classes, trained_on, boxes = self._joined()
        labels = {number: label for label, number in enumerate(self._species())}
        wanted = "1" if split == "train" else "0"
        chosen = [
            _Annotated(file, labels[classes[image][0]], _half_open(boxes[image]))
            for image, (file,) in files.items()
            if trained_on[image][0] == wanted
        ]
        if not chosen:
            raise UserError(f"cub: {self._root / SPLITS} marks no image as a {split} image; {LAYOUT}")
        return chosen

    def _joined(self) -> tuple[dict[str, list[str]], ...]:
        """Return file, class, split and box of each image by number, in the order of the files."""
        files, classes = self._table(IMAGES, "file"), self._table(LABELS, "class")
        trained_on, boxes = self._table(SPLITS, "is_training_image"), self._table(BOXES, "x y width height")
        for name, table in ((LABELS, classes), (SPLITS, trained_on), (BOXES, boxes)):
            if missing := sorted(files.keys() - table.keys()):
                raise UserError(f"cub: {self._root / name} has no line for image {missing[0]} of {IMAGES}")
        species = self._species()
        for image, (number,) in classes.items():
            if number not in species:
                raise UserError(f"cub: {self._root / LABELS} gives image {image} the class {number}, not in {CLASSES}")
        return files, classes, trained_on, boxes

    def _table(self, name: str, columns: str) -> dict[str, list[str]]:
        """Return the lines of a table by the number at their start."""
        path, rows = self._existing(name), {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            key, *row = line.split() or [""]
            numbers = [key, *(row if name in (BOXES, SPLITS) else ())]
            if len(row) != len(columns.split()) or not all(map(_is_number, numbers)):
                raise UserError(f"cub: line {number} of {path} is not 'number {columns}': {line!r}")
            rows[key] = row
        return rows


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d*)?", text) is not None


def _half_open(box: list[str]) -> tuple[int, int, int, int]:
    """Turn x, y, width, height into half-open y0, x0, y1, x1 of whole pixels."""
    x, y, width, height = map(float, box)
    return math.floor(y), math.floor(x), math.ceil(y + height), math.ceil(x + width)
