"""Digits in clutter: real scans on cluttered coloured canvases, with the exact box of each digit."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.data.decoding import fit_boxes, fit_images
from trainables.data.sources.base import Allocate, Decoded, Description, Source, Split, in_memory
from trainables.data.splits import Indices, split_indices
from trainables.seeds import generator

Floats = npt.NDArray[np.float32]

RECIPE = 1
"""Version of the canvases. Raise it with each change, so that caches of older canvases are ignored."""

SIDE_PX = 32
SCAN_PX = 8
CANVASES_PER_SCAN = 4
TEST_FRAC = 0.2
N_TRAIN = 5752
DIGIT_PX = (14, 26)
FRAGMENTS = (1, 3)
FRAGMENT_SCAN_PX = (3, 5)
FRAGMENT_PX = (6, 10)
MIN_CONTRAST = 0.35
"""Least difference in luminance between painted ink and the canvas under it, in [0, 1] units."""

BRIGHTEST_BACKGROUND = 0.5
BACKGROUND_CONTRAST = 0.5
"""Range of the background of a canvas around its own colour, as a fraction of the full range."""

LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue (ITU-R BT.601)."""


class Digits(Source):
    """scikit-learn's ``load_digits`` on 32 x 32 colour canvases: 5,752 for training, 1,436 for testing.

    The 1,797 greyscale scans of 8 x 8 px (Alpaydin and Kaynak, UCI, 1998) are split by class into training and test
    scans, so that no test scan is trained on. Each scan appears on four canvases, at random places, scales and colours,
    over smooth coloured noise and fragments of training scans. The canvases are generated in seconds, always the same,
    without a download.

    Examples:
        >>> test = Digits().read("test")
        >>> test.images.shape, test.classes[test.labels[0]], test.boxes[0].tolist()
        ((1436, 32, 32, 3), '7', [12, 5, 31, 18])
    """

    name = "digits"
    reads = "scikit-learn's digit scans on cluttered canvases of 32x32 px; generated, no files"
    takes_path = False
    needs_path = False
    has_boxes = True
    flips = False
    images_per_original = CANVASES_PER_SCAN

    def __init__(self, path: Path | None = None) -> None:
        """Ignore the path: the scans are part of scikit-learn."""
        super().__init__(None)

    def check(self) -> None:
        """Check nothing: the scans are part of scikit-learn."""

    def classes(self) -> tuple[str, ...]:
        """Return the names of the ten digits."""
        return tuple("0123456789")

    def class_counts(self) -> list[int]:
        """Return the number of training scans per digit."""
        _, labels, train, _ = split_scans()
        return [int(count) for count in np.bincount(labels[train])]

    def fingerprint(self, split: Split) -> str:
        """Return the versions of the recipe and of NumPy, because NumPy's generators may change between versions."""
        return f"recipe {RECIPE}, numpy {np.__version__}, {split}"

    def describe(self, image_size_px: int | None = None) -> Description:
        """Return the numbers of the recipe."""
        side_px = image_size_px or SIDE_PX
        return Description(N_TRAIN, 10, side_px, side_px)

    def read(self, split: Split, image_size_px: int | None = None, *, allocate: Allocate = in_memory) -> Decoded:
        """Generate the canvases of a split."""
        scans, scan_labels, train, test = split_scans()
        shown = np.repeat(train if split == "train" else test, CANVASES_PER_SCAN)
        rng = generator("digits", split)
        canvases, boxes = _draw(scans[shown], scans[train], rng)
        digests = {f"recipe {RECIPE}": _digest(scans, shown, scan_labels[shown], rng)}
        side_px = image_size_px or SIDE_PX
        images = allocate((len(shown), side_px, side_px, 3))
        fit_images(canvases, images)
        boxes = fit_boxes(boxes, np.array([SIDE_PX, SIDE_PX], dtype=np.int32), side_px, side_px)
        return Decoded(images, scan_labels[shown], self.classes(), boxes, digests)


def _digest(
    scans: Floats, shown: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], rng: np.random.Generator
) -> str:
    """Return the SHA-256 of all that decides the canvases, after they were drawn.

    It contains integers alone: another processor may round a pixel differently. Another NumPy may draw other values,
    which the next draws and the state of the generator show.
    """
    draws = np.concatenate([rng.random(8), rng.random(8, dtype=np.float32), rng.normal(size=8)])
    integers: list[npt.NDArray[Any]] = [(16 * scans).astype(np.uint8), shown, labels, (draws * 2**16).astype(np.int64)]
    state = repr(rng.bit_generator.state).encode()
    return hashlib.sha256(b"".join(array.tobytes() for array in integers) + state).hexdigest()


