"""Pascal VOC in its official layout: training on 2007 and 2012, test on 2007."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from trainables.data.files import printable_path
from trainables.data.pixels import open_image
from trainables.errors import UserError
from trainables.evaluation.detection.box_images import BoxImages, Objects
from trainables.evaluation.scenes import Split

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The twenty classes (Everingham et al., IJCV 2010, table 1), sorted."""

YEARS: dict[Split, tuple[str, ...]] = {"train": ("2007", "2012"), "test": ("2007",)}
LISTS: dict[Split, str] = {"train": "trainval", "test": "test"}

LAYOUT = (
    "expected: the official layout, VOC2007 and perhaps VOC2012 with the folders JPEGImages, Annotations and "
    "ImageSets/Main in each, from VOCtrainval_06-Nov-2007.tar, VOCtest_06-Nov-2007.tar and "
    "VOCtrainval_11-May-2012.tar"
)


@dataclass(frozen=True)
class _Entry:
    """One image: its file and its objects."""

    file: str
    objects: Objects


class VocImages(BoxImages):
    """Images of Pascal VOC: trainval of 2007 and, if it is there, of 2012 for training; test of 2007 for testing.

    Difficult objects are not trained on: images without another object are left out of the training images.
    """

    flips = True
    in_memory = False
    classes = CLASSES

    def __init__(self, root: Path, split: Split) -> None:
        """Read the annotations of a split; no image is decoded.

        Args:
            root: the folder VOCdevkit, or the one that contains it.
            split: ``train`` or ``test``.

        Raises:
            UserError: files are missing or contradict each other; the message names the path and what is expected.
        """
        entries = _entries(_devkit(root), split)
        self._entries = [each for each in entries if split == "test" or not each.objects.difficult.all()]
        if not self._entries:
            raise UserError(f"no image of '{printable_path(root)}' has an object that may be used; {LAYOUT}")

    def of_rows(self, rows: npt.NDArray[np.int64]) -> VocImages:
        """Return some of the images."""
        some = copy.copy(self)
        some._entries = [self._entries[row] for row in rows.tolist()]
        return some

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._entries)

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """Decode an image, uint8 [H, W, 3]."""
        file = self._entries[index].file
        with open_image(file) as image:
            return np.asarray(image.convert("RGB"))

    def objects(self, index: int) -> Objects:
        """Return the objects of an image."""
        return self._entries[index].objects


def check_voc(root: Path) -> None:
    """Check lists, annotations and the presence of all images, without decoding one.

    Raises:
        UserError: as for :class:`VocImages`.
    """
    for split in YEARS:
        VocImages(root, split)


def voc_name(root: Path) -> str:
    """Return ``voc07+12``, or ``voc07`` if the images of 2012 are not there.

    Raises:
        UserError: the folder does not contain VOC2007.
    """
    return "voc" + "+".join(year[2:] for year in _years(_devkit(root), "train"))


def _devkit(root: Path) -> Path:
    for folder in (root, root / "VOCdevkit"):
        if (folder / "VOC2007").is_dir():
            return folder
    problem = "does not contain VOC2007" if root.is_dir() else "does not exist"
    raise UserError(f"'{printable_path(root)}' {problem}; {LAYOUT}")


def _years(devkit: Path, split: Split) -> list[str]:
    return [year for year in YEARS[split] if year == "2007" or (devkit / f"VOC{year}").is_dir()]


def _entries(devkit: Path, split: Split) -> Sequence[_Entry]:
    """Return the images of a split, year by year in the order of the lists."""
    found: list[_Entry] = []
    for year in _years(devkit, split):
        folder = devkit / f"VOC{year}"
        list_file = folder / "ImageSets" / "Main" / f"{LISTS[split]}.txt"
        if not list_file.is_file():
            raise UserError(f"'{printable_path(list_file)}' is missing; {LAYOUT}")
        # an edited folder is read again
        stamps = [path.stat().st_mtime_ns for path in (list_file, *folder.iterdir())]
        found += _of_year(folder, list_file, tuple(stamps))
    return found


@lru_cache(maxsize=4)
def _of_year(folder: Path, list_file: Path, stamps: tuple[int, ...]) -> list[_Entry]:
    names = list_file.read_text(encoding="utf-8").split()
    if not names:
        raise UserError(f"'{printable_path(list_file)}' lists no image; {LAYOUT}")
    parts = {}
    for part, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".xml")):
        if not (folder / part).is_dir():
            raise UserError(f"'{printable_path(folder / part)}' is missing; {LAYOUT}")
        present = {path.name for path in (folder / part).iterdir()}
        missing = [name for name in names if name + suffix not in present]
        if missing:
            first = printable_path(folder / part / (missing[0] + suffix))
            raise UserError(
                f"'{first}' and {len(missing) - 1} more of the {len(names)} files that "
                f"'{printable_path(list_file)}' lists are missing; unpack the archives again"
                if len(missing) > 1
                else f"'{first}', which '{printable_path(list_file)}' lists, is missing; unpack the archives again"
            )
        parts[part] = [str(folder / part / (name + suffix)) for name in names]
    return [
        _Entry(image, _read_objects(annotation))
        for image, annotation in zip(parts["JPEGImages"], parts["Annotations"], strict=True)
    ]


def _read_objects(file: str) -> Objects:
    """Read one annotation; VOC counts pixels from 1, and both ends of a box belong to it."""
    try:
        rows = [_read_object(each) for each in ElementTree.parse(file).getroot().iter("object")]
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise UserError(f"cannot use the annotation '{printable_path(file)}': {error}; {LAYOUT}") from None
    table = np.array([box for box, _, _ in rows], dtype=np.float32).reshape(-1, 4)
    labels = np.array([label for _, label, _ in rows], dtype=np.int64)
    return Objects(table, labels, np.array([difficult for _, _, difficult in rows], dtype=np.bool_))


def _read_object(element: ElementTree.Element) -> tuple[list[float], int, bool]:
    name = (element.findtext("name") or "").strip()
    if name not in CLASSES:
        raise ValueError(f"an object has the class '{name}', which is none of the twenty of VOC")
    box = element.find("bndbox")  # that of the object, not of its parts
    ends = [] if box is None else [float(box.findtext(end) or "nan") for end in ("xmin", "ymin", "xmax", "ymax")]
    if not (len(ends) == 4 and all(map(math.isfinite, ends)) and ends[0] <= ends[2] and ends[1] <= ends[3]):
        raise ValueError(f"the box of a '{name}' is {ends or 'missing'}, but xmin <= xmax and ymin <= ymax are needed")
    x0, y0, x1, y1 = ends
    return [x0 - 1, y0 - 1, x1, y1], CLASSES.index(name), (element.findtext("difficult") or "0").strip() == "1"
