"""Images of no class that the network knows: natural ones of any data source, and noise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainables.data.config import Data
from trainables.data.decoding import fit_images
from trainables.data.sources.registry import SOURCES, is_same_source, open_source, split_source
from trainables.data.store import open_split
from trainables.errors import UserError, did_you_mean
from trainables.evaluation.subject import ModelInfo, drawn_by_class
from trainables.seeds import generator

IMAGES_AT_ONCE = 256
LISTED_CLASSES = 5


@dataclass(frozen=True, eq=False)
class OutSet:
    """Images out of distribution.

    Attributes:
        kind: whether they show something.
        name: as the records have it, ``tiny-imagenet resize`` or ``uniform``.
        images: uint8 [N, H, W, 3], of the size that the network was trained on.
    """

    kind: Literal["natural", "noise"]
    name: str
    images: np.ndarray


def _uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Every pixel of every channel apart, uniform over [0, 1]."""
    return rng.integers(0, 256, shape, dtype=np.uint8)


def _gaussian(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Every pixel of every channel apart, from N(0.5, 1), clipped to [0, 1] (Liang et al., ICLR 2018, section 4.2)."""
    pixels = rng.standard_normal(shape, dtype=np.float32) + np.float32(0.5)
    rounded: np.ndarray = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return rounded


NOISES: dict[str, Callable[[tuple[int, ...], np.random.Generator], np.ndarray]] = {
    "uniform": _uniform,
    "gaussian": _gaussian,
}
"""From the shape of one image and a generator to its pixels, in the 256 levels that all images have."""


def check_names(sets: Iterable[str]) -> None:
    """Refuse sets that are unknown, none at all, or two of the same name.

    Raises:
        ValueError: naming the set and what is valid.
    """
    names = []
    for given in sets:
        kind = given.partition(":")[0]
        if given not in NOISES and kind not in SOURCES:
            raise ValueError(f"unknown set {kind!r}{did_you_mean(kind, [*NOISES, *SOURCES])}")
        names.append(set_name(given))
        if names.count(names[-1]) > 1:
            raise ValueError(f"two sets would both be recorded as {names[-1]!r}")
    if not names:
        raise ValueError("must hold at least one set")


def set_name(given: str) -> str:
    """Return what the records call a set: paths are of one machine, the name of a folder of images tells it apart."""
    if given in NOISES:
        return given
    name, path = split_source(given)
    return f"{name}:{path.resolve().name}" if SOURCES[name].path_names_data and path is not None else name


def default_sets(about: ModelInfo) -> tuple[str, ...]:
    """Return all kinds of noise and, unless the network was trained on digits, digits."""
    own = is_same_source("digits", about.config.data.source) or shared_classes("digits", about.classes)
    return (*NOISES, *(() if own else ("digits",)))


def check_not_own(given: str, about: ModelInfo) -> None:
    """Refuse a set that is not there, or holds what the network was trained on.

    Raises:
        UserError: naming the set, what is wrong with it, and the classes that both have.
    """
    if given in NOISES:
        return
    if is_same_source(given, about.config.data.source):
        raise UserError(f"ood.sets: '{given}' is what the network was trained on, so not out of distribution")
    open_source(given).check()
    shared = shared_classes(given, about.classes)
    if shared:
        more = len(shared) - LISTED_CLASSES
        listed = ", ".join(repr(name) for name in shared[:LISTED_CLASSES]) + (f" and {more} more" if more > 0 else "")
        raise UserError(
            f"ood.sets: '{given}' has classes that the network was trained on, so it is not out of distribution: "
            f"{listed}"
        )


def shared_classes(given: str, classes: Iterable[str]) -> list[str]:
    """Return those classes of a source whose names are among ``classes``, but for case, spaces, ``_`` and ``-``.

    Names are all that is compared: an ``automobile`` is no ``sports car`` here.
    """
    own = {_plain(name) for name in classes}
    return [name for name in open_source(given).classes() if _plain(name) in own]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.casefold())


def out_sets(given: str, *, height_px: int, width_px: int, count: int, seed: int) -> Iterator[OutSet]:
    """Make the images of a set, one after another where there are two ways to fit them to a size.

    Natural ones are the test images of their source, drawn by class. Larger ones than the network's are both cropped
    at random places (``crop``) and scaled down (``resize``: the largest centred window of the right aspect), as Liang
    et al. (ICLR 2018) did with Tiny ImageNet; smaller ones are only scaled; of the right size they are taken as they
    are.

    Args:
        given: a kind of noise or a data source.
        height_px: height of the images.
        width_px: their width.
        count: how many, unless the source has fewer.
        seed: of all that is drawn.

    Raises:
        UserError: the source cannot be read.
    """
    name, shape = set_name(given), (height_px, width_px, 3)
    if given in NOISES:
        rng = generator(seed, "noise out of distribution", given)
        yield OutSet("noise", name, np.stack([NOISES[given](shape, rng) for _ in range(count)]))
        return
    test = open_split(Data(source=given), "test")
    rows = drawn_by_class(test.labels, count, seed=seed)
    native_px = test.images.shape[1:3]
    if native_px == (height_px, width_px):
        yield OutSet("natural", name, test.images[rows])
        return
    if native_px[0] >= height_px and native_px[1] >= width_px:
        rng = generator(seed, "crops out of distribution", name)
        yield OutSet("natural", f"{name} crop", _cropped(test.images, rows, shape, rng))
    yield OutSet("natural", f"{name} resize", _resized(test.images, rows, shape))


def _cropped(images: np.ndarray, rows: np.ndarray, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Cut a window of a size out of each image, at a place that is uniform over all there are."""
    spare_px = np.array(images.shape[1:3]) - shape[:2]
    corners = rng.integers(0, spare_px + 1, size=(len(rows), 2))
    return np.stack(
        [images[row, y : y + shape[0], x : x + shape[1]] for row, (y, x) in zip(rows, corners, strict=True)]
    )


def _resized(images: np.ndarray, rows: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    fitted = np.empty((len(rows), *shape), dtype=np.uint8)
    for start in range(0, len(rows), IMAGES_AT_ONCE):  # large images need not be in memory together
        part = slice(start, start + IMAGES_AT_ONCE)
        fit_images(images[rows[part]], fitted[part])
    return fitted