def split_scans() -> tuple[Floats, npt.NDArray[np.int64], Indices, Indices]:
    """Return ink and digit of each scan, and the positions of the training and of the test scans."""
    scans, labels = _scans()
    return scans, labels, *split_indices(labels, train_frac=1.0, val_frac=TEST_FRAC, seed=0)


def _scans() -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return ink in [0, 1], float32 [1797, 8, 8], and the digits, int64 [1797]."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    return (scans.images / 16).astype(np.float32), scans.target.astype(np.int64)


def _draw(
    shown: Floats, distractors: Floats, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Generate one canvas per scan in ``shown``, with fragments of ``distractors`` around the digit."""
    canvases = _backgrounds(len(shown), rng)
    boxes = np.empty((len(shown), 4), dtype=np.int32)
    for canvas, scan, box in zip(canvases, shown, boxes, strict=True):
        for _ in range(rng.integers(FRAGMENTS[0], FRAGMENTS[1] + 1)):
            _paste(canvas, _fragment(distractors, rng), rng)
        side_px = int(rng.integers(DIGIT_PX[0], DIGIT_PX[1] + 1))
        box[:] = _paste(canvas, enlarged(scan, side_px, side_px), rng)
    canvases += rng.normal(scale=0.04, size=canvases.shape).astype(np.float32)
    return (canvases.clip(0, 1) * 255).round().astype(np.uint8), boxes


def _backgrounds(count: int, rng: np.random.Generator) -> Floats:
    """Return smooth coloured noise, float32 [count, 32, 32, 3] in [0, 1]."""
    colours = rng.random((count, 1, 1, 3), dtype=np.float32)
    coarse = colours + BACKGROUND_CONTRAST * (rng.random((count, 5, 5, 3), dtype=np.float32) - colours)
    enlarge = enlarging(5, SIDE_PX)
    smooth: Floats = np.einsum("yi,nijc,xj->nyxc", enlarge, coarse, enlarge, optimize=True)
    return BRIGHTEST_BACKGROUND * smooth


def _fragment(scans: Floats, rng: np.random.Generator) -> Floats:
    """Return the ink of an enlarged square piece of one scan: strokes that are too small for a digit."""
    side = int(rng.integers(FRAGMENT_SCAN_PX[0], FRAGMENT_SCAN_PX[1] + 1))
    top, left = rng.integers(0, SCAN_PX - side + 1, size=2)
    piece = scans[rng.integers(len(scans)), top : top + side, left : left + side]
    side_px = int(rng.integers(FRAGMENT_PX[0], FRAGMENT_PX[1] + 1))
    return enlarged(piece, side_px, side_px)


def _paste(canvas: Floats, ink: Floats, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Paint ``ink`` at a random place in a contrasting colour; return the box of the painted pixels."""
    height_px, width_px = ink.shape
    top = int(rng.integers(0, SIDE_PX - height_px + 1))
    left = int(rng.integers(0, SIDE_PX - width_px + 1))
    under = canvas[top : top + height_px, left : left + width_px]
    under += ink[..., None] * (_standing_out(under, rng) - under)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):  # a piece without ink
        return top, left, top, left
    return top + int(rows[0]), left + int(columns[0]), top + int(rows[-1]) + 1, left + int(columns[-1]) + 1


def _standing_out(under: Floats, rng: np.random.Generator) -> Floats:
    """Return a colour, float32 [3], that is brighter than the pixels ``under`` it by ``MIN_CONTRAST`` if possible."""
    colours = rng.random((8, 3), dtype=np.float32)
    contrast = (colours - under.mean(axis=(0, 1))) @ LUMINANCE
    enough = np.flatnonzero(contrast >= MIN_CONTRAST)
    colour: Floats = colours[enough[0] if len(enough) else contrast.argmax()]
    return colour


def enlarged(scan: Floats, height_px: int, width_px: int) -> Floats:
    """Enlarge ink and sharpen its edges; faint ink is removed, so that the box contains the visible ink only."""
    smooth = enlarging(scan.shape[0], height_px) @ scan @ enlarging(scan.shape[1], width_px).T
    return ((smooth - 0.25) / 0.4).clip(0, 1).astype(np.float32, copy=False)


@cache
def enlarging(side: int, side_px: int) -> Floats:
    """Return the matrix [side_px, side] of linear interpolation between the centres of ``side`` pixels."""
    centres = ((np.arange(side_px) + 0.5) * side / side_px - 0.5).clip(0, side - 1)
    return (1 - np.abs(centres[:, None] - np.arange(side))).clip(0, None).astype(np.float32)
