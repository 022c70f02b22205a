"""Arms side by side: their final values, their errors, and their differences to a baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.data.grid import by_seed
from analysis.data.replication import PLURALS
from analysis.plots.style import (
    GREY,
    SMALL_PT,
    TITLE_PT,
    annotate_empty,
    arm_style,
    arms_axis,
    arms_height_in,
    axes,
    by_arm,
    column_label,
    figure,
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
    """Compute the final value of each trial and the median of each arm.

    Args:
        trials: one row per trial, as from ``analysis.data.frames.load``.
        rng: source of the bootstrap resamples.
        metric: metric of the final values, or a column of ``trials``.
        confidence: level of the interval of each median.

    Returns:
        One row per trial: ``arm``, ``trial``, ``value`` (NaN if the trial has not completed); for its arm ``n_trials``,
        ``n`` (completed trials), ``median``, ``low`` and ``high`` (bootstrap interval, NaN for a small n); and
        ``confidence`` and ``metric``.

    Examples:
        >>> trials = pd.DataFrame(
        ...     {"arm": ["off", "off"], "trial": ["off-0", "off-1"], "final_val_top1_error": [0.25, 0.75]}
        ... )
        >>> info = final_error_info(trials, rng=np.random.default_rng(0))
        >>> info[["trial", "value", "n", "median"]]
           trial  value  n  median
        0  off-0   0.25  2     0.5
        1  off-1   0.75  2     0.5
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
    """Return the final values of a metric, or a column that was added to the trials, for example a test error.

    Raises:
        ValueError: ``metric`` is neither a metric nor a column.
    """
    if metric in METRICS:
        return trials[f"final_{metric}"]
    if metric not in trials:
        raise ValueError(f"unknown metric {metric!r}, choose one of {', '.join(METRICS)} or a column of the trials")
    return trials[metric]


