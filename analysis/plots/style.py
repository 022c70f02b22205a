"""Shared parts of all figures: the style of an arm, sizes, legends, and the text of a figure without data."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from sweep.findings.summary import METRICS, Metric

# the colours of Okabe and Ito, which readers with any common colour blindness can distinguish, without their yellow,
# which is hard to see on white
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*", "h", "d", "8")
LINES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (2.5, 1)))
GREY = "#777777"
MAP = "cividis"

WIDTH_IN = 7.0
"""Width of a figure, equal to that of a printed page, so that no text is scaled down in print."""

SMALL_PT, TITLE_PT = 8.0, 10.0
_LINE_IN = 0.17  # height of a line of small text
_OWN_FIGURE = "made by analysis.plots"  # only these figures are resized


@dataclass(frozen=True)
class ArmStyle:
    """Style of an arm. The first 35 arms differ in colour or line, the first 14 in the marker."""

    colour: str
    marker: str
    line: Any


def arm_style(place: Hashable) -> ArmStyle:
    """Return the style of the arm at a place of the study, counted from 0."""
    number = int(str(place))
    return ArmStyle(PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)], LINES[number % len(LINES)])


def by_arm(info: pd.DataFrame) -> Iterator[tuple[str, ArmStyle, pd.DataFrame]]:
    """Yield name, style and rows of each arm. An arm has the same style in a figure that lacks another arm."""
    arms = info["arm"]
    names = list(arms.cat.categories) if isinstance(arms.dtype, pd.CategoricalDtype) else list(arms.unique())
    for place, arm in enumerate(names):
        rows = info[arms == arm]
        if len(rows):
            yield str(arm), arm_style(place), rows


def column_label(metric: str) -> Metric:
    """Return the label of a metric of an epoch, or of a column of ``by_axis``.

    Examples:
        >>> column_label("val_top1_error").label()
        'validation top-1 error (%)'
        >>> column_label("adversarial robust_error (fgsm eps=8/255)").label()
        'adversarial robust error (fgsm eps=8/255) (%)'
    """
    if metric in METRICS:
        return METRICS[metric]
    is_fraction = metric.partition(" (")[0].endswith(("error", "ece", "accuracy"))
    return Metric(metric.replace("_", " "), 100.0 if is_fraction else 1.0, "%" if is_fraction else "")


def figure(*, height_in: float = 4.2) -> Figure:
    """Return a new figure with the width of a page and room for the text outside its panels."""
    new_figure = plt.figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    new_figure.set_gid(_OWN_FIGURE)
    return new_figure


def axes(ax: Axes | None, *, height_in: float = 4.2) -> Axes:
    """Return ``ax`` itself, or the axes of a new figure if it is None."""
    return figure(height_in=height_in).add_subplot() if ax is None else ax


def annotate_empty(message: str, ax: Axes) -> Axes:
    """Write what is missing instead of a figure."""
    ax.text(0.5, 0.5, textwrap.fill(message, 60), ha="center", va="center", transform=ax.transAxes)
    ax.set_axis_off()
    return ax


def title(ax: Axes, text: str, *, width: int = 72) -> None:
    """Write a title with at most ``width`` letters per line, so that it fits a page."""
    ax.set_title(wrapped(text, width), fontsize=TITLE_PT)


def wrapped(name: str, width: int = 34) -> str:
    """Break long lines after a blank, comma, point or underscore; a textwrap that also breaks names.

    Examples:
        >>> wrapped("cutmix_torus_displaced", 14)
        'cutmix_torus_\\ndisplaced'
    """
    lines = [""]
    for part in re.findall(r"\n|[^\s,._]*(?:[,._]|[^\S\n])?", name):
        if part == "\n" or len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part if part != "\n" else ""
    return "\n".join(line.strip() for line in lines if line)


def legend_entry(label: str, colour: str, marker: str = "", *, line: Any = "none", face: str | None = None) -> Line2D:
    """Return an entry of a legend. Its marker is filled with ``face``, by default with its colour."""
    fill = colour if face is None else face
    return Line2D([], [], color=colour, marker=marker, linestyle=line, label=wrapped(label), markerfacecolor=fill, ms=6)


def legend_below(ax: Axes, keys: Sequence[Line2D], *, offset_pt: float = 36) -> None:
    """Place the legend below a panel, where it hides no point, and make the figure higher for it.

    Args:
        ax: panel of the legend.
        keys: entries of the legend.
        offset_pt: room for the labels of the ticks and of the x axis.
    """
    columns, height_in = _columns(keys)
    whole = ax.get_figure(root=True)
    assert whole is not None
    down = ScaledTranslation(0, -offset_pt / 72, whole.dpi_scale_trans)
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": ax.transAxes + down}
    ax.legend(handles=keys, frameon=False, ncols=columns, fontsize=SMALL_PT, borderaxespad=0.0, **place)
    _make_higher(whole, height_in)


def panelled(into: Figure | None, n: int) -> tuple[Figure, list[Axes]]:
    """Return ``into``, or a new figure if it is None, and its ``n`` panels, at most three per row."""
    rows = max(1, -(-n // 3))
    whole = figure(height_in=3.0 * rows) if into is None else into
    columns = max(1, -(-n // rows))
    panels = list(whole.subplots(rows, columns, squeeze=False).flat)
    for unused in panels[max(n, 1) :]:
        unused.remove()
    return whole, panels[: max(n, 1)]


def y_label(ax: Axes, label: str) -> None:
    """Label the y axis, in a row of panels only that of the first."""
    spec = ax.get_subplotspec()
    if spec is None or spec.is_first_col():
        ax.set_ylabel(wrapped(label, 34), fontsize=SMALL_PT + 1)


def legend_outside(whole: Figure, keys: Sequence[Line2D]) -> None:
    """Place the legend of several panels below them, and make the figure higher for it."""
    columns, height_in = _columns(keys)
    whole.legend(handles=keys, frameon=False, ncols=columns, fontsize=SMALL_PT, loc="outside lower center")
    _make_higher(whole, height_in)


def _make_higher(whole: Figure, height_in: float) -> None:
    """Add to the height of a figure, unless the caller made the figure."""
    if whole.get_gid() == _OWN_FIGURE:
        whole.set_figheight(whole.get_figheight() + height_in)


def _columns(keys: Sequence[Line2D]) -> tuple[int, float]:
    """Return the number of columns of a legend that fit a page, and the height of the legend in inches."""
    labels = [str(entry.get_label()) for entry in keys]
    widest = max(len(line) for label in labels for line in label.split("\n"))
    columns = min(len(keys), max(1, int(WIDTH_IN * 0.82 / (0.55 + 0.062 * widest))))
    lines = sum(label.count("\n") + 1 for label in labels) / columns
    return columns, _LINE_IN * (lines + 1)


def arms_axis(ax: Axes, labels: Sequence[str]) -> None:
    """Label the y axis with arms, the first on top. Long names of arms do not fit along the x axis."""
    ax.set_yticks(range(len(labels)), [wrapped(label) for label in labels], fontsize=SMALL_PT + 1)
    ax.set_ylim(len(labels) - 0.4, -0.6)


def arms_height_in(labels: Sequence[str]) -> float:
    """Return the height, in inches, of a figure with these labels along its y axis."""
    return 1.4 + sum(0.14 + 0.17 * len(wrapped(label).split("\n")) for label in labels)


def spread(n: int, width: float) -> NDArray[np.float64]:
    """Return ``n`` offsets within ``width`` that separate points, without randomness: multiples of the golden ratio."""
    offsets = (np.arange(n) * 0.6180339887 + 0.5) % 1.0 - 0.5
    return np.asarray(offsets * width, dtype=np.float64)


def colours_of(values: pd.Series[Any]) -> Normalize:
    """Return the range of a colour scale; equal values are in its middle."""
    low, high = float(values.min()), float(values.max())
    return Normalize(low, high) if high > low else Normalize(low - 1, low + 1)
