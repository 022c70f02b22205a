"""Errors against what they cost."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from analysis.plots.style import SMALL_PT, by_arm, key, legend_outside, panelled, say, y_label


def error_over_cost(info: pd.DataFrame, into: Figure | None = None, *, costs: Mapping[str, str]) -> Figure:
    """Draw the mean error of each arm's networks over each cost, a panel a cost that is known, in logarithms.

    Args:
        info: one row an arm and network: ``arm``, ``network``, ``n``, ``error``, ``low``, ``high`` (fractions) and
            columns with costs, as from ``analysis.compute.cells``.
        into: figure to draw into; None makes one.
        costs: columns with costs, and what they are called.
    """
    known = [cost for cost in costs if info[cost].notna().any()]
    drawn, panels = panelled(into, len(known))
    if not known:
        say("no completed trial whose cost is known", panels[0])
        return drawn
    for ax, cost in zip(panels, known, strict=True):
        for _, look, rows in by_arm(info):
            line = rows.sort_values(cost)
            x, y = line[cost], 100 * line["error"]
            ax.plot(x, y, color=look.colour, marker=look.marker, linestyle=look.line, markersize=5, linewidth=1.2)
            ax.vlines(x, 100 * line["low"], 100 * line["high"], color=look.colour, linewidth=0.9, alpha=0.7)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel(f"{costs[cost]} (log scale)", fontsize=SMALL_PT + 1)
        y_label(ax, "validation top-1 error (%), last epoch; mean, 95 % interval")
    keys = [
        key(f"{arm} ({len(rows)} networks, n = {rows['n'].sum()})", look.colour, look.marker, line=look.line)
        for arm, look, rows in by_arm(info)
    ]
    legend_outside(drawn, keys)
    return drawn
