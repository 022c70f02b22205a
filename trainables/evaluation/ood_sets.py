"""OOD images: natural images of any data source, and noise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainables.data.config import Data
from trainables.data.decoding import fit_images
from trainables.data.image_set import ImageArray
from trainables.data.places import place_of
from trainables.data.sources.registry import SOURCES, is_same_source, open_source, split_source, split_text
from trainables.data.store import open_split
from trainables.errors import UserError, did_you_mean
from trainables.evaluation.subject import ModelInfo, drawn_by_class
from trainables.seeds import generator

IMAGES_AT_ONCE = 256
LISTED_CLASSES = 5


@dataclass(frozen=True, eq=False)
class OutSet:
    """One set of OOD images.

    Attributes:
        kind: ``natural`` or ``noise``.
        name: name in the records, for example ``tiny-imagenet resize`` or ``uniform``.
        images: uint8 [N, H, W, 3], of the size of the training images.
    """

    kind: Literal["natural", "noise"]
    name: str
    images: np.ndarray


def _uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw each channel of each pixel independently and uniformly from [0, 1]."""
    return rng.integers(0, 256, shape, dtype=np.uint8)


def _gaussian(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw each channel of each pixel from N(0.5, 1), clipped to [0, 1] (Liang et al., ICLR 2018, section 4.2)."""
    pixels = rng.standard_normal(shape, dtype=np.float32) + np.float32(0.5)
    rounded: np.ndarray = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return rounded


NOISES: dict[str, Callable[[tuple[int, ...], np.random.Generator], np.ndarray]] = {
    "uniform": _uniform,
    "gaussian": _gaussian,
}
"""Functions from the shape of one image and a generator to its pixels in 256 levels, by kind of noise."""


def check_names(sets: Iterable[str]) -> None:
    """Check that there is at least one set, that all are known, and that no two have the same name.

    Raises:
        ValueError: the message names the set and the valid values.

    Examples:
        >>> check_names(["uniform", "gausian"])
        Traceback (most recent call last):
        ...
        ValueError: unknown set 'gausian'; did you mean 'gaussian'? valid: ...
    """
    names = []
    for ood_set in sets:
        source = split_text(ood_set)[0]
        if ood_set not in NOISES and source not in SOURCES and not SOURCES.is_own(source):
            raise ValueError(f"unknown set {source!r}{did_you_mean(source, [*NOISES, *SOURCES.names()])}")
        names.append(set_name(ood_set))
        if names.count(names[-1]) > 1:
            raise ValueError(f"two sets would both be recorded as {names[-1]!r}")
    if not names:
        raise ValueError("must contain at least one set")


def set_name(ood_set: str) -> str:
    """Return the name of a set in the records: without its path, but with the folder if the path names the data.

    Examples:
        >>> set_name("imagefolder:/data/photos"), set_name("tiny-imagenet:/data/tiny")
        ('imagefolder:photos', 'tiny-imagenet')
    """
    if ood_set in NOISES:
        return ood_set
    name, path = split_source(ood_set)
    return f"{name}:{path.resolve().name}" if SOURCES[name].path_names_data and path is not None else name


def default_sets(about: ModelInfo) -> tuple[str, ...]:
    """Return both kinds of noise and, unless the network was trained on digits, ``digits``."""
    trained_on = is_same_source("digits", about.config.data.source) or shared_classes("digits", about.classes)
    return (*NOISES, *(() if trained_on else ("digits",)))


def check_not_trained_on(ood_set: str, about: ModelInfo) -> None:
    """Check that a set exists, and that the network was not trained on it or on one of its classes.

    Raises:
        UserError: the message names the set, the problem, and the classes in common.
    """
    if ood_set in NOISES:
        return
    if is_same_source(ood_set, place_of(about.config.data.source).source):
        raise UserError(f"ood.sets: the network was trained on '{ood_set}', so it is not out of distribution")
    open_source(ood_set).check()
    shared = shared_classes(ood_set, about.classes)
    if shared:
        more = len(shared) - LISTED_CLASSES
        listed = ", ".join(repr(name) for name in shared[:LISTED_CLASSES]) + (f" and {more} more" if more > 0 else "")
        raise UserError(
            f"ood.sets: the network was trained on classes of '{ood_set}', so it is not out of distribution: {listed}"
        )


def shared_classes(ood_set: str, classes: Iterable[str]) -> list[str]:
    """Return the classes of a source whose names are in ``classes``, ignoring case, spaces, ``_`` and ``-``.

    Only names are compared: ``automobile`` and ``sports car`` are different classes here.

    Examples:
        >>> shared_classes("digits", ["7", "seven"])
        ['7']
    """
    plain_names = {_plain(name) for name in classes}
    return [name for name in open_source(ood_set).classes() if _plain(name) in plain_names]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.casefold())


def out_sets(ood_set: str, *, height_px: int, width_px: int, count: int, seed: int) -> Iterator[OutSet]:
    """Yield the images of a set, fitted to a size in one or two ways.

    Natural images are the test images of their source, drawn by class. Images larger than the network's images are
    fitted in two ways, as Liang et al. (ICLR 2018) did with Tiny ImageNet: cropped at random places (``crop``), and
    scaled down (``resize``, the largest centred window of the right aspect ratio). Smaller images are only scaled.
    Images of the right size are not changed.

    Args:
        ood_set: a kind of noise or a data source.
        height_px: height of the images.
        width_px: width of the images.
        count: number of images; fewer if the source has fewer.
        seed: seed of all random draws.

    Raises:
        UserError: the source cannot be read.
    """
    name, shape = set_name(ood_set), (height_px, width_px, 3)
    if ood_set in NOISES:
        rng = generator(seed, "noise out of distribution", ood_set)
        yield OutSet("noise", name, np.stack([NOISES[ood_set](shape, rng) for _ in range(count)]))
        return
    test = open_split(Data(source=ood_set), "test")
    rows = drawn_by_class(test.labels, count, seed=seed)
    native_px = test.images.shape[1:3]
    if native_px == (height_px, width_px):
        yield OutSet("natural", name, test.images[rows])
        return
    if native_px[0] >= height_px and native_px[1] >= width_px:
        rng = generator(seed, "crops out of distribution", name)
        yield OutSet("natural", f"{name} crop", _cropped(test.images, rows, shape, rng))
    yield OutSet("natural", f"{name} resize", _resized(test.images, rows, shape))


def _cropped(images: ImageArray, rows: np.ndarray, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Cut a window out of each image, at a place drawn uniformly from all possible places."""
    spare_px = np.array(images.shape[1:3]) - shape[:2]
    corners = rng.integers(0, spare_px + 1, size=(len(rows), 2))
    return np.stack(
        [images[row][y : y + shape[0], x : x + shape[1]] for row, (y, x) in zip(rows, corners, strict=True)]
    )


def _resized(images: ImageArray, rows: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    fitted = np.empty((len(rows), *shape), dtype=np.uint8)
    for start in range(0, len(rows), IMAGES_AT_ONCE):  # part by part: all large images together may not fit into memory
        part = slice(start, start + IMAGES_AT_ONCE)
        fit_images(images[rows[part]], fitted[part])
    return fitted
