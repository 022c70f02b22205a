"""How often a rule stops the eventual winner, by the first rung."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.plots.style import (
    GREY,
    SMALL_PT,
    annotate_empty,
    arm_style,
    legend_entry,
    legend_outside,
    panelled,
    y_label,
)
from sweep.findings.summary import metric_label


def stopped_winners(info: pd.DataFrame, into: Figure | None = None) -> Figure:
    """Plot the fraction of orders in which the eventual winner of each arm is stopped, one panel per metric.

    Args:
        info: from ``analysis.questions.early_stopping.stopped_winners``, of one kind of rungs.
        into: figure to plot into; None makes one.
    """
    metrics = list(info["metric"].unique())
    whole, panels = panelled(into, len(metrics))
    if info.empty:
        annotate_empty("no completed trial that early stopping could not stop", panels[0])
        return whole
    arms = list(info["arm"].unique())
    for ax, metric in zip(panels, metrics, strict=True):
        metric_rows = info[info["metric"] == metric]
        rungs = sorted(metric_rows["first_rung_epochs"].unique())
        for place, arm in enumerate(arms):
            rows = metric_rows[metric_rows["arm"] == arm]
            x = rows["first_rung_epochs"].map(rungs.index) + (place - (len(arms) - 1) / 2) * 0.7 / len(arms)
            ax.vlines(x, 100 * rows["low"], 100 * rows["high"], color=arm_style(place).colour, linewidth=1.2)
            ax.plot(x, 100 * rows["stopped_frac"], arm_style(place).marker, color=arm_style(place).colour, markersize=5)
            ax.plot(x, 100 * rows["blind_frac"], "_", color=GREY, markersize=8)
        ax.set_xticks(range(len(rungs)), [str(rung) for rung in rungs])
        ax.set_ylim(-4, 104)
        ax.set_title(f"ranked by {metric_label(metric).name}", fontsize=SMALL_PT + 1)
        ax.set_xlabel("first rung (epochs)", fontsize=SMALL_PT + 1)
        y_label(ax, "orders in which the eventual winner is stopped (%)")
    counts = info.groupby("arm", sort=False)["n"].first()
    keys = [
        legend_entry(f"winner of {arm} (n = {counts[arm]})", arm_style(place).colour, arm_style(place).marker)
        for place, arm in enumerate(arms)
    ]
    legend_outside(whole, [*keys, legend_entry("a random choice of as many trials", GREY, "_")])
    return whole
