"""Images with written captions and references, as a picture."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

TILE_IN = 1.9
TEXT_IN = 0.95
"""Height of the text below an image, inches: six lines."""

DPI = 110
COLUMNS = 4
LINE_CHARS = 32
MAX_LINES = 3


def captions_png(images: npt.NDArray[np.uint8], captions: Sequence[str], references: Sequence[str]) -> bytes:
    """Return a PNG file with images, uint8 [n, H, W, 3], and below each its caption and, in grey, a reference.

    Equal arguments give equal bytes.
    """
    from matplotlib.figure import Figure

    n_rows = -(-len(images) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * TILE_IN, n_rows * (TILE_IN + TEXT_IN)), dpi=DPI, facecolor="white")
    for index, (image, caption, reference) in enumerate(zip(images, captions, references, strict=True)):
        row, column = divmod(index, COLUMNS)
        height = 1 / n_rows
        image_height = height * TILE_IN / (TILE_IN + TEXT_IN)
        ax = figure.add_axes(
            ((column + 0.04) / COLUMNS, 1 - row * height - 0.97 * image_height, 0.92 / COLUMNS, 0.95 * image_height)
        )
        ax.imshow(image, interpolation="nearest")
        ax.set_axis_off()
        written = _lines(caption or "(no word)")
        for text, colour, n_above in ((written, "black", 0), (_lines(reference), "0.45", len(written))):
            ax.text(
                0,
                -0.04 - 0.075 * n_above,
                "\n".join(text),
                transform=ax.transAxes,
                fontsize=7.5,
                color=colour,
                verticalalignment="top",
                linespacing=1.15,
                parse_math=False,
            )
    figure.text(0.01, 0.01, "black: written caption; grey: one of the references", fontsize=7.5, color="0.45")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _lines(text: str) -> list[str]:
    return textwrap.wrap(text, LINE_CHARS, max_lines=MAX_LINES, placeholder=" …")
