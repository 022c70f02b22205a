"""What was measured beside the error: one thing against another, and how they go together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations

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
from analysis.statistics import rank_correlation


def pareto_info(values: pd.DataFrame, *, x: str, y: str, higher: Collection[str] = ()) -> pd.DataFrame:
    """Find the trials that no other trial beats in both of two quantities.

    Args:
        values: one row a trial, as from ``by_axis``.
        x: column of the first quantity; one that is not there has not been measured yet.
        y: column of the second one.
        higher: which of them are better when higher.

    Returns:
        One row a trial that has both: ``arm``, ``trial``, ``x``, ``y``, ``is_front`` (no trial is better in one and
        at least as good in the other), ``x_name``, ``y_name``, ``x_higher`` and ``y_higher``.
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
    """Draw two quantities of each trial against one another, and join those that no other trial beats in both."""
    ax = axes(ax)
    if info.empty:
        return annotate_empty("no trial has both quantities: measure them by evaluate", ax)
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
    title(ax, f"{len(info)} trials of {info['arm'].nunique()} arms")
    legend_below(ax, keys, offset_pt=50)
    return ax


def _better(higher: bool) -> str:
    return "higher is better" if higher else "lower is better"


def correlations_info(
    values: pd.DataFrame,
    *,
    rng: np.random.Generator,
    quantities: Sequence[str] | None = None,
    within_arms: bool = False,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Correlate every pair of measured quantities over trials.

    Args:
        values: one row a trial, as from ``by_axis``.
        rng: source of the resamples.
        quantities: columns of it, of which those that are not there have an ``n`` of 0; None takes all.
        within_arms: correlate what differs from the arm's median: whether two quantities move together among
            trials alike, and not only because arms differ in both.
        confidence: level of each interval.

    Returns:
        One row a pair: ``first``, ``second``, ``correlation`` (Spearman's; nan where one does not vary), ``low``
        and ``high`` (nan for few trials), ``n`` (trials that have both), ``within_arms`` and ``confidence``.
    """
    names = [str(name) for name in values if name not in ("arm", "trial")] if quantities is None else list(quantities)
    chosen = values.reindex(columns=names).astype(float)
    if within_arms:
        chosen = chosen - chosen.groupby(values["arm"], observed=True).transform("median")
    rows = []
    for first, second in combinations(names, 2):
        estimate = rank_correlation(chosen[first], chosen[second], rng=rng, confidence=confidence)
        rows.append((first, second, estimate.value, estimate.low, estimate.high, estimate.n[0]))
    info = pd.DataFrame(rows, columns=["first", "second", "correlation", "low", "high", "n"])
    return info.assign(within_arms=within_arms, confidence=confidence)


def correlations(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the correlations as a triangle of coloured cells, each with its value, interval and n.

    Args:
        info: from ``correlations_info``, or of the same columns and ``given``, what is held fixed in words.
        ax: where to.
    """
    names = list(dict.fromkeys([*info["first"], *info["second"]]))
    ax = axes(ax, height_in=max(3.0, 2.4 + 0.62 * len(names)))
    if info.empty:
        return annotate_empty("fewer than two quantities were measured, so nothing can be correlated", ax)
    places, matrix = {name: place for place, name in enumerate(names)}, np.full((len(names), len(names)), np.nan)
    columns = info[["first", "second", "correlation", "low", "high", "n"]]
    for first, second, correlation, low, high, n in columns.itertuples(index=False, name=None):
        matrix[places[second], places[first]] = correlation
        colour = "white" if abs(correlation) > 0.7 else "black"
        words = _cell(correlation, low, high, n, is_narrow=len(names) > _WIDE)
        ax.text(places[first], places[second], words, ha="center", va="center", fontsize=SMALL_PT, color=colour)
    extent = (-0.5, len(names) - 1.5, len(names) - 0.5, 0.5)
    ax.imshow(matrix[1:, :-1], cmap="PuOr", vmin=-1, vmax=1, aspect="auto", extent=extent)
    ax.set_xticks(range(len(names) - 1), [wrapped(name, 24) for name in names[:-1]], fontsize=SMALL_PT, rotation=90)
    ax.set_yticks(range(1, len(names)), [wrapped(name, 24) for name in names[1:]], fontsize=SMALL_PT)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    over = "what differs from each arm's median" if info["within_arms"].iloc[0] else "all trials"
    over += f", given {info['given'].iloc[0]}" if "given" in info and info["given"].iloc[0] else ""
    title(ax, f"Rank correlations over {over}, {info['confidence'].iloc[0]:.0%} intervals, n", width=52)
    return ax


_WIDE = 7  # quantities whose cells hold an interval in one line


def _cell(correlation: float, low: float, high: float, n: int, *, is_narrow: bool) -> str:
    if np.isnan(correlation):
        return f"all alike\nn = {n}" if n else "n = 0"
    ends = "" if np.isnan(low) else f"{low:.2f}{chr(10) if is_narrow else ' '}to {high:.2f}\n"
    return f"{correlation:.2f}\n{ends}n = {n}".replace("-", "−")
