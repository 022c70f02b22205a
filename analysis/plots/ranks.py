"""Critical-difference diagrams: mean ranks of arms over data sets, with bars that join arms without a difference."""

from __future__ import annotations

from matplotlib.axes import Axes

from analysis.plots.style import SMALL_PT, annotate_empty, axes, title, wrapped
from analysis.statistics import Ranks


def critical_difference(ranks: Ranks | None, ax: Axes | None = None) -> Axes:
    """Plot mean ranks on a line, the best on the left. Bars join arms that do not differ significantly.

    Args:
        ranks: as from ``analysis.statistics.critical_differences``; None: there are too few data sets.
        ax: axes to plot into; None makes a figure.
    """
    if ranks is None:
        return annotate_empty("no ranks to compare: too few arms or data sets in common", axes(ax, height_in=0.8))
    if ranks.n_blocks < 2 or len(ranks.mean_rank) < 2:
        counts = f"{len(ranks.mean_rank)} arms, {ranks.n_blocks} data sets with all arms"
        return annotate_empty(f"no ranks to compare: {counts}, at least two of each are needed", axes(ax))
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
        f"Mean ranks over n = {ranks.n_blocks} data sets. Bars join arms that differ by at most the critical "
        f"difference {ranks.critical_difference:.2f} (joint level {100 * ranks.confidence:.0f} %; Friedman p = "
        f"{ranks.friedman_p:.2g})",
    )
    return ax
