"""What all figures share: how an arm looks, where its legend stands, what is said where there is nothing to draw."""

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

# Okabe and Ito's colours, which readers with any common colour blindness tell apart, less their yellow, which
# is lost on white
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*", "h", "d", "8")
LINES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (2.5, 1)))
GREY = "#777777"
MAP = "cividis"

WIDTH_IN = 7.0
"""Width of a figure: that of a printed page, so that nothing is made smaller there."""

SMALL_PT, TITLE_PT = 8.0, 10.0
_LINE_IN = 0.17  # of small text
_OWN = "made by analysis.plots"


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is drawn: no two of the first 35 have both colour and line alike, nor of the first 14 the marker."""

    colour: str
    marker: str
    line: Any


def arm_style(place: Hashable) -> ArmStyle:
    """Return how the arm at a place of the study, from 0, looks."""
    number = int(str(place))
    return ArmStyle(PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)], LINES[number % len(LINES)])


def by_arm(info: pd.DataFrame) -> Iterator[tuple[str, ArmStyle, pd.DataFrame]]:
    """Yield name, look and rows of each arm; an arm keeps its look in figures that lack another arm."""
    arms = info["arm"]
    every = list(arms.cat.categories) if isinstance(arms.dtype, pd.CategoricalDtype) else list(arms.unique())
    for place, arm in enumerate(every):
        rows = info[arms == arm]
        if len(rows):
            yield str(arm), arm_style(place), rows


def column_label(metric: str) -> Metric:
    """Return how a metric of an epoch, or a column of ``by_axis``, is called and printed."""
    if metric in METRICS:
        return METRICS[metric]
    is_share = metric.partition(" (")[0].endswith(("error", "ece", "accuracy"))
    return Metric(metric.replace("_", " "), 100.0 if is_share else 1.0, "%" if is_share else "")


def figure(*, height_in: float = 4.2) -> Figure:
    """Return a new figure of a page's width, which makes room for all that is written outside its axes."""
    made = plt.figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    made.set_gid(_OWN)
    return made


def axes(ax: Axes | None, *, height_in: float = 4.2) -> Axes:
    """Return the given axes, or those of a new figure."""
    return figure(height_in=height_in).add_subplot() if ax is None else ax


def annotate_empty(words: str, ax: Axes) -> Axes:
    """Write what is missing in place of a figure."""
    ax.text(0.5, 0.5, textwrap.fill(words, 60), ha="center", va="center", transform=ax.transAxes)
    ax.set_axis_off()
    return ax


def title(ax: Axes, words: str, *, width: int = 72) -> None:
    """Write a title of at most ``width`` letters a line, which a page holds."""
    ax.set_title(wrapped(words, width), fontsize=TITLE_PT)


def wrapped(name: str, width: int = 34) -> str:
    """Break long lines where a name has a joint: after a blank, comma, point or underscore."""
    lines = [""]
    for part in re.findall(r"\n|[^\s,._]*(?:[,._]|[^\S\n])?", name):
        if part == "\n" or len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part if part != "\n" else ""
    return "\n".join(line.strip() for line in lines if line)


def legend_entry(label: str, colour: str, marker: str = "", *, line: Any = "none", face: str | None = None) -> Line2D:
    """Return an entry of a legend; its marker is filled with ``face``, by default with its colour."""
    fill = colour if face is None else face
    return Line2D([], [], color=colour, marker=marker, linestyle=line, label=wrapped(label), markerfacecolor=fill, ms=6)


def legend_below(ax: Axes, keys: Sequence[Line2D], *, offset_pt: float = 36) -> None:
    """Put the legend below the axes, where it hides no point; a figure of ours grows by its height.

    Args:
        ax: whose legend it is.
        keys: its entries.
        offset_pt: room for labels of ticks and axis.
    """
    columns, height_in = _columns(keys)
    drawn = ax.get_figure(root=True)
    assert drawn is not None
    down = ScaledTranslation(0, -offset_pt / 72, drawn.dpi_scale_trans)
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": ax.transAxes + down}
    ax.legend(handles=keys, frameon=False, ncols=columns, fontsize=SMALL_PT, borderaxespad=0.0, **place)
    if drawn.get_gid() == _OWN:
        drawn.set_figheight(drawn.get_figheight() + height_in)


def panelled(into: Figure | None, n: int) -> tuple[Figure, list[Axes]]:
    """Return the given figure, or a new one, and its panels, at most three a row."""
    rows = max(1, -(-n // 3))
    drawn = figure(height_in=3.0 * rows) if into is None else into
    columns = max(1, -(-n // rows))
    grid = drawn.subplots(rows, columns, squeeze=False)
    panels = list(grid.flat)
    for unused in panels[max(n, 1) :]:
        unused.remove()
    return drawn, panels[: max(n, 1)]


def y_label(ax: Axes, words: str) -> None:
    """Name the y axis, of the panels of a row that of the first."""
    spec = ax.get_subplotspec()
    if spec is None or spec.is_first_col():
        ax.set_ylabel(wrapped(words, 34), fontsize=SMALL_PT + 1)


def legend_outside(drawn: Figure, keys: Sequence[Line2D]) -> None:
    """Put the legend of several panels below them; a figure of ours grows by its height."""
    columns, height_in = _columns(keys)
    drawn.legend(handles=keys, frameon=False, ncols=columns, fontsize=SMALL_PT, loc="outside lower center")
    if drawn.get_gid() == _OWN:
        drawn.set_figheight(drawn.get_figheight() + height_in)


def _columns(keys: Sequence[Line2D]) -> tuple[int, float]:
    """Return how many columns of a legend fit a page, and how high it then is, in inches."""
    labels = [str(entry.get_label()) for entry in keys]
    widest = max(len(line) for label in labels for line in label.split("\n"))
    columns = min(len(keys), max(1, int(WIDTH_IN * 0.82 / (0.55 + 0.062 * widest))))
    lines = sum(label.count("\n") + 1 for label in labels) / columns
    return columns, _LINE_IN * (lines + 1)


def arms_axis(ax: Axes, labels: Sequence[str]) -> None:
    """Name the arms along the y axis, the first on top; across the page there is no room for long names."""
    ax.set_yticks(range(len(labels)), [wrapped(label) for label in labels], fontsize=SMALL_PT + 1)
    ax.set_ylim(len(labels) - 0.4, -0.6)


def arms_height_in(labels: Sequence[str]) -> float:
    """Return the height of a figure with these along its y axis."""
    return 1.4 + sum(0.14 + 0.17 * len(wrapped(label).split("\n")) for label in labels)


def spread(n: int, width: float) -> NDArray[np.float64]:
    """Return ``n`` offsets that keep points apart without chance: multiples of the golden ratio."""
    offsets = (np.arange(n) * 0.6180339887 + 0.5) % 1.0 - 0.5
    return np.asarray(offsets * width, dtype=np.float64)


def colours_of(values: pd.Series[Any]) -> Normalize:
    """Return the range of a colour scale; equal values stand in its middle."""
    low, high = float(values.min()), float(values.max())
    return Normalize(low, high) if high > low else Normalize(low - 1, low + 1)
