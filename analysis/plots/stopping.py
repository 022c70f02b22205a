"""Early stopping: its decisions by rung and over time, and how well values at a rung predict final values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.data.frames import Sweep
from analysis.plots.style import (
    GREY,
    MAP,
    SMALL_PT,
    annotate_empty,
    axes,
    by_arm,
    column_label,
    legend_below,
    legend_entry,
    legend_outside,
    panelled,
    title,
    y_label,
)
from analysis.statistics import rank_correlation
from sweep.findings.summary import uncensored_trials
from sweep.records.schema import SPARED

VERDICTS = {
    "continue": ("o", "continued"),
    "stop": ("x", "stopped"),
    SPARED: ("D", "spared (control)"),
    "pause": ("s", "paused"),
}
"""Marker and label of each verdict of the records."""


def stopping_info(decisions: pd.DataFrame) -> pd.DataFrame:
    """Return the decisions of early stopping in the order in which they were made within each arm and rung.

    Args:
        decisions: one row per trial and rung, as from ``analysis.data.frames.load``.

    Returns:
        One row per decision: ``arm``, ``trial``, ``rung_epochs``, ``value``, ``cutoff`` (NaN if too few trials were
        recorded for a judgement), ``n_recorded``, ``verdict``, ``metric``, ``order`` (place among the decisions of the
        arm at the rung, from 0 to 1) and ``minutes`` since the first decision.

    Examples:
        >>> rows = {"arm": "off", "trial": ["a", "b"], "rung_epochs": 3, "value": [0.5, 0.7], "cutoff": [None, 0.5]}
        >>> decisions = pd.DataFrame({**rows, "n_recorded": [1, 2], "verdict": ["continue", "stop"]})
        >>> info = stopping_info(decisions.assign(metric="val_nll", time_s=[0.0, 90.0]))
        >>> info[["trial", "value", "verdict", "order", "minutes"]]
          trial  value   verdict  order  minutes
        0     a    0.5  continue   0.25      0.0
        1     b    0.7      stop   0.75      1.5
    """
    # stable: they are recorded in the order in which they were made; each search of an arm counts its own n_recorded
    info = decisions.sort_values(["rung_epochs", "arm"], kind="stable").reset_index(drop=True)
    slots = info.groupby(["rung_epochs", "arm"], observed=True)["trial"]
    order = ((slots.cumcount() + 0.5) / slots.transform("size")).astype(float)
    minutes = (info["time_s"] - info["time_s"].min()) / 60
    columns = ["arm", "trial", "rung_epochs", "value", "cutoff", "n_recorded", "verdict", "metric"]
    return info[columns].assign(order=order, minutes=minutes.astype(float))


def stopping(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the value of each decision at its rung, with its cutoff. The marker shows the verdict.

    Within a rung and arm, decisions are ordered from left to right by time.

    Args:
        info: from :func:`stopping_info`.
        ax: axes to plot into; None makes a figure.
    """
    ax = axes(ax)
    if info.empty:
        return annotate_empty("no decisions: no trial has reached a rung", ax)
    label = column_label(info["metric"].iloc[0])
    rungs = sorted(info["rung_epochs"].unique())
    arms, n_arms = [], info["arm"].nunique()
    for slot, (arm, style, rows) in enumerate(by_arm(info)):
        places = rows["rung_epochs"].map(rungs.index) + (slot + rows["order"]) / n_arms * 0.84 - 0.42
        ax.scatter(places, rows["cutoff"] * label.factor, color=GREY, s=26, marker="_")
        for verdict, equal in rows.groupby("verdict"):
            x, y = places[equal.index], equal["value"] * label.factor
            ax.scatter(x, y, color=style.colour, s=24, marker=_marker(verdict))
        ended = rows["verdict"].isin(["stop", "pause"]).sum()
        arms.append(legend_entry(f"{arm} (ended {ended} of {len(rows)})", style.colour, "s"))
    for between in range(1, len(rungs)):
        ax.axvline(between - 0.5, color=GREY, linewidth=0.6, linestyle="dotted")
    ax.set_xticks(range(len(rungs)), [f"{rung}\nn = {(info['rung_epochs'] == rung).sum()}" for rung in rungs])
    ax.set_xlim(-0.5, len(rungs) - 0.5)
    ax.set(xlabel="rung (epochs), number of decisions", ylabel=label.label())
    title(ax, "Decisions of early stopping; within a rung, arms are in the order of the legend")
    legend_below(ax, [*arms, *_verdict_keys(info), legend_entry("cutoff", GREY, "_")], offset_pt=50)
    return ax


def _marker(verdict: object) -> str:
    return VERDICTS.get(str(verdict), ("*", ""))[0]


def _verdict_keys(info: pd.DataFrame) -> list[Line2D]:
    return [
        legend_entry(f"{label} (n = {(info['verdict'] == verdict).sum()})", "black", marker)
        for verdict, (marker, label) in VERDICTS.items()
        if (info["verdict"] == verdict).any()
    ]


