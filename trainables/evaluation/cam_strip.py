"""A row of images with class activation maps and boxes, as a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE_IN = 1.35
"""Side of a tile, inches."""
CAPTION_IN = 0.54
"""Height of the three lines of text below a tile, inches."""
LEGEND_IN = 0.3
DPI = 110
LONGEST_CLASS = 18
"""Number of characters of a class name that fit below a tile."""

MAP_ALPHA = 0.5
LINE_WIDTH = 2.0
TRUE_BOX: dict[str, Any] = {"color": "white", "linestyle": "-", "linewidth": LINE_WIDTH}
DETECTED_BOX: dict[str, Any] = {"color": "#00e5ff", "linestyle": (0, (3, 2)), "linewidth": LINE_WIDTH}


@dataclass(frozen=True, eq=False)
class Tile:
    """One image of the strip.

    Attributes:
        image: uint8 [H, W, 3].
        scores: its activation map, float32 [H, W] in [0, 1].
        box: the object's (y0, x0, y1, x1) in half-open pixels, int64 [4].
        detected: the box found in the map, int64 [4]; empty if there is none.
        true_class: name of the true class.
        predicted_class: name of the predicted class.
        iou: IoU of the two boxes.
    """

    image: np.ndarray
    scores: np.ndarray
    box: np.ndarray
    detected: np.ndarray
    true_class: str
    predicted_class: str
    iou: float


def strip_png(tiles: list[Tile], *, threshold: float) -> bytes:
    """Return a PNG file with the tiles in a row; equal tiles give equal bytes."""
    picture = io.BytesIO()
    _figure(tiles, threshold).savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _figure(tiles: list[Tile], threshold: float) -> Figure:
    from matplotlib.figure import Figure

    height_px, width_px = tiles[0].image.shape[:2]
    tile_in = TILE_IN * height_px / width_px
    width_in, height_in = len(tiles) * (TILE_IN + 0.08) + 0.08, LEGEND_IN + tile_in + CAPTION_IN
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, facecolor="white")
    axes = figure.subplots(1, len(tiles), squeeze=False)[0]
    figure.subplots_adjust(
        left=0.08 / width_in,
        right=1 - 0.08 / width_in,
        top=1 - LEGEND_IN / height_in,
        bottom=CAPTION_IN / height_in,
        wspace=0.08 / TILE_IN,
    )
    for ax, tile in zip(axes, tiles, strict=True):
        _plot(ax, tile)
    _legend(figure, threshold)
    return figure


def _plot(ax: Axes, tile: Tile) -> None:
    ax.imshow(tile.image, interpolation="nearest")
    ax.imshow(tile.scores, cmap="inferno", vmin=0, vmax=1, alpha=MAP_ALPHA, interpolation="nearest")
    for box, style in ((tile.box, TRUE_BOX), (tile.detected, DETECTED_BOX)):
        _outline(ax, box, style)
    ax.set(xticks=[], yticks=[])
    right = tile.predicted_class == tile.true_class
    verdict = "right" if right else f"wrong: {_short(tile.predicted_class, LONGEST_CLASS - 4)}"
    caption = f"{_short(tile.true_class, LONGEST_CLASS)}\n{verdict}\nIoU {tile.iou:.2f}"
    ax.set_xlabel(
        caption, fontsize=8, labelpad=4, linespacing=1.05, color="black" if right else "#b00020", parse_math=False
    )


def _outline(ax: Axes, box: np.ndarray, style: dict[str, Any]) -> None:
    from matplotlib.patches import Rectangle

    y0, x0, y1, x1 = box.tolist()
    if y0 == y1 or x0 == x1:
        return
    corner, size = (x0 - 0.5, y0 - 0.5), (x1 - x0, y1 - y0)  # a pixel extends half a unit around its centre
    ax.add_patch(Rectangle(corner, *size, fill=False, clip_on=False, path_effects=_dark_rim(), **style))


def _dark_rim() -> list[Any]:
    """Return a dark outline that makes a line visible on any photograph; the gaps of a dashed line stay open."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=LINE_WIDTH + 1.6, foreground="black")]


def _legend(figure: Figure, threshold: float) -> None:
    from matplotlib.lines import Line2D

    named = ((TRUE_BOX, "object's box"), (DETECTED_BOX, f"box found above {threshold:g} of the map's maximum"))
    handles = [Line2D([], [], path_effects=_dark_rim(), **style) for style, _ in named]
    figure.legend(
        handles,
        [label for _, label in named],
        loc="upper left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        fontsize=8,
        frameon=False,
        borderaxespad=0.3,
        handlelength=3.2,
    )


def _short(name: str, longest: int) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
