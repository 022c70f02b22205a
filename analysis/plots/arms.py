"""Arms beside one another: their final values, and how they differ from one of them."""

from __future__ import annotations

import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.data.grid import by_seed
from analysis.plots.style import (
    GREY,
    annotate_empty,
    arms_axis,
    arms_height_in,
    axes,
    by_arm,
    column_label,
    legend_below,
    legend_entry,
    spread,
    title,
    wrapped,
)
from analysis.statistics import HIGHER, LOWER, WITHIN, bootstrap, paired_differences
from sweep.findings.summary import METRICS


def final_error_info(
    trials: pd.DataFrame,
    *,
    rng: np.random.Generator,
    metric: str = "val_top1_error",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Gather the final value of every trial and the median of each arm.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        rng: source of the bootstrap resamples.
        metric: which final value, or a column of ``trials``.
        confidence: level of the median's interval.

    Returns:
        One row a trial: ``arm``, ``trial``, ``value`` (nan where not completed), of its arm ``n_trials``,
        ``n`` (completed), ``median``, ``low`` and ``high`` (bootstrap interval, nan for a small n), and
        ``confidence`` and ``metric``.
    """
    info = trials[["arm", "trial"]].assign(value=final_values(trials, metric))
    rows = []
    for arm, group in info.groupby("arm", observed=True)["value"]:
        estimate = bootstrap(group, rng=rng, confidence=confidence)
        rows.append((arm, len(group), estimate.n[0], estimate.value, estimate.low, estimate.high))
    arms = pd.DataFrame(rows, columns=["arm", "n_trials", "n", "median", "low", "high"])
    joined = info.join(arms.set_index("arm"), on="arm").astype({"arm": info["arm"].dtype})  # a join forgets categories
    return joined.assign(confidence=confidence, metric=metric)


def final_values(trials: pd.DataFrame, metric: str) -> pd.Series[Any]:
    """Return a metric's final values, or those of a column that was joined to the trials, such as a test error.

    Raises:
        ValueError: there is neither.
    """
    if metric in METRICS:
        return trials[f"final_{metric}"]
    if metric not in trials:
        raise ValueError(f"unknown metric {metric!r}, choose one of {', '.join(METRICS)} or a column of the trials")
    return trials[metric]


def final_error(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw every completed trial as a point, and the median of each arm with its interval."""
    if info["value"].isna().all():
        return annotate_empty("no completed trials", axes(ax))
    words = column_label(info["metric"].iloc[0])
    labels = [f"{arm}\nn = {rows['value'].notna().sum()} of {len(rows)}" for arm, _, rows in by_arm(info)]
    ax = axes(ax, height_in=arms_height_in(labels))
    for place, (_, style, rows) in enumerate(by_arm(info)):
        values, arm = rows["value"].dropna() * words.factor, rows.iloc[0]
        low, median, high = (arm[column] * words.factor for column in ("low", "median", "high"))
        heights = place + spread(len(values), 0.36)
        ax.scatter(values, heights, color=style.colour, marker=style.marker, alpha=0.6, s=22, linewidths=0)
        ax.vlines(median, place - 0.26, place + 0.26, color="black", linewidth=2)
        ax.hlines(place, low, high, color="black", linewidth=1.2)
    arms_axis(ax, labels)
    ax.set_xlabel(f"{words.label()}, last epoch")
    title(ax, f"Completed trials, their median, {info['confidence'].iloc[0]:.0%} interval", width=50)
    return ax


def forest_info(
    trials: pd.DataFrame,
    *,
    baseline: str,
    metric: str = "val_top1_error",
    confidence: float = 0.95,
    margin: float | None = None,
) -> pd.DataFrame:
    """Compare every arm with one of them over pairs of trials that share their seed.

    An arm's trials of equal replicate, the points of a grid, are averaged first, of a seed that has all of them.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        baseline: the arm that the others are compared with.
        metric: which final value, or a column of ``trials``.
        confidence: joint level of all decisions, and of all intervals.
        margin: largest difference that does not matter; with it arms are tested for equivalence as well.

    Returns:
        One row an arm but the baseline, as from ``analysis.statistics.paired_differences``, and ``metric``.

    Raises:
        ValueError: there is no arm of the baseline's name.
    """
    alike = by_seed(trials.assign(value=final_values(trials, metric)), value="value")
    info = paired_differences(alike, value="value", baseline=baseline, confidence=confidence, margin=margin)
    return info.assign(arm=info["arm"].astype(trials["arm"].dtype), metric=metric)


def forest(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw each arm's difference to the baseline with its interval; hollow where it is undecided."""
    info = info.dropna(subset=["estimate"])
    if info.empty:
        return annotate_empty("no pairs of completed trials that share a seed", axes(ax))
    first = info.iloc[0]
    words = column_label(first["metric"])
    labels = [f"{arm} (n = {rows['n_pairs'].iloc[0]})" for arm, _, rows in by_arm(info)]
    ax = axes(ax, height_in=arms_height_in(labels) + 0.3)
    for place, (_, style, rows) in enumerate(by_arm(info)):
        arm = rows.iloc[0]
        estimate, low, high = (arm[end] * words.factor for end in ("estimate", "low", "high"))
        face = _face(arm["verdict"], style.colour)
        ax.hlines(place, low, high, color=style.colour, linewidth=1.6)
        ax.plot(estimate, place, marker=style.marker, color=style.colour, markerfacecolor=face, ms=7)
    ax.axvline(0, color=GREY, linewidth=1, zorder=0)
    margin = first["margin"] * words.factor
    if np.isfinite(margin):
        ax.axvspan(-margin, margin, color=GREY, alpha=0.15, linewidth=0, zorder=0)
    arms_axis(ax, labels)
    unit = f"{words.difference_unit}; " if words.difference_unit else ""
    ax.set_xlabel(wrapped(f"difference in {words.name} to {first['baseline']} ({unit}n pairs of equal seed)", 46))
    title(ax, f"Mean paired difference, intervals of {first['confidence']:.0%} together", width=50)
    legend_below(ax, _verdict_keys(info), offset_pt=62)
    return ax


def _face(verdict: str, colour: str) -> str:
    return {LOWER: colour, HIGHER: colour, WITHIN: GREY}.get(verdict, "white")


def _verdict_keys(info: pd.DataFrame) -> list[Line2D]:
    faces = [_face(verdict, "black") for verdict in info["verdict"]]
    words = {"black": "decided (Holm)", GREY: "no difference larger than the margin", "white": "undecided, or too few"}
    return [legend_entry(word, "black", "o", face=face) for face, word in words.items() if face in faces]


def draw_errors(errors: pd.DataFrame) -> Figure:
    """Draw each arm's error with its interval, a panel a sweep.

    Args:
        errors: from :func:`arm_errors`.
    """
    if errors.empty:
        nothing = plt.figure()
        annotate_empty("no trial has completed yet", nothing.add_subplot())
        return nothing
    errors = errors if "sweep" in errors else errors.assign(sweep="")
    arms, sweeps = list(errors["arm"].unique()), list(errors["sweep"].unique())
    size = (max(7.0, 1.2 + 2.8 * len(sweeps)), 1.2 + 0.35 * len(arms))
    figure, panels = plt.subplots(1, len(sweeps), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, name in zip(panels.flat, sweeps, strict=True):
        rows = errors[errors["sweep"] == name]
        places = rows["arm"].map(arms.index)
        ax.hlines(places, 100 * rows["error_low"], 100 * rows["error_high"], color="#0072B2", linewidth=1.6)
        ax.plot(100 * rows["error"], places, "o", color="#0072B2", markersize=6)
        ax.set_title("\n".join(textwrap.wrap(name, 28)), fontsize=9)
        ax.set_xlabel(f"{rows['images'].iloc[0]} top-1 error (%)\nmean, 95 % interval", fontsize=9)
        ax.grid(axis="x", color="#dddddd", linewidth=0.6)
    panels[0, 0].set_yticks(range(len(arms)), arms)
    panels[0, 0].set_ylim(len(arms) - 0.5, -0.5)
    return figure
