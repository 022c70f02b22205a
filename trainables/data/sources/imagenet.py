"""ImageNet (ILSVRC 2012, classification and localization): 1.28 million photographs of a thousand classes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePath
from xml.etree import ElementTree

import numpy as np

from trainables.data.decoding import common_size
from trainables.data.files import annotation_files, image_files, subfolders
from trainables.data.fingerprints import SplitFiles
from trainables.data.sources.base import Description, Listed, Source, Split
from trainables.data.sources.wordnet import class_names
from trainables.errors import UserError

BOXES = "Annotations/CLS-LOC"
KAGGLE_IMAGES = "Data/CLS-LOC"
NAMES = "LOC_synset_mapping.txt"
LAYOUT = (
    "expected train/<wnid>/*.JPEG, val/*.JPEG or val/<wnid>/*.JPEG (both in the folder itself or in its "
    f"{KAGGLE_IMAGES}), and boxes in {BOXES}/train/<wnid>/*.xml and {BOXES}/val/*.xml"
)
NO_BOX = (0, 0, 0, 0)


@dataclass(frozen=True)
class _Annotation:
    """Class and box of one image: the largest object's (y0, x0, y1, x1) in half-open pixels."""

    wnid: str
    box: tuple[int, int, int, int]


class ImageNet(Source):
    """ImageNet; ``val`` is the test split, because the published ``test`` has no labels.

    Images are in ``PATH/train/<wnid>/*.JPEG`` and ``PATH/val``, or both in ``PATH/Data/CLS-LOC`` as Kaggle unpacks
    them. ``val`` is flat as published, with the class in the annotation, or has class folders as torchvision's reader
    expects. Boxes are in ``PATH/Annotations/CLS-LOC/train/<wnid>/<image>.xml`` and ``.../val/<image>.xml``. About 0.54
    million training images have a box. An image without a valid box gets an empty box. If several objects are
    annotated, the largest one is the box. The challenge accepts any of them, so localization errors are slightly higher
    here.

    Classes are the folders of ``train``, sorted. Their names are the first names in ``LOC_synset_mapping.txt`` if this
    file exists, otherwise the WordNet ids.

    Examples:
        >>> ImageNet.spelling(), ImageNet.has_boxes
        ('imagenet:PATH', True)
    """

    name = "imagenet"
    reads = "ILSVRC 2012: `train/WNID/*`, `val/*` (flat or by class), boxes in `Annotations/CLS-LOC`"
    needs_path = True
    has_boxes = True
    flips = True

    def check(self) -> None:
        """List images and annotations, without reading them.

        Raises:
            UserError: a folder is missing or empty, or a test image has no class; the message names it and what is
                expected.
        """
        wnids, train, test = self._wnids(), self._folder("train"), self._folder("test")
        filled = {image.split("/")[0] for image in self._images("train")}
        for wnid in wnids:
            if wnid not in filled:
                raise UserError(f"imagenet: the class folder {train / wnid} contains no image; {LAYOUT}")
        self._boxes("train")
        annotated = set(self._annotations("test"))
        for image in self._images("test"):
            wnid, annotation = image.split("/")[0], _annotation_of(image, "test")
            if "/" in image and wnid not in filled:
                raise UserError(f"imagenet: {test / wnid} is a class that {train} does not have")
            if "/" not in image and annotation not in annotated:
                raise UserError(
                    f"imagenet: {self._boxes('test') / annotation} does not exist, but the class of {test / image} is "
                    "read from it"
                )

    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, see :class:`ImageNet`."""
        path = self._root / NAMES
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        names_by_wnid = {wnid: names for wnid, _, names in (line.partition(" ") for line in lines)}
        return class_names(self._wnids(), names_by_wnid)

    def class_counts(self) -> list[int]:
        """Return the number of training images per class."""
        counts = Counter(image.split("/")[0] for image in self._images("train"))
        return [counts[wnid] for wnid in self._wnids()]

    def files(self, split: Split) -> SplitFiles:
        """Return the split's images and annotations, and the names of the classes."""
        images, boxes = self._folder(split), self._boxes(split)
        names = [NAMES] if (self._root / NAMES).is_file() else []
        prefix = f"{images.relative_to(self._root)}/"

        def class_of(name: str) -> str | None:
            return name.removeprefix(prefix).rpartition("/")[0] if name.startswith(prefix) else None

        return SplitFiles(
            self._root,
            [
                *names,
                *(f"{prefix}{image}" for image in self._images(split)),
                *(f"{boxes.relative_to(self._root)}/{annotation}" for annotation in self._annotations(split)),
            ],
            class_of,
        )

    def describe(self, image_size_px: int | None = None) -> Description:
        """Count the training images and read the headers of some."""
        self.check()
        files = self._files("train")
        return Description(len(files), len(self._wnids()), *common_size(files, image_size_px))

    def listed(self, split: Split) -> Listed:
        """List a split, sorted by name within its folders.

        Raises:
            UserError: a folder is missing, or an annotation cannot be read.
        """
        annotations = self._class_and_box(split)
        label_of = {wnid: label for label, wnid in enumerate(self._wnids())}
        labels = np.array([label_of[annotation.wnid] for annotation in annotations], dtype=np.int64)
        boxes = np.array([annotation.box for annotation in annotations], dtype=np.int32)
        return Listed(self._files(split), labels, self.classes(), boxes)

    @property
    def _root(self) -> Path:
        assert self._path is not None  # checked by the registry
        return self._path

    def _folder(self, split: Split) -> Path:
        parent = self._root / KAGGLE_IMAGES if (self._root / KAGGLE_IMAGES).is_dir() else self._root
        return self._existing(parent / ("train" if split == "train" else "val"))

    def _boxes(self, split: Split) -> Path:
        return self._existing(self._root / BOXES / ("train" if split == "train" else "val"))

    def _existing(self, folder: Path) -> Path:
        if not folder.is_dir():
            missing = folder if self._root.is_dir() else self._root
            raise UserError(f"imagenet: the folder {missing} does not exist; {LAYOUT}")
        return folder

    def _wnids(self) -> list[str]:
        folder = self._folder("train")
        wnids = subfolders(folder).names
        if not wnids:
            raise UserError(f"imagenet: {folder} contains no class folder; {LAYOUT}")
        return wnids

    def _images(self, split: Split) -> list[str]:
        """Return the images of a split relative to its folder; ``train`` ignores images outside class folders."""
        folder = self._folder(split)
        images = [name for name in image_files(folder) if split == "test" or "/" in name]
        if not images:
            raise UserError(f"imagenet: {folder} contains no image; {LAYOUT}")
        return images

    def _annotations(self, split: Split) -> list[str]:
        return annotation_files(self._boxes(split))

    def _files(self, split: Split) -> list[str]:
        folder = self._folder(split)
        return [f"{folder}/{image}" for image in self._images(split)]

    def _class_and_box(self, split: Split) -> list[_Annotation]:
        """Return class and box of each image; a class folder decides the class, otherwise the annotation does."""
        folder, annotated, wnids = self._boxes(split), set(self._annotations(split)), set(self._wnids())
        annotations = []
        for image in self._images(split):
            name = _annotation_of(image, split)
            annotation = _read(folder / name) if name in annotated else _Annotation("", NO_BOX)
            wnid = image.split("/")[0] if "/" in image else annotation.wnid
            if wnid not in wnids:
                raise UserError(
                    f"imagenet: {folder / name} names the class {wnid!r}, which {self._folder('train')} does not have; "
                    "correct the annotation or move the image into a class folder"
                )
            annotations.append(_Annotation(wnid, annotation.box))
        return annotations


