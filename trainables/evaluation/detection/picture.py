"""Test images with the boxes that detectors found, as a picture: one row per detector."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainables.evaluation.detection.average_precision import Detections
from trainables.evaluation.detection.box_images import Objects

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE_IN, HEADING_IN, LEGEND_IN, GAP_IN = 1.7, 0.24, 0.3, 0.06
DPI = 110
TRUE_BOX: dict[str, Any] = {"color": "white", "linestyle": "-", "linewidth": 1.6}
FOUND_BOX: dict[str, Any] = {"color": "#00e5ff", "linestyle": (0, (3, 2)), "linewidth": 1.6}


@dataclass(frozen=True, eq=False)
class Row:
    """Detections of one detector in the images of the picture.

    Attributes:
        title: the condition.
        found: detections by image.
    """

    title: str
    found: Sequence[Detections]


def boxes_png(
    images: Sequence[npt.NDArray[np.uint8]], true: Sequence[Objects], rows: Sequence[Row], classes: Sequence[str]
) -> bytes:
    """Return a PNG file with one column per image, uint8 [H, W, 3]; equal arguments give equal bytes.

    As many boxes are shown per image as it has objects, those with the highest scores.
    """
    from matplotlib.figure import Figure

    width_in = len(images) * (TILE_IN + GAP_IN) + GAP_IN
    row_in = HEADING_IN + TILE_IN + GAP_IN
    height_in = LEGEND_IN + len(rows) * row_in
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, facecolor="white")
    for number, row in enumerate(rows):
        top_in = height_in - LEGEND_IN - number * row_in
        left = GAP_IN / width_in
        title_y = (top_in - HEADING_IN / 2) / height_in
        figure.text(left, title_y, row.title, fontsize=9, va="center", parse_math=False)
        for column, (image, objects, detections) in enumerate(zip(images, true, row.found, strict=True)):
            left_in, bottom_in = GAP_IN + column * (TILE_IN + GAP_IN), top_in - HEADING_IN - TILE_IN
            place = (left_in / width_in, bottom_in / height_in, TILE_IN / width_in, TILE_IN / height_in)
            _plot(figure.add_axes(place), image, objects, detections, classes)
    _legend(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _plot(
    ax: Axes, image: npt.NDArray[np.uint8], objects: Objects, detections: Detections, classes: Sequence[str]
) -> None:
    ax.imshow(image, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    for box in objects.boxes:
        _outline(ax, box, TRUE_BOX)
    height_px = image.shape[0]
    for index in np.argsort(-detections.scores, kind="stable")[: len(objects.boxes)]:
        box = detections.boxes[index]
        _outline(ax, box, FOUND_BOX)
        above = box[1] > height_px / 10  # otherwise the text would leave the image
        ax.text(
            box[0],
            box[1] if above else box[3],
            f"{classes[detections.labels[index]]} {detections.scores[index]:.2f}",
            fontsize=6,
            va="bottom" if above else "top",
            color="black",
            clip_on=True,
            parse_math=False,
            bbox={"facecolor": FOUND_BOX["color"], "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
        )


def _outline(ax: Axes, box: npt.NDArray[np.float32], style: dict[str, Any]) -> None:
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = box.tolist()
    corner = (x0 - 0.5, y0 - 0.5)  # a pixel extends half a unit around its centre
    ax.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, path_effects=_dark_rim(), **style))


def _dark_rim() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.8, foreground="black")]


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    named = ((TRUE_BOX, "object"), (FOUND_BOX, "found, with class and score: the best boxes, as many as objects"))
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
