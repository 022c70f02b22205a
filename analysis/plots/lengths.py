"""Differences to the baseline over the planned epochs, and the epochs at which they cross zero."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.plots.style import (
    GREY,
    SMALL_PT,
    TITLE_PT,
    annotate_empty,
    by_arm,
    column_label,
    legend_entry,
    legend_outside,
    panelled,
    y_label,
)


def crossing(
    curves: pd.DataFrame, crossings: pd.DataFrame, *, metric: str = "val_top1_error", into: Figure | None = None
) -> Figure:
    """Plot the difference of each arm to the baseline over epochs, one panel per fraction of the images.

    Args:
        curves: from ``analysis.questions.budget.curves``.
        crossings: from ``analysis.questions.budget.crossings``. Decided crossings are marked at zero difference.
        metric: metric of ``curves``.
        into: figure to plot into; None makes one.
    """
    fractions = sorted(curves["share"].unique())
    whole, panels = panelled(into, len(fractions))
    if curves.empty:
        message = "no arm has two planned lengths that two seeds have completed, for the arm and the baseline"
        annotate_empty(message, panels[0])
        return whole
    first, label = curves.iloc[0], column_label(metric)
    for ax in panels[1:]:
        ax.sharey(panels[0])
    for ax, fraction in zip(panels, fractions, strict=True):
        panel_curves = curves[curves["share"] == fraction]
        _bands(ax, panel_curves, label.factor)
        _marks(ax, panel_curves, crossings[crossings["share"] == fraction])
        planned = sorted(panel_curves.loc[panel_curves["is_planned"], "epochs"].unique())
        ax.set_xscale("log")
        ax.set_xticks(planned, [f"{length:g}" for length in planned])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.axhline(0, color=GREY, linewidth=1, zorder=0)
        ax.set_xlabel("planned epochs", fontsize=SMALL_PT + 1)
        ax.set_title(f"{100 * fraction:g} % of the images", fontsize=TITLE_PT - 1)
        y_label(ax, f"difference in {label.name} to {first['baseline']} ({label.difference_unit})")
    whole.suptitle(f"Mean paired difference, {100 * first['confidence']:.0f} % intervals, joint per arm", fontsize=10)
    keys = [
        legend_entry(f"{arm} ({_seeds(rows)})", style.colour, style.marker, line=style.line)
        for arm, style, rows in by_arm(curves)
    ]
    legend_outside(whole, [*keys, legend_entry("crossing with its interval", "black", "|", line="solid")])
    return whole


def _seeds(rows: pd.DataFrame) -> str:
    n = sorted(rows["n"].unique())
    return f"n = {n[0]} seeds" if len(n) == 1 else f"n = {n[0]} to {n[-1]} seeds"


def _bands(ax: Axes, curves: pd.DataFrame, factor: float) -> None:
    for _, style, rows in by_arm(curves):
        low, mean, high = (rows[end] * factor for end in ("low", "estimate", "high"))
        planned = rows["is_planned"]
        ax.fill_between(rows["epochs"], low, high, color=style.colour, alpha=0.12, linewidth=0)
        ax.plot(rows["epochs"], mean, color=style.colour, linestyle=style.line)
        ax.plot(rows["epochs"][planned], mean[planned], color=style.colour, marker=style.marker, linestyle="none", ms=5)


def _marks(ax: Axes, curves: pd.DataFrame, crossings: pd.DataFrame) -> None:
    decided = crossings.dropna(subset=["epochs"])
    for arm, style, _ in by_arm(curves):
        rows = decided[decided["arm"] == arm]
        ax.hlines([0] * len(rows), rows["low"], rows["high"], color=style.colour, linewidth=4, alpha=0.9)
        ax.plot(rows["epochs"], [0] * len(rows), "|", color="black", ms=12)
