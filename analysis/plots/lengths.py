"""The difference to a baseline over the length of a run, and where it crosses zero."""

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
    """Draw each arm's difference to the baseline over epochs, a panel a share of the images.

    Args:
        curves: from ``analysis.questions.budget.curves``.
        crossings: from ``analysis.questions.budget.crossings``; those decided are marked on the line of no difference.
        metric: what ``curves`` compares.
        into: figure to draw into; None makes one.
    """
    shares = sorted(curves["share"].unique())
    made, axes = panelled(into, len(shares))
    if curves.empty:
        annotate_empty("no two planned lengths that two seeds have completed, of an arm and the baseline", axes[0])
        return made
    first, words = curves.iloc[0], column_label(metric)
    for ax in axes[1:]:
        ax.sharey(axes[0])
    for ax, share in zip(axes, shares, strict=True):
        own = curves[curves["share"] == share]
        _bands(ax, own, words.factor)
        _marks(ax, own, crossings[crossings["share"] == share])
        planned = sorted(own.loc[own["is_planned"], "epochs"].unique())
        ax.set_xscale("log")
        ax.set_xticks(planned, [f"{length:g}" for length in planned])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.axhline(0, color=GREY, linewidth=1, zorder=0)
        ax.set_xlabel("planned epochs", fontsize=SMALL_PT + 1)
        ax.set_title(f"{100 * share:g} % of the images", fontsize=TITLE_PT - 1)
        y_label(ax, f"difference in {words.name} to {first['baseline']} ({words.difference_unit})")
    made.suptitle(f"Mean paired difference, intervals of {first['confidence']:.0%} together of each arm", fontsize=10)
    keys = [
        legend_entry(f"{arm} ({_seeds(rows)})", seen.colour, seen.marker, line=seen.line)
        for arm, seen, rows in by_arm(curves)
    ]
    legend_outside(made, [*keys, legend_entry("a crossing and its interval", "black", "|", line="solid")])
    return made


def _seeds(rows: pd.DataFrame) -> str:
    n = sorted(rows["n"].unique())
    return f"n = {n[0]} seeds" if len(n) == 1 else f"n = {n[0]} to {n[-1]} seeds"


def _bands(ax: Axes, own: pd.DataFrame, factor: float) -> None:
    for _, seen, rows in by_arm(own):
        low, mean, high = (rows[end] * factor for end in ("low", "estimate", "high"))
        planned = rows["is_planned"]
        ax.fill_between(rows["epochs"], low, high, color=seen.colour, alpha=0.12, linewidth=0)
        ax.plot(rows["epochs"], mean, color=seen.colour, linestyle=seen.line)
        ax.plot(rows["epochs"][planned], mean[planned], color=seen.colour, marker=seen.marker, linestyle="none", ms=5)


def _marks(ax: Axes, own: pd.DataFrame, crossings: pd.DataFrame) -> None:
    decided = crossings.dropna(subset=["epochs"])
    for arm, seen, _ in by_arm(own):
        rows = decided[decided["arm"] == arm]
        ax.hlines([0] * len(rows), rows["low"], rows["high"], color=seen.colour, linewidth=4, alpha=0.9)
        ax.plot(rows["epochs"], [0] * len(rows), "|", color="black", ms=12)
