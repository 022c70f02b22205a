"""Evaluated quantities of all arms: one panel per quantity."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.data.measurements import QUANTITY
from analysis.data.replication import PLURALS
from analysis.plots.style import (
    SMALL_PT,
    TITLE_PT,
    annotate_empty,
    arm_style,
    arms_axis,
    arms_height_in,
    column_label,
    figure,
    wrapped,
)

_PER_ROW = 3


def first_quantities(means: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first quantity of each evaluation axis.

    Args:
        means: from :func:`analysis.data.measurements.measured_means`.
    """
    first = means.drop_duplicates("axis")[QUANTITY]
    return first.merge(means, on=QUANTITY).astype({"arm": means["arm"].dtype})


def measured(info: pd.DataFrame, into: Figure | None = None) -> Figure:
    """Plot the mean of each arm with its interval, one panel per quantity.

    Args:
        info: rows of :func:`analysis.data.measurements.measured_means`.
        into: figure to plot into; None makes one.
    """
    arms = [str(arm) for arm in info["arm"].cat.categories if (info["arm"] == arm).any()]
    groups = list(info.groupby(QUANTITY, sort=False))
    n_rows = max(1, -(-len(groups) // _PER_ROW))
    if into is None:
        into = figure(height_in=0.4 + n_rows * max(1.6, 0.5 + arms_height_in(arms)))
    if not groups:
        annotate_empty("nothing has been evaluated", into.add_subplot())
        return into
    columns = min(len(groups), _PER_ROW)
    panels = list(into.subplots(n_rows, columns, squeeze=False).flat)
    for unused in panels[len(groups) :]:
        unused.remove()
    for place, (ax, ((axis, _, setting, metric), rows)) in enumerate(zip(panels, groups, strict=False)):
        label = column_label(str(metric))
        for row in rows.to_dict("records"):
            height = arms.index(str(row["arm"]))
            style = arm_style(list(info["arm"].cat.categories).index(row["arm"]))
            ax.hlines(height, row["low"] * label.factor, row["high"] * label.factor, color=style.colour, linewidth=1.4)
            ax.plot(row["estimate"] * label.factor, height, marker=style.marker, color=style.colour, ms=5)
        arms_axis(ax, arms)
        ax.tick_params(axis="y", labelleft=place % columns == 0)
        ax.tick_params(axis="x", labelsize=SMALL_PT)
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.xaxis.get_offset_text().set_fontsize(SMALL_PT)
        ax.set_title(str(axis), fontsize=SMALL_PT + 1)
        ax.set_xlabel(wrapped(", ".join(filter(None, [label.label(), str(setting)])), 26), fontsize=SMALL_PT)
    n = sorted(info["n"].unique())
    units = " or ".join(PLURALS[unit] for unit in info["unit"].unique())
    counts = f"{n[0]}" if len(n) == 1 else f"{n[0]} to {n[-1]}"
    into.suptitle(f"Means over n = {counts} {units}, 95 % intervals each", fontsize=TITLE_PT)
    return into
