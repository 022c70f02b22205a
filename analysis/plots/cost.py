"""Errors of networks against their cost."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from analysis.plots.style import SMALL_PT, annotate_empty, by_arm, legend_entry, legend_outside, panelled, y_label


def error_over_cost(info: pd.DataFrame, into: Figure | None = None, *, costs: Mapping[str, str]) -> Figure:
    """Plot the mean error of each arm's networks over the cost (log scale), one panel per recorded cost.

    Args:
        info: one row per arm and network: ``arm``, ``network``, ``n``, ``error``, ``low``, ``high`` (fractions) and
            columns with costs, as from ``analysis.questions.compute.cells``.
        into: figure to plot into; None makes one.
        costs: label of each column with a cost.
    """
    recorded = [cost for cost in costs if info[cost].notna().any()]
    whole, panels = panelled(into, len(recorded))
    if not recorded:
        annotate_empty("no completed trial has a recorded cost", panels[0])
        return whole
    for ax, cost in zip(panels, recorded, strict=True):
        for _, style, rows in by_arm(info):
            line = rows.sort_values(cost)
            x, y = line[cost], 100 * line["error"]
            ax.plot(x, y, color=style.colour, marker=style.marker, linestyle=style.line, markersize=5, linewidth=1.2)
            ax.vlines(x, 100 * line["low"], 100 * line["high"], color=style.colour, linewidth=0.9, alpha=0.7)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel(f"{costs[cost]} (log scale)", fontsize=SMALL_PT + 1)
        y_label(ax, "validation top-1 error (%), last epoch: mean, 95 % interval")
    keys = [
        legend_entry(
            f"{arm} ({len(rows)} networks, n = {rows['n'].sum()})", style.colour, style.marker, line=style.line
        )
        for arm, style, rows in by_arm(info)
    ]
    legend_outside(whole, keys)
    return whole