def final_error(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot each completed trial as a point, and the median of each arm with its interval.

    Args:
        info: from :func:`final_error_info`.
        ax: axes to plot into; None makes a figure.
    """
    if info["value"].isna().all():
        return annotate_empty("no completed trials", axes(ax))
    label = column_label(info["metric"].iloc[0])
    labels = [f"{arm}\nn = {rows['value'].notna().sum()} of {len(rows)}" for arm, _, rows in by_arm(info)]
    ax = axes(ax, height_in=arms_height_in(labels))
    for place, (_, style, rows) in enumerate(by_arm(info)):
        values, arm = rows["value"].dropna() * label.factor, rows.iloc[0]
        low, median, high = (arm[column] * label.factor for column in ("low", "median", "high"))
        heights = place + spread(len(values), 0.36)
        ax.scatter(values, heights, color=style.colour, marker=style.marker, alpha=0.6, s=22, linewidths=0)
        ax.vlines(median, place - 0.26, place + 0.26, color="black", linewidth=2)
        ax.hlines(place, low, high, color="black", linewidth=1.2)
    arms_axis(ax, labels)
    ax.set_xlabel(f"{label.label()}, last epoch")
    title(ax, f"Completed trials and their median, {100 * info['confidence'].iloc[0]:.0f} % interval", width=50)
    return ax


def forest_info(
    trials: pd.DataFrame,
    *,
    baseline: str,
    metric: str = "val_top1_error",
    confidence: float = 0.95,
    margin: float | None = None,
) -> pd.DataFrame:
    """Compare each arm with the baseline over pairs of trials with the same seed.

    First the trials of equal arm and replicate, the points of a grid, are averaged; a seed that lacks a grid point is
    left out.

    Args:
        trials: one row per trial, as from ``analysis.data.frames.load``.
        baseline: the arm that the others are compared with.
        metric: metric of the final values, or a column of ``trials``.
        confidence: joint level of all decisions, and of all intervals.
        margin: largest difference that does not matter; with a margin, arms are also tested for equivalence.

    Returns:
        One row per arm except the baseline, as from ``analysis.statistics.paired_differences``, and ``metric``.

    Raises:
        ValueError: the baseline is not an arm.

    Examples:
        >>> trials = pd.DataFrame(
        ...     {
        ...         "arm": ["off", "off", "cutmix", "cutmix"],
        ...         "replicate": [0, 1, 0, 1],
        ...         "final_val_top1_error": [0.50, 0.25, 0.375, 0.0],
        ...     }
        ... )
        >>> forest_info(trials, baseline="off")[["arm", "baseline", "n_pairs", "estimate"]]
              arm baseline  n_pairs  estimate
        0  cutmix      off        2   -0.1875
    """
    seeds = by_seed(trials.assign(value=final_values(trials, metric)), value="value")
    info = paired_differences(
        seeds, value="value", baseline=baseline, metric=metric, confidence=confidence, margin=margin
    )
    return info.assign(arm=info["arm"].astype(trials["arm"].dtype), metric=metric)


def forest(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the difference of each arm to the baseline with its interval; an undecided difference has a hollow marker.

    Args:
        info: from :func:`forest_info`.
        ax: axes to plot into; None makes a figure.
    """
    info = info.dropna(subset=["estimate"])
    if info.empty:
        return annotate_empty("no pairs of completed trials that share a seed", axes(ax))
    first = info.iloc[0]
    label = column_label(first["metric"])
    labels = [f"{arm} (n = {rows['n_pairs'].iloc[0]})" for arm, _, rows in by_arm(info)]
    ax = axes(ax, height_in=arms_height_in(labels) + 0.3)
    for place, (_, style, rows) in enumerate(by_arm(info)):
        arm = rows.iloc[0]
        estimate, low, high = (arm[end] * label.factor for end in ("estimate", "low", "high"))
        face = _face(arm["verdict"], style.colour)
        ax.hlines(place, low, high, color=style.colour, linewidth=1.6)
        ax.plot(estimate, place, marker=style.marker, color=style.colour, markerfacecolor=face, ms=7)
    ax.axvline(0, color=GREY, linewidth=1, zorder=0)
    margin = first["margin"] * label.factor
    if np.isfinite(margin):
        ax.axvspan(-margin, margin, color=GREY, alpha=0.15, linewidth=0, zorder=0)
    arms_axis(ax, labels)
    unit = f"{label.difference_unit}; " if label.difference_unit else ""
    ax.set_xlabel(wrapped(f"difference in {label.name} to {first['baseline']} ({unit}n pairs of equal seed)", 46))
    title(ax, f"Mean paired difference, joint {100 * first['confidence']:.0f} % intervals", width=50)
    legend_below(ax, _verdict_keys(info), offset_pt=62)
    return ax


def _face(verdict: str, colour: str) -> str:
    return {LOWER: colour, HIGHER: colour, WITHIN: GREY}.get(verdict, "white")


def _verdict_keys(info: pd.DataFrame) -> list[Line2D]:
    faces = [_face(verdict, "black") for verdict in info["verdict"]]
    labels = {"black": "decided (Holm)", GREY: "no difference larger than the margin", "white": "undecided, or too few"}
    return [legend_entry(label, "black", "o", face=face) for face, label in labels.items() if face in faces]


def draw_errors(errors: pd.DataFrame) -> Figure:
    """Plot the mean error of each arm with its interval, one panel per sweep.

    Args:
        errors: from ``analysis.questions.any_study.arm_errors``: one row per arm, and per ``sweep`` if there are
            several, with ``arm``, ``images`` (test or validation), ``unit`` (``search``, ``seed`` or ``trial``) with
            its number ``n``, ``error``, ``error_low`` and ``error_high`` (fractions; NaN for an arm without a value or
            an interval).
    """
    arms = [str(arm) for arm in errors["arm"].unique()]
    units = [PLURALS[unit] for unit in errors["unit"].unique()]
    counted = f" {units[0]}" if len(units) == 1 else ""  # sweeps may differ in it
    labels = [wrapped(f"{arm} (n = {_counts(errors['n'][errors['arm'] == arm])}{counted})") for arm in arms]
    errors = errors if "sweep" in errors else errors.assign(sweep="")
    sweeps = list(errors["sweep"].unique())
    rows = max(1, -(-len(sweeps) // 3))
    whole = figure(height_in=0.3 + rows * arms_height_in(labels))
    if errors.empty:
        annotate_empty("no trial has completed yet", whole.add_subplot())
        return whole
    panels = list(whole.subplots(rows, -(-len(sweeps) // rows), squeeze=False, sharey=True).flat)
    for unused in panels[len(sweeps) :]:
        unused.remove()
    arms_axis(panels[0], labels)
    for ax, sweep in zip(panels, sweeps, strict=False):
        sweep_errors = errors[errors["sweep"] == sweep]
        _plot_errors(ax, sweep_errors, arms)
        images, unit = sweep_errors[["images", "unit"]].iloc[0]
        counts = "" if counted else f"\nn counts {PLURALS[unit]}"
        ax.set_xlabel(f"{images} top-1 error (%){counts}", fontsize=SMALL_PT + 1)
        ax.set_title(wrapped(str(sweep), 24), fontsize=TITLE_PT - 1)
    whole.suptitle("Mean error of each arm, 95 % intervals", fontsize=TITLE_PT)
    return whole


def _plot_errors(ax: Axes, errors: pd.DataFrame, arms: list[str]) -> None:
    for row in errors.to_dict("records"):
        place = arms.index(str(row["arm"]))
        style = arm_style(place)
        ax.hlines(place, 100 * row["error_low"], 100 * row["error_high"], color=style.colour, linewidth=1.6)
        ax.plot(100 * row["error"], place, marker=style.marker, color=style.colour, ms=6)


def _counts(counts: pd.Series[Any]) -> str:
    """Print the range of some counts: ``5``, or ``3 to 5``."""
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low} to {high}"