def timeline(info: pd.DataFrame, ax: Axes | None = None, *, arm: str | None = None) -> Axes:
    """Plot the value of each decision over time: colour shows the rung, the marker the verdict.

    Args:
        info: from ``stopping_info``.
        ax: where to plot; None makes a figure.
        arm: arm of the decisions; None takes all arms.
    """
    ax = axes(ax)
    info = info if arm is None else info[info["arm"] == arm]
    if info.empty:
        return annotate_empty(f"no decisions{f' on trials of {arm}' if arm else ''}: no trial has reached a rung", ax)
    words = column_label(info["metric"].iloc[0])
    rungs = sorted(info["rung_epochs"].unique())
    colours = _sequence(len(rungs))
    for (rung, verdict), rows in info.groupby(["rung_epochs", "verdict"]):
        colour = colours[rungs.index(rung)]
        ax.scatter(rows["minutes"], rows["value"] * words.factor, color=colour, marker=_marker(verdict), s=26)
    ax.set(xlabel="minutes since the first decision", ylabel=f"{words.label()} at the rung")
    arms = arm or f"all {info['arm'].nunique()} arms"
    title(ax, f"Decisions of early stopping over time, {arms}, n = {len(info)}")
    counts = info["rung_epochs"].value_counts()
    keys = [legend_entry(f"epoch {rung} (n = {counts[rung]})", colours[place], "s") for place, rung in enumerate(rungs)]
    legend_below(ax, [*keys, *_verdict_keys(info)])
    return ax


def _sequence(n: int) -> list[str]:
    """Return ``n`` colours from dark to light, which also differ in a grey print."""
    shades = mpl.colormaps[MAP](np.linspace(0.0, 0.85, n))
    return [mpl.colors.to_hex(shade) for shade in shades]


def rung_to_final_info(
    sweep: Sweep,
    *,
    rungs: Iterable[int],
    rng: np.random.Generator,
    metric: str = "val_top1_error",
) -> pd.DataFrame:
    """Return the value of each completed trial at each rung, with its final value.

    Only trials that no rule could stop are used: other completed trials were selected by their values at the rungs. For
    correlations per arm, see ``analysis.methods.fidelity.rung_fidelity``.

    Args:
        sweep: from ``analysis.data.frames.load``.
        rungs: epochs at which trials are judged.
        rng: source of the resamples for the interval of the correlation.
        metric: metric of the values.

    Returns:
        One row per trial and rung: ``arm``, ``trial``, ``rung_epochs``, ``value`` (at the rung), ``final``; for the
        rung ``correlation`` (Spearman's), ``low``, ``high`` and ``n``; and ``metric``. The correlation is within arms:
        the median of the arm is subtracted from both values, because a large difference between arms alone would give
        a high correlation at any rung.
    """
    epochs = sweep.epochs
    final = uncensored_trials(sweep.manifest, sweep.trials).set_index("trial")[f"final_{metric}"].dropna()
    at_rung = epochs[epochs["epoch"].isin(list(rungs)) & epochs["trial"].isin(final.index)].dropna(subset=[metric])
    info = at_rung[["arm", "trial"]].assign(
        rung_epochs=at_rung["epoch"], value=at_rung[metric], final=at_rung["trial"].map(final).astype(float)
    )
    info = info.sort_values(["rung_epochs", "arm"], kind="stable", ignore_index=True)
    arms = info.groupby(["rung_epochs", "arm"], observed=True)[["value", "final"]]
    within = info[["value", "final"]] - arms.transform("median")
    estimates = {rung: rank_correlation(*within.loc[rows].to_numpy().T, rng=rng) for rung, rows in _rows_of(info)}
    values = [(estimate.value, estimate.low, estimate.high, estimate.n[0]) for estimate in estimates.values()]
    columns = ["correlation", "low", "high", "n"]
    by_rung = pd.DataFrame(values, columns=columns, index=pd.Index(list(estimates), dtype=info["rung_epochs"].dtype))
    return info.join(by_rung, on="rung_epochs").assign(metric=metric)


def _rows_of(info: pd.DataFrame) -> list[tuple[int, pd.Index]]:
    return [(int(str(rung)), rows) for rung, rows in info.groupby("rung_epochs").groups.items()]


def rung_to_final(info: pd.DataFrame, into: Figure | None = None) -> Figure:
    """Plot the final value of each trial over its value at a rung, one panel per rung, with the rank correlation.

    Args:
        info: from ``rung_to_final_info``.
        into: figure to plot into; None makes one.
    """
    rungs = sorted(info["rung_epochs"].unique())
    whole, panels = panelled(into, len(rungs))
    if info.empty:
        annotate_empty("no completed trial that early stopping could not stop has a value at a rung", panels[0])
        return whole
    label = column_label(info["metric"].iloc[0])
    for ax, rung in zip(panels, rungs, strict=True):
        rows = info[info["rung_epochs"] == rung]
        for _, style, arm_rows in by_arm(rows):
            value, final = arm_rows["value"] * label.factor, arm_rows["final"] * label.factor
            ax.scatter(value, final, color=style.colour, marker=style.marker, s=20, alpha=0.8, linewidths=0.8)
        ax.set_title(_correlation_title(rows.iloc[0]), fontsize=SMALL_PT + 1)
        ax.set_xlabel(f"at epoch {rung}{f' ({label.unit})' if label.unit else ''}")
        y_label(ax, f"{label.label()}, last epoch")
    keys = [
        legend_entry(f"{arm} (n = {rows['trial'].nunique()})", style.colour, style.marker)
        for arm, style, rows in by_arm(info)
    ]
    legend_outside(whole, keys)
    return whole


def _correlation_title(rung: pd.Series[Any]) -> str:
    head = f"n = {rung['n']}, rank corr. {rung['correlation']:.2f}"
    return head if np.isnan(rung["low"]) else f"{head}\n({rung['low']:.2f} to {rung['high']:.2f})"
