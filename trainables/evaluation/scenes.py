"""Scenes of several digits in clutter, with box, digit, colour and size of each: images to transfer to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from trainables.data.sources.digits import SCAN_PX, enlarged, enlarging, split_scans
from trainables.seeds import generator

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Split = Literal["train", "test"]

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.95, 0.25, 0.2),
    "green": (0.25, 0.85, 0.3),
    "blue": (0.35, 0.5, 1.0),
    "yellow": (0.95, 0.9, 0.25),
    "pink": (1.0, 0.45, 0.85),
    "white": (0.95, 0.95, 0.95),
}
"""Mean colour of the ink by name, red, green and blue in [0, 1]."""

SIZES: dict[str, tuple[float, float]] = {"small": (0.2, 0.26), "large": (0.38, 0.48)}
"""Range of the side of an enlarged scan by name, as a fraction of the side of the scene."""

COLOUR_JITTER = 0.06
BRIGHTEST_BACKGROUND = 0.45
BACKGROUND_CELLS = 6
"""Cells of the coarse noise on each axis of a background."""

NOISE_SD = 0.04
FRAGMENTS = (2, 5)
FRAGMENT_SCAN_PX = 3
FRAGMENT_FRAC = (0.08, 0.14)
FRAGMENT_STRENGTH = 0.35
"""Opacity of the ink of a fragment: fragments are fainter than digits."""

MAX_OVERLAP = 0.1
"""Largest fraction of the smaller of two enlarged scans that lies under the other one."""

TRIES = 50
"""Number of places that are tried for a digit; a scene without room has fewer digits."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """Images with several objects each.

    Objects are numbered through all scenes; those of scene i are ``starts[i]`` to ``starts[i + 1] - 1``.

    Attributes:
        images: uint8 [n, side, side, 3].
        starts: int64 [n + 1].
        boxes: boxes of the visible ink, (y0, x0, y1, x1) in half-open pixels, int32 [m, 4].
        digits: 0 to 9, int64 [m].
        colours: positions in :data:`COLOURS`, int64 [m].
        sizes: positions in :data:`SIZES`, int64 [m].
        scans: positions of the scans in scikit-learn's ``load_digits``, int64 [m].
    """

    images: npt.NDArray[np.uint8]
    starts: Ints
    boxes: npt.NDArray[np.int32]
    digits: Ints
    colours: Ints
    sizes: Ints
    scans: Ints

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self.images)

    def objects(self, scene: int) -> slice:
        """Return the objects of a scene, a slice of the arrays of objects."""
        return slice(int(self.starts[scene]), int(self.starts[scene + 1]))


def draw_scenes(split: Split, *, count: int, side_px: int, seed: int = 0, n_digits: tuple[int, int] = (1, 3)) -> Scenes:
    """Generate scenes: scans of scikit-learn's ``load_digits`` in six colours and two sizes over cluttered backgrounds.

    The scans are split as those of the data source ``digits``: no scan of a test scene is in a training scene, and
    fragments in the background are pieces of training scans. A scene depends on the seed, its split and its number
    alone: fewer scenes are the first of more.

    Args:
        split: which scans are shown.
        count: number of scenes.
        side_px: side of a scene.
        seed: seed of all draws.
        n_digits: smallest and largest number of digits per scene.

    Examples:
        >>> scenes = draw_scenes("train", count=2, side_px=64)
        >>> scenes.images.shape, scenes.digits[scenes.objects(0)].tolist()
        ((2, 64, 64, 3), [6])
    """
    scans, labels, train, test = split_scans()
    shown = train if split == "train" else test
    images = np.empty((count, side_px, side_px, 3), np.uint8)
    objects: list[list[tuple[int, ...]]] = []
    for number in range(count):
        rng = generator(seed, "scenes", split, number)
        canvas = _background(side_px, scans[train], rng)
        objects.append(_place(canvas, scans, shown, int(rng.integers(n_digits[0], n_digits[1] + 1)), rng))
        canvas += rng.normal(scale=NOISE_SD, size=canvas.shape).astype(np.float32)
        images[number] = (canvas.clip(0, 1) * 255).round()
    table = np.array([row for rows in objects for row in rows], dtype=np.int64).reshape(-1, 7)
    return Scenes(
        images=images,
        starts=np.cumsum([0, *map(len, objects)]),
        boxes=table[:, :4].astype(np.int32),
        digits=labels[table[:, 4]],
        colours=table[:, 5],
        sizes=table[:, 6],
        scans=table[:, 4],
    )


def _background(side_px: int, scans: Floats, rng: np.random.Generator) -> Floats:
    """Return smooth coloured noise with faint pieces of digits, float32 [side, side, 3] in [0, 1]."""
    coarse = rng.random((BACKGROUND_CELLS, BACKGROUND_CELLS, 3), dtype=np.float32)
    coarse = 0.5 * (coarse + rng.random(3, dtype=np.float32))
    enlarge = enlarging(BACKGROUND_CELLS, side_px)
    canvas: Floats = BRIGHTEST_BACKGROUND * np.einsum("yi,ijc,xj->yxc", enlarge, coarse, enlarge, optimize=True)
    for _ in range(rng.integers(FRAGMENTS[0], FRAGMENTS[1] + 1)):
        y, x = rng.integers(0, SCAN_PX - FRAGMENT_SCAN_PX + 1, size=2)
        piece = scans[rng.integers(len(scans)), y : y + FRAGMENT_SCAN_PX, x : x + FRAGMENT_SCAN_PX]
        ink_px = max(2, round(side_px * rng.uniform(*FRAGMENT_FRAC)))
        top, left = rng.integers(0, side_px - ink_px + 1, size=2)
        _paint(canvas, FRAGMENT_STRENGTH * enlarged(piece, ink_px, ink_px), int(top), int(left), rng.random(3))
    return canvas


def _place(
    canvas: Floats, scans: Floats, shown: Ints, n_digits: int, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Paint digits; return box, scan, colour and size of each, seven integers, in the order of painting."""
    side_px, squares, rows = len(canvas), np.empty((0, 3), np.int64), []
    for _ in range(n_digits):
        scan, colour, size = (int(rng.integers(many)) for many in (len(shown), len(COLOURS), len(SIZES)))
        ink_px = max(SCAN_PX // 2, round(side_px * rng.uniform(*list(SIZES.values())[size])))
        square = _free_square(squares, ink_px, side_px, rng)
        if square is None:
            continue
        squares = np.vstack([squares, square])
        ink = enlarged(scans[shown[scan]], ink_px, ink_px)
        mean = np.array(list(COLOURS.values())[colour])
        top, left = int(square[0]), int(square[1])
        _paint(canvas, ink, top, left, mean + rng.uniform(-COLOUR_JITTER, COLOUR_JITTER, 3))
        y, x = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        box = (top + y[0], left + x[0], top + y[-1] + 1, left + x[-1] + 1)
        rows.append((*map(int, box), int(shown[scan]), colour, size))
    return rows


def _free_square(squares: Ints, ink_px: int, side_px: int, rng: np.random.Generator) -> Ints | None:
    """Return a place, (top, left, side), with little overlap with the others, int64 [k, 3]; None if none was found."""
    for top, left in rng.integers(0, side_px - ink_px + 1, size=(TRIES, 2)):
        low = np.maximum(squares[:, :2], (top, left))
        high = np.minimum(squares[:, :2] + squares[:, 2:], (top + ink_px, left + ink_px))
        common = (high - low).clip(0).prod(axis=1)
        if (common <= MAX_OVERLAP * np.minimum(squares[:, 2], ink_px) ** 2).all():
            return np.array([top, left, ink_px])
    return None


def _paint(canvas: Floats, ink: Floats, top: int, left: int, colour: npt.NDArray[np.float64]) -> None:
    height_px, width_px = ink.shape
    under = canvas[top : top + height_px, left : left + width_px]
    under += ink[..., None] * (colour.astype(np.float32) - under)
