"""Several estimates of each arm side by side, as one's own and a published one."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from analysis.plots.style import (
    GREY,
    annotate_empty,
    arm_style,
    arms_axis,
    arms_height_in,
    axes,
    column_label,
    legend_below,
    legend_entry,
    title,
    wrapped,
)


def estimates(info: pd.DataFrame, *, baseline: str, metric: str = "val_top1_error", ax: Axes | None = None) -> Axes:
    """Draw differences to a baseline with their intervals, a line an arm and series.

    Args:
        info: one row an arm and series: ``arm``, ``series``, ``estimate``, ``low``, ``high`` (nan: none is known) and
            ``n``.
        baseline: what they are differences to.
        metric: of what.
        ax: where to draw; None makes a figure.
    """
    known = info.dropna(subset=["estimate"])
    if known.empty:
        return annotate_empty("no pairs of completed trials that share a seed", axes(ax))
    arms, names = list(dict.fromkeys(known["arm"].astype(str))), list(dict.fromkeys(known["series"]))
    labels = [f"{arm}\n{_counts(known[known['arm'] == arm])}" for arm in arms]
    words = column_label(metric)
    ax = axes(ax, height_in=arms_height_in(labels) + 0.3)
    for number, name in enumerate(names):
        rows, seen = known[known["series"] == name], arm_style(number)
        places = rows["arm"].astype(str).map(arms.index) + 0.22 * (number - (len(names) - 1) / 2)
        low, mean, high = (rows[end] * words.factor for end in ("low", "estimate", "high"))
        ax.hlines(places, low, high, color=seen.colour, linewidth=1.4)
        ax.plot(mean, places, linestyle="none", marker=seen.marker, color=seen.colour, ms=5)
    ax.axvline(0, color=GREY, linewidth=1, zorder=0)
    arms_axis(ax, labels)
    ax.set_xlabel(wrapped(f"difference in {words.name} to {baseline} ({words.difference_unit})", 60))
    title(ax, "Mean differences, intervals that hold together in each series, n in the order of the key", width=60)
    legend_below(
        ax,
        offset_pt=50,
        keys=[
            legend_entry(name, arm_style(number).colour, arm_style(number).marker) for number, name in enumerate(names)
        ],
    )
    return ax


def _counts(rows: pd.DataFrame) -> str:
    return "n = " + ", ".join(str(n) for n in rows["n"])
