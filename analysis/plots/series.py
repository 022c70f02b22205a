"""Several estimates of each arm side by side, for example a measured and a published difference."""

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
    """Plot differences to a baseline with their intervals, one line per arm and series.

    Args:
        info: one row per arm and series: ``arm``, ``series``, ``estimate``, ``low``, ``high`` (NaN: no interval) and
            ``n``. Rows without an estimate are left out.
        baseline: arm that the others are compared with.
        metric: metric of the differences.
        ax: axes to plot into; None makes a figure.
    """
    info = info.dropna(subset=["estimate"])
    if info.empty:
        return annotate_empty("no pairs of completed trials that share a seed", axes(ax))
    arms, names = list(dict.fromkeys(info["arm"].astype(str))), list(dict.fromkeys(info["series"]))
    labels = [f"{arm}\n{_counts(info[info['arm'] == arm])}" for arm in arms]
    label = column_label(metric)
    ax = axes(ax, height_in=arms_height_in(labels) + 0.3)
    for number, name in enumerate(names):
        rows, style = info[info["series"] == name], arm_style(number)
        places = rows["arm"].astype(str).map(arms.index) + 0.22 * (number - (len(names) - 1) / 2)
        low, mean, high = (rows[end] * label.factor for end in ("low", "estimate", "high"))
        ax.hlines(places, low, high, color=style.colour, linewidth=1.4)
        ax.plot(mean, places, linestyle="none", marker=style.marker, color=style.colour, ms=5)
    ax.axvline(0, color=GREY, linewidth=1, zorder=0)
    arms_axis(ax, labels)
    ax.set_xlabel(wrapped(f"difference in {label.name} to {baseline} ({label.difference_unit})", 60))
    title(ax, "Mean differences, intervals joint within each series, n in the order of the legend", width=60)
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
