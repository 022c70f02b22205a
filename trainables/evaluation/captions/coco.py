"""Captions and images of MS-COCO (Lin et al., ECCV 2014; Chen et al. 2015, arXiv 1504.00325) in the official layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainables.data.decoding import decode
from trainables.errors import UserError

YEARS = ("2014", "2017")
KARPATHY_FILE = "dataset_coco.json"
KARPATHY_SPLITS = {"train": ("train", "restval"), "test": ("test",)}
"""Splits of Karpathy and Fei-Fei (CVPR 2015): 113,287 images for training, 5,000 for testing."""

LAYOUT = "annotations/captions_train2014.json, annotations/captions_val2014.json, train2014/ and val2014/ (or 2017)"

Captions = tuple[list[str], list[tuple[str, ...]]]


def check_layout(path: Path, *, karpathy: bool) -> None:
    """Check that the files with captions and the folders of images exist.

    Raises:
        UserError: some are missing; the message names the first one and the layout.
    """
    if not path.is_dir():
        raise UserError(f"captioning.data: the folder '{path}' does not exist; it must contain {LAYOUT}")
    year = _year(path)
    needed = [path / f"train{year}", path / f"val{year}"]
    needed += [path / KARPATHY_FILE] if karpathy else [_annotations(path, part, year) for part in ("train", "val")]
    missing = [each for each in needed if not each.exists()]
    if missing and karpathy and missing[-1].name == KARPATHY_FILE:
        raise UserError(f"captioning.karpathy needs the file '{missing[-1]}' of Karpathy and Fei-Fei's splits")
    if missing:
        raise UserError(f"captioning.data: '{missing[0]}' does not exist; '{path}' must contain {LAYOUT}")


def read_captions(path: Path, split: Literal["train", "test"], *, karpathy: bool) -> Captions:
    """Return the files of the images of a split, sorted, and the captions of each.

    The official split trains on the training images and tests on the validation images, because the captions of the
    test images are not published.

    Raises:
        UserError: a file is missing or is not as expected.
    """
    check_layout(path, karpathy=karpathy)
    captions: dict[str, list[str]] = {}
    source = path / KARPATHY_FILE if karpathy else _annotations(path, "train" if split == "train" else "val")
    pairs = _karpathy_pairs(path, _json(source), split) if karpathy else _official_pairs(path, _json(source), split)
    try:
        for file, caption in pairs:
            captions.setdefault(file, []).append(caption)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"captioning.data: '{source}' is not a file of captions of MS-COCO: {error!r}") from None
    if not captions:
        raise UserError(f"captioning.data: '{source}' has no captions for the split '{split}'")
    files = sorted(captions)
    return files, [tuple(captions[file]) for file in files]


def read_images(files: Sequence[str], *, side_px: int) -> npt.NDArray[np.uint8]:
    """Decode images, uint8 [n, side, side, 3]: the short side is resized, the centre is cropped.

    Raises:
        UserError: files cannot be read.
    """
    images = np.empty((len(files), side_px, side_px, 3), np.uint8)
    decode(files, images)
    return images


def _official_pairs(path: Path, content: Any, split: str) -> Iterator[tuple[str, str]]:
    folder = path / f"{'train' if split == 'train' else 'val'}{_year(path)}"
    names = {image["id"]: image["file_name"] for image in content["images"]}
    for annotation in content["annotations"]:
        yield str(folder / names[annotation["image_id"]]), str(annotation["caption"])


def _karpathy_pairs(path: Path, content: Any, split: Literal["train", "test"]) -> Iterator[tuple[str, str]]:
    for image in content["images"]:
        if image["split"] in KARPATHY_SPLITS[split]:
            for sentence in image["sentences"]:
                yield str(path / image["filepath"] / image["filename"]), str(sentence["raw"])


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise UserError(f"captioning.data: '{file}' is not JSON: {error}") from None


def _year(path: Path) -> str:
    """Return the first year whose training images are there, otherwise 2014, the year of the paper."""
    return next((year for year in YEARS if (path / f"train{year}").is_dir()), YEARS[0])


def _annotations(path: Path, part: str, year: str | None = None) -> Path:
    return path / "annotations" / f"captions_{part}{year or _year(path)}.json"
