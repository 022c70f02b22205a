"""Critical-difference diagrams: mean ranks of arms over data sets, joined where they do not differ."""

from __future__ import annotations

from typing import Protocol

import pandas as pd
from matplotlib.axes import Axes

from analysis.plots.style import SMALL_PT, axes, say, title, wrapped


class RankTable(Protocol):
    """Mean ranks of arms over blocks, and which of them differ (Demšar, JMLR 2006)."""

    @property
    def mean_rank(self) -> pd.Series[float]:
        """Mean rank by arm; 1 is best."""

    @property
    def p(self) -> pd.DataFrame:
        """p-value of each pair of arms, [arms, arms]; nan where nothing is known of them."""

    @property
    def friedman_p(self) -> float:
        """p-value of all arms being alike."""

    @property
    def critical_difference(self) -> float:
        """Smallest distance of two mean ranks that differ."""

    @property
    def n_blocks(self) -> int:
        """Blocks, such as data sets, that have every arm."""

    @property
    def confidence(self) -> float:
        """Joint level of all pairs."""


def critical_difference(ranks: RankTable, ax: Axes | None = None) -> Axes:
    """Draw mean ranks on a line, the best on the left; bars join arms that cannot be told apart.

    Args:
        ranks: as from ``analysis.statistics.critical_differences``.
        ax: where to.
    """
    if ranks.n_blocks < 2 or len(ranks.mean_rank) < 2:
        few = f"{len(ranks.mean_rank)} arms, {ranks.n_blocks} data sets with all of them"
        return say(f"no ranks to compare: {few}, two of each are needed", axes(ax))
    import scikit_posthocs as posthocs

    labels = {arm: wrapped(str(arm), 30) for arm in ranks.mean_rank.index}
    lines = sum(label.count("\n") + 1 for label in labels.values())
    ax = axes(ax, height_in=1.6 + 0.17 * lines)
    posthocs.critical_difference_diagram(
        ranks.mean_rank.rename(labels),
        ranks.p.rename(index=labels, columns=labels),
        alpha=1 - ranks.confidence,
        ax=ax,
        text_h_margin=0.02,
        label_fmt_left="{label} ({rank:.2f})",
        label_fmt_right="({rank:.2f}) {label}",
        label_props={"fontsize": SMALL_PT + 1},
        elbow_props={"color": "black", "linewidth": 0.8},
        marker_props={"color": "black", "s": 18},
    )
    title(
        ax,
        f"Mean ranks over n = {ranks.n_blocks} data sets, joined where they differ by no more than the critical "
        f"difference {ranks.critical_difference:.2f} ({ranks.confidence:.0%} together; Friedman p = "
        f"{ranks.friedman_p:.2g})",
    )
    return ax
