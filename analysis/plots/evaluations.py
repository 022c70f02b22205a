"""Measured quantities: one against another, and their rank correlations."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.plots.style import (
    GREY,
    SMALL_PT,
    annotate_empty,
    axes,
    by_arm,
    column_label,
    legend_below,
    legend_entry,
    title,
    wrapped,
)


def pareto_info(values: pd.DataFrame, *, x: str, y: str, higher: Collection[str] = ()) -> pd.DataFrame:
    """Find the Pareto front of two quantities: the trials that no other trial beats in both.

    Args:
        values: one row per trial, as from ``by_axis``.
        x: column of the first quantity; a missing column has not been measured yet.
        y: column of the second quantity.
        higher: quantities that are better when higher.

    Returns:
        One row per trial with both quantities: ``arm``, ``trial``, ``x``, ``y``, ``is_front`` (no trial is better in
        one quantity and at least as good in the other), ``x_name``, ``y_name``, ``x_higher`` and ``y_higher``.

    Examples:
        >>> values = pd.DataFrame(
        ...     {"arm": "off", "trial": ["a", "b", "c"], "error": [0.25, 0.5, 0.5], "nll": [2.0, 1.0, 1.5]}
        ... )
        >>> pareto_info(values, x="error", y="nll")[["trial", "is_front"]]
          trial  is_front
        0     a      True
        1     b      True
        2     c     False
    """
    info = pd.DataFrame({"arm": values["arm"], "trial": values["trial"]}).assign(
        **{axis: values[name].astype(float) if name in values else np.nan for axis, name in (("x", x), ("y", y))}
    )
    info = info.dropna().reset_index(drop=True)
    signs = [-1.0 if name in higher else 1.0 for name in (x, y)]
    costs = info[["x", "y"]].to_numpy() * signs
    no_worse = (costs[:, None, :] <= costs[None, :, :]).all(axis=2)  # [better, worse]
    beaten = (no_worse & (costs[:, None, :] < costs[None, :, :]).any(axis=2)).any(axis=0)
    return info.assign(is_front=np.logical_not(beaten), x_name=x, y_name=y, x_higher=x in higher, y_higher=y in higher)


def pareto(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot two quantities of each trial against each other, with a line through the Pareto front.

    Args:
        info: from :func:`pareto_info`.
        ax: axes to plot into; None makes a figure.
    """
    ax = axes(ax)
    if info.empty:
        return annotate_empty("no trial has both quantities: measure them with cutmix-sweep evaluate", ax)
    first = info.iloc[0]
    x, y = (column_label(first[f"{axis}_name"]) for axis in "xy")
    keys = []
    for arm, style, rows in by_arm(info):
        ax.scatter(
            rows["x"] * x.factor, rows["y"] * y.factor, color=style.colour, marker=style.marker, s=30, alpha=0.85
        )
        keys.append(legend_entry(f"{arm} (n = {len(rows)})", style.colour, style.marker))
    front = info[info["is_front"]].sort_values(["x", "y"])
    ax.plot(front["x"] * x.factor, front["y"] * y.factor, color=GREY, linestyle="dashed", linewidth=1, zorder=0)
    keys.append(legend_entry(f"not beaten in both (n = {len(front)})", GREY, line="dashed"))
    ax.set_xlabel(f"{wrapped(x.label(), 60)}\n({_better(first['x_higher'])})")
    ax.set_ylabel(f"{wrapped(y.label(), 40)}\n({_better(first['y_higher'])})")
    title(ax, f"Measured trials, n = {len(info)} of {info['arm'].nunique()} arms")
    legend_below(ax, keys, offset_pt=50)
    return ax


def _better(higher: bool) -> str:
    return "higher is better" if higher else "lower is better"


def correlations(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot rank correlations as a triangle of coloured cells, each with its value, interval and n.

    Args:
        info: one row per pair of quantities, as from ``analysis.questions.co_movement.relations``: ``first``,
            ``second``, ``correlation`` (NaN if one is constant), ``low``, ``high`` (NaN without an interval), ``n``
            (trials with both), ``within_arms`` (whether trials were ranked within their arm), ``confidence``, and
            optionally ``given``, the name of the quantity that was controlled for.
        ax: axes to plot into; None makes a figure.
    """
    names = list(dict.fromkeys([*info["first"], *info["second"]]))
    ax = axes(ax, height_in=max(3.0, 2.4 + 0.62 * len(names)))
    if info.empty:
        return annotate_empty("no correlations: fewer than two quantities were measured", ax)
    places, matrix = {name: place for place, name in enumerate(names)}, np.full((len(names), len(names)), np.nan)
    columns = info[["first", "second", "correlation", "low", "high", "n"]]
    for first, second, correlation, low, high, n in columns.itertuples(index=False, name=None):
        matrix[places[second], places[first]] = correlation
        colour = "white" if abs(correlation) > 0.7 else "black"
        text = _cell(correlation, low, high, n, is_narrow=len(names) > _WIDE)
        ax.text(places[first], places[second], text, ha="center", va="center", fontsize=SMALL_PT, color=colour)
    extent = (-0.5, len(names) - 1.5, len(names) - 0.5, 0.5)
    ax.imshow(matrix[1:, :-1], cmap="PuOr", vmin=-1, vmax=1, aspect="auto", extent=extent)
    ax.set_xticks(range(len(names) - 1), [wrapped(name, 24) for name in names[:-1]], fontsize=SMALL_PT, rotation=90)
    ax.set_yticks(range(1, len(names)), [wrapped(name, 24) for name in names[1:]], fontsize=SMALL_PT)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    over = "trials, within arms" if info["within_arms"].iloc[0] else "all trials"
    over += f", controlling for {info['given'].iloc[0]}" if "given" in info and info["given"].iloc[0] else ""
    title(ax, f"Rank correlations over {over}: value, {100 * info['confidence'].iloc[0]:.0f} % interval, n", width=52)
    return ax


_WIDE = 7  # with more quantities, the interval of a cell has two lines


def _cell(correlation: float, low: float, high: float, n: int, *, is_narrow: bool) -> str:
    if np.isnan(correlation):
        return f"constant\nn = {n}" if n else "n = 0"
    ends = "" if np.isnan(low) else f"{low:.2f}{chr(10) if is_narrow else ' '}to {high:.2f}\n"
    return f"{correlation:.2f}\n{ends}n = {n}".replace("-", "−")