def _annotation_of(image: str, split: Split) -> str:
    """Return the name of an image's annotation; only annotations of training images are in class folders."""
    name = PurePath(image).with_suffix(".xml")
    return f"{name.parts[0]}/{name.name}" if split == "train" else name.name


def _read(path: Path) -> _Annotation:
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
        boxes = [_half_open(element) for element in objects]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise UserError(f"imagenet: cannot read the annotation {path}: {error}") from error
    wnid = objects[0].findtext("name", default="").strip() if objects else ""
    return _Annotation(wnid, max((box for box in boxes if _area(box)), key=_area, default=NO_BOX))


def _half_open(element: ElementTree.Element) -> tuple[int, int, int, int]:
    """Turn inclusive xmin, ymin, xmax, ymax into half-open y0, x0, y1, x1.

    Raises:
        ValueError: a corner is missing or not a number.
    """
    corners = [element.findtext(f"bndbox/{corner}", default="") for corner in ("ymin", "xmin", "ymax", "xmax")]
    y0, x0, y1, x1 = (int(float(corner)) for corner in corners)
    return y0, x0, y1 + 1, x1 + 1


def _area(box: tuple[int, int, int, int]) -> int:
    y0, x0, y1, x1 = box
    return max(0, y1 - y0) * max(0, x1 - x0)
