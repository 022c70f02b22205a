"""The luck of the search: the winners of independent searches, and how far searches and seeds spread."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.data.replication import PLURALS
from analysis.plots.style import (
    GREY,
    annotate_empty,
    arms_axis,
    arms_height_in,
    axes,
    by_arm,
    legend_below,
    legend_entry,
    spread,
    title,
)
from analysis.statistics import means, variance_components

_SPREADS = {"values": "means", "searches": "between", "seeds": "within"}
"""Columns of a spread, with the part of :class:`analysis.statistics.Components`."""


def winners_info(winners: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Compute the mean test error of the winners of each arm.

    Args:
        winners: from :func:`analysis.data.winners.winners`.
        confidence: level of each interval alone.

    Returns:
        The rows of ``winners`` with ``mean``, ``low``, ``high`` (t interval, NaN for one value) and ``n`` of their arm,
        and ``confidence``.

    Examples:
        >>> rows = {"arm": "cutmix", "replicate": [0, 1], "winner": ["cutmix-0000", "cutmix-0001"], "n_seeds": 1}
        >>> winners = pd.DataFrame({**rows, "error": [0.25, 0.35], "validation": [0.2, 0.3], "unit": "search"})
        >>> winners_info(winners)[["winner", "error", "mean", "n"]].round(3).to_numpy().tolist()
        [['cutmix-0000', 0.25, 0.3, 2], ['cutmix-0001', 0.35, 0.3, 2]]
    """
    table = means(winners, value="error", confidence=confidence).rename(columns={"estimate": "mean"})
    joined = winners.merge(table, on="arm", how="left")
    return joined.astype({"arm": winners["arm"].dtype})


def winners_strip(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the test and the validation error of each winner, and the mean test error of each arm with its interval.

    Args:
        info: from :func:`winners_info`.
        ax: axes to plot into; None makes a figure.
    """
    info = info.dropna(subset=["error"])
    if info.empty:
        return annotate_empty("no winner has been confirmed", axes(ax))
    units = PLURALS[info["unit"].iloc[0]]
    is_search = info["unit"].iloc[0] == "search"
    labels = [f"{arm} (n = {len(rows)} {units})" for arm, _, rows in by_arm(info)]
    ax = axes(ax, height_in=arms_height_in(labels) + 0.25 * len(labels) + 0.6)
    for place, (_, style, rows) in enumerate(by_arm(info)):
        heights = place + spread(len(rows), 0.5)
        test, validation = 100 * rows["error"], 100 * rows["validation"]
        # the seeds of one winner share its one validation error
        shown, at = (validation, heights) if is_search else (validation[:1], [place])
        if is_search:
            ax.hlines(heights, validation, test, color=style.colour, linewidth=0.8, alpha=0.5)
        ax.scatter(test, heights, color=style.colour, marker=style.marker, s=26, zorder=3)
        ax.scatter(
            shown, at, marker=style.marker, s=26, facecolors="white", edgecolors=style.colour, linewidths=1.0, zorder=3
        )
        low, mean, high = (100 * rows[end].iloc[0] for end in ("low", "mean", "high"))
        ax.vlines(mean, place - 0.3, place + 0.3, color="black", linewidth=2)
        ax.hlines(place, low, high, color="black", linewidth=1.2)
    arms_axis(ax, labels)
    ax.set_xlabel("top-1 error (%)")
    what = "Winner of each search" if is_search else "Fresh seeds of the winner"
    title(ax, f"{what}; mean with {100 * info['confidence'].iloc[0]:.0f} % interval", width=50)
    keys = [
        legend_entry("test error, mean over seeds" if is_search else "test error, one per seed", GREY, "o"),
        legend_entry("validation error in the search", GREY, "o", face="white"),
        legend_entry("mean test error", "black", line="solid"),
    ]
    legend_below(ax, keys)
    return ax


def spread_info(confirmed: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Estimate how far the winners of the searches spread, and how far the seeds of one winner do.

    Args:
        confirmed: from :func:`analysis.data.arms.confirmed_winners`: one row per trial.
        confidence: level of each interval alone.

    Returns:
        One row per arm: ``arm``, ``n_searches``, ``n_seeds`` (trials), and standard deviations of the test error
        (fractions) with their intervals: ``values`` (between the means of searches), ``searches`` (the same without the
        seeds' part) and ``seeds`` (between seeds of one winner), each with ``_low`` and ``_high``. See
        :func:`analysis.statistics.variance_components`; NaN where the trials do not show it: ``searches`` and
        ``seeds`` cannot be separated with one seed per search, and one search has no spread between searches.
    """
    rows: list[dict[str, Any]] = []
    for arm, trials in confirmed.groupby("arm", sort=False, observed=True):
        groups = [group.to_numpy(float) for _, group in trials.groupby("search")["top1_error"]]
        components = variance_components(groups, confidence=confidence)
        row: dict[str, Any] = {"arm": arm, "n_searches": len(groups), "n_seeds": len(trials)}
        for column, part in _SPREADS.items():
            sd = getattr(components, part)
            row |= {column: sd.sd, f"{column}_low": sd.low, f"{column}_high": sd.high}
        rows.append(row)
    columns = [name for column in _SPREADS for name in (column, f"{column}_low", f"{column}_high")]
    info = pd.DataFrame(rows, columns=["arm", "n_searches", "n_seeds", *columns]).assign(confidence=confidence)
    return info.astype({"arm": confirmed["arm"].dtype})


def spreads(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the standard deviation between searches and between seeds of each arm, with their intervals.

    Args:
        info: from :func:`spread_info`.
        ax: axes to plot into; None makes a figure.
    """
    info = info.dropna(subset=["searches"])
    if info.empty:
        return annotate_empty("searches and seeds cannot be separated: this needs two searches and two seeds", axes(ax))
    labels = [f"{arm} ({row['n_searches']} searches, {row['n_seeds']} trials)" for arm, row in _rows(info)]
    ax = axes(ax, height_in=arms_height_in(labels) + 0.5)
    for place, (_, style, rows) in enumerate(by_arm(info)):
        for column, height, face in (("searches", place - 0.14, style.colour), ("seeds", place + 0.14, "white")):
            sd, low, high = (100 * rows[f"{column}{end}"].iloc[0] for end in ("", "_low", "_high"))
            ax.hlines(height, low, high, color=style.colour, linewidth=1.4)
            ax.plot(sd, height, marker=style.marker, color=style.colour, markerfacecolor=face, ms=6)
    arms_axis(ax, labels)
    ax.set_xlim(left=0)
    ax.set_xlabel("SD of the test top-1 error (points)")
    title(ax, f"Spread of searches and of seeds, {100 * info['confidence'].iloc[0]:.0f} % intervals", width=50)
    keys = [
        legend_entry("between searches, without the seeds' part", GREY, "o"),
        legend_entry("between seeds of one winner", GREY, "o", face="white"),
    ]
    legend_below(ax, keys)
    return ax


def _rows(info: pd.DataFrame) -> list[tuple[str, dict[str, Any]]]:
    return [(arm, {str(name): rows[name].iloc[0] for name in rows}) for arm, _, rows in by_arm(info)]
