"""Early stopping: its decisions by rung and over time, and what a rung says about the end."""

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
"""Marker and word of each verdict of the records."""


def stopping_info(decisions: pd.DataFrame) -> pd.DataFrame:
    """Order the decisions of early stopping as they were made within each arm and rung.

    Args:
        decisions: one row a trial and rung.

    Returns:
        One row a decision: ``arm``, ``trial``, ``rung_epochs``, ``value``, ``cutoff`` (nan where too few
        trials were recorded to judge), ``n_recorded``, ``verdict``, ``metric``, ``order``, its place from 0 to 1
        among the decisions of its arm at its rung, and ``minutes`` since the first decision of all.
    """
    info = decisions.sort_values(["rung_epochs", "arm", "n_recorded"], kind="stable").reset_index(drop=True)
    slots = info.groupby(["rung_epochs", "arm"], observed=True)["trial"]
    order = ((slots.cumcount() + 0.5) / slots.transform("size")).astype(float)
    minutes = (info["time_s"] - info["time_s"].min()) / 60
    columns = ["arm", "trial", "rung_epochs", "value", "cutoff", "n_recorded", "verdict", "metric"]
    return info[columns].assign(order=order, minutes=minutes.astype(float))


def stopping(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw each decision at its rung, beside the cutoff it was judged by; the marker is the verdict.

    Within a rung and arm, decisions run from left to right in the order in which they were made.
    """
    ax = axes(ax)
    if info.empty:
        return annotate_empty("no decisions: no trial has reached a rung", ax)
    words = column_label(info["metric"].iloc[0])
    rungs = sorted(info["rung_epochs"].unique())
    arms, n_arms = [], info["arm"].nunique()
    for slot, (arm, style, rows) in enumerate(by_arm(info)):
        places = rows["rung_epochs"].map(rungs.index) + (slot + rows["order"]) / n_arms * 0.84 - 0.42
        ax.scatter(places, rows["cutoff"] * words.factor, color=GREY, s=26, marker="_")
        for verdict, own in rows.groupby("verdict"):
            ax.scatter(
                places[own.index], own["value"] * words.factor, color=style.colour, s=24, marker=_marker(verdict)
            )
        ended = rows["verdict"].isin(["stop", "pause"]).sum()
        arms.append(legend_entry(f"{arm} (ended {ended} of {len(rows)})", style.colour, "s"))
    for between in range(1, len(rungs)):
        ax.axvline(between - 0.5, color=GREY, linewidth=0.6, linestyle="dotted")
    ax.set_xticks(range(len(rungs)), [f"{rung}\nn = {(info['rung_epochs'] == rung).sum()}" for rung in rungs])
    ax.set_xlim(-0.5, len(rungs) - 0.5)
    ax.set(xlabel="rung (epochs), number of decisions", ylabel=words.label())
    title(ax, "Decisions of early stopping; within a rung, arms stand in the order below")
    legend_below(ax, [*arms, *_verdict_keys(info), legend_entry("cutoff", GREY, "_")], offset_pt=50)
    return ax


def _marker(verdict: object) -> str:
    return VERDICTS.get(str(verdict), ("*", ""))[0]


def _verdict_keys(info: pd.DataFrame) -> list[Line2D]:
    return [
        legend_entry(f"{word} (n = {(info['verdict'] == verdict).sum()})", "black", marker)
        for verdict, (marker, word) in VERDICTS.items()
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
    """Return colours from dark to light that differ in a grey print as well."""
    shades = mpl.colormaps[MAP](np.linspace(0.0, 0.85, n))
    return [mpl.colors.to_hex(shade) for shade in shades]


def rung_to_final_info(
    sweep: Sweep,
    *,
    rungs: Iterable[int],
    rng: np.random.Generator,
    metric: str = "val_top1_error",
) -> pd.DataFrame:
    """Pair what completed trials showed at each rung with what they came to.

    Only trials that early stopping had no say in: others were chosen by what they showed. Correlations arm by arm are
    in ``analysis.methods.fidelity.rung_fidelity``.

    Args:
        sweep: from ``analysis.data.frames.load``.
        rungs: epochs at which trials are judged.
        rng: source of the correlation's resamples.
        metric: which value.

    Returns:
        One row a trial and rung: ``arm``, ``trial``, ``rung_epochs``, ``value`` (there), ``final``, of its rung
        ``correlation`` (Spearman's, of what differs from the arm's median at both: arms that are far apart would
        make any rung look good), ``low``, ``high`` and ``n``, and ``metric``.
    """
    column_label(metric)
    epochs = sweep.epochs
    final = uncensored_trials(sweep.manifest, sweep.trials).set_index("trial")[f"final_{metric}"].dropna()
    at_rung = epochs[epochs["epoch"].isin(list(rungs)) & epochs["trial"].isin(final.index)].dropna(subset=[metric])
    info = at_rung[["arm", "trial"]].assign(
        rung_epochs=at_rung["epoch"], value=at_rung[metric], final=at_rung["trial"].map(final).astype(float)
    )
    info = info.sort_values(["rung_epochs", "arm"], kind="stable", ignore_index=True)
    arms = info.groupby(["rung_epochs", "arm"], observed=True)[["value", "final"]]
    within = info[["value", "final"]] - arms.transform("median")
    found = {rung: rank_correlation(*within.loc[rows].to_numpy().T, rng=rng) for rung, rows in _rows_of(info)}
    measured = [(estimate.value, estimate.low, estimate.high, estimate.n[0]) for estimate in found.values()]
    columns = ["correlation", "low", "high", "n"]
    by_rung = pd.DataFrame(measured, columns=columns, index=pd.Index(list(found), dtype=info["rung_epochs"].dtype))
    return info.join(by_rung, on="rung_epochs").assign(metric=metric)


def _rows_of(info: pd.DataFrame) -> list[tuple[int, pd.Index]]:
    return [(int(str(rung)), rows) for rung, rows in info.groupby("rung_epochs").groups.items()]


def rung_to_final(info: pd.DataFrame, into: Figure | None = None) -> Figure:
    """Draw the final value over that at each rung, a panel a rung, with the rank correlation within arms.

    Args:
        info: from ``rung_to_final_info``.
        into: figure to draw into; None makes one.
    """
    rungs = sorted(info["rung_epochs"].unique())
    drawn, panels = panelled(into, len(rungs))
    if info.empty:
        annotate_empty("no completed trial that early stopping had no say in has a value at a rung", panels[0])
        return drawn
    words = column_label(info["metric"].iloc[0])
    for ax, rung in zip(panels, rungs, strict=True):
        rows = info[info["rung_epochs"] == rung]
        for _, style, own in by_arm(rows):
            value, final = own["value"] * words.factor, own["final"] * words.factor
            ax.scatter(value, final, color=style.colour, marker=style.marker, s=20, alpha=0.8, linewidths=0.8)
        ax.set_title(_foretold(rows.iloc[0]), fontsize=SMALL_PT + 1)
        ax.set_xlabel(f"at epoch {rung}{f' ({words.unit})' if words.unit else ''}")
        y_label(ax, f"{words.label()}, last epoch")
    keys = [
        legend_entry(f"{arm} (n = {rows['trial'].nunique()})", style.colour, style.marker)
        for arm, style, rows in by_arm(info)
    ]
    legend_outside(drawn, keys)
    return drawn


def _foretold(rung: pd.Series[Any]) -> str:
    head = f"n = {rung['n']}, rank corr. {rung['correlation']:.2f}"
    return head if np.isnan(rung["low"]) else f"{head}\n({rung['low']:.2f} to {rung['high']:.2f})"
