"""Figures of a sweep: each is a function that computes a frame (``*_info``) and a thin one that draws it.

Frames hold raw fractions; axes show percent. A figure without data says so in words instead of being empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from analysis.statistics import bootstrap
from sweep.records.summary import metric_words

# Okabe and Ito's colours, which readers with any common colour blindness tell apart, less their yellow, which
# is lost on white
_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_GREY = "#777777"


def learning_curves_info(epochs: pd.DataFrame, *, metric: str = "val_top1_error") -> pd.DataFrame:
    """Summarise the trials of each arm at each epoch.

    Args:
        epochs: one row a trial and epoch.
        metric: column of ``epochs`` that is summarised.

    Returns:
        One row an arm and epoch: ``arm``, ``epoch``, ``median``, ``low`` and ``high`` (quartiles), ``n``
        (trials still alive there, which early stopping has selected) and ``metric``.
    """
    groups = epochs.dropna(subset=[metric]).groupby(["arm", "epoch"], observed=True)[metric]
    info = groups.agg(
        median="median",
        low=lambda values: values.quantile(0.25),
        high=lambda values: values.quantile(0.75),
        n="size",
    )
    return info.reset_index().assign(metric=metric)


def learning_curves(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the median and the interquartile band of each arm, and below them the trials still alive."""
    ax = _axes(ax)
    if info.empty:
        return _say("no epochs recorded", ax)
    words = metric_words(info["metric"].iloc[0])
    alive = ax.inset_axes((0, -0.4, 1, 0.35), sharex=ax)
    for arm, colour, rows in _by_arm(info):
        label = f"{arm} (n = {rows['n'].iloc[0]} → {rows['n'].iloc[-1]})"
        low, median, high = (rows[column] * words.factor for column in ("low", "median", "high"))
        ax.plot(rows["epoch"], median, color=colour, label=label)
        ax.fill_between(rows["epoch"], low, high, color=colour, alpha=0.2, linewidth=0)
        alive.step(rows["epoch"], rows["n"], where="mid", color=colour)
    ax.tick_params(labelbottom=False)
    ax.set(ylabel=words.label(), title="Median and interquartile range of the trials still alive")
    alive.set(xlabel="epoch", ylabel="trials alive", ylim=(0, info["n"].max() * 1.15))
    for axis in (alive.xaxis, alive.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True))
    ax.legend(frameon=False)
    return ax


def final_error_info(
    trials: pd.DataFrame,
    *,
    rng: np.random.Generator,
    metric: str = "val_top1_error",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Gather the final value of every trial and the median of each arm.

    Args:
        trials: one row a trial, as from ``analysis.frames.load``.
        rng: source of the bootstrap resamples.
        metric: which final value.
        confidence: level of the median's interval.

    Returns:
        One row a trial: ``arm``, ``trial``, ``value`` (nan where not completed), of its arm ``n_trials``,
        ``n`` (completed), ``median``, ``low`` and ``high`` (bootstrap interval, nan for a small n), and
        ``confidence`` and ``metric``.
    """
    info = trials[["arm", "trial"]].assign(value=trials[f"final_{metric}"])
    rows = []
    for arm, group in info.groupby("arm", observed=True)["value"]:
        estimate = bootstrap(group, rng=rng, confidence=confidence)
        rows.append((arm, len(group), estimate.n[0], estimate.value, estimate.low, estimate.high))
    arms = pd.DataFrame(rows, columns=["arm", "n_trials", "n", "median", "low", "high"])
    joined = info.join(arms.set_index("arm"), on="arm")
    return joined.assign(confidence=confidence, metric=metric)


def final_error(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw every completed trial as a point, and the median of each arm with its interval."""
    ax = _axes(ax)
    if info["value"].isna().all():
        return _say("no completed trials", ax)
    words = metric_words(info["metric"].iloc[0])
    labels = []
    for place, (arm, colour, rows) in enumerate(_by_arm(info)):
        values = rows["value"].dropna() * words.factor
        ax.scatter(place + _spread(len(values), 0.36), values, color=colour, alpha=0.6, s=22, linewidths=0)
        _draw_median(ax, place, rows.iloc[0], words.factor)
        labels.append(f"{arm}\nn = {len(values)} of {len(rows)}")
    confidence = info["confidence"].iloc[0]
    ax.set_xticks(range(len(labels)), labels)
    ax.set_xlim(-0.6, len(labels) - 0.4)
    ax.set(
        ylabel=f"{words.label()}, last epoch",
        title=f"Completed trials, their median, {confidence:.0%} interval",
    )
    return ax


def _draw_median(ax: Axes, place: int, row: pd.Series[Any], factor: float) -> None:
    ax.hlines(row["median"] * factor, place - 0.26, place + 0.26, color="black", linewidth=2)
    ax.vlines(place, row["low"] * factor, row["high"] * factor, color="black", linewidth=1.2)


def response_info(
    trials: pd.DataFrame,
    *,
    arm: str = "cutmix",
    metric: str = "val_top1_error",
    x: str = "mix.size.alpha",
    y: str = "mix.apply.prob",
    marker: str = "mix.position.kind",
) -> pd.DataFrame:
    """Gather where the trials of one arm lie in its space, and their final values.

    Args:
        trials: one row a trial, as from ``analysis.frames.load``.
        arm: whose trials.
        metric: which final value.
        x: dotted path of a drawn number above 0.
        y: dotted path of another drawn number.
        marker: dotted path of a drawn choice; "" where the arm does not draw it.

    Returns:
        One row a trial: ``trial``, ``status``, ``x``, ``y``, ``marker``, ``value`` (nan where not completed),
        and ``arm``, ``metric``, ``x_path`` and ``y_path``.
    """
    own = trials[trials["arm"] == arm].reset_index(drop=True)
    drawn = own.reindex(columns=[f"params.{path}" for path in (x, y, marker)])
    drawn.columns = pd.Index(["x", "y", "marker"])
    return own[["trial", "status"]].assign(
        x=drawn["x"].astype(float),
        y=drawn["y"].astype(float),
        marker=drawn["marker"].astype(object).fillna("").astype(str),
        value=own[f"final_{metric}"],
        **{"arm": arm, "metric": metric, "x_path": x, "y_path": y},
    )


def response(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the final value as colour over two drawn parameters; grey crosses are trials not completed."""
    ax = _axes(ax)
    completed = info.dropna(subset=["x", "y", "value"])
    if completed.empty:
        return _say("no completed trials with drawn parameters", ax)
    first = info.iloc[0]
    words = metric_words(first["metric"])
    values = completed["value"] * words.factor
    colours = ScalarMappable(Normalize(values.min(), values.max()), cmap="cividis")
    keys = []
    for marker, (choice, index) in zip(cycle(_MARKERS), completed.groupby("marker").groups.items(), strict=False):
        rows, faces = completed.loc[index], colours.to_rgba(values[index].to_numpy())
        ax.scatter(rows["x"], rows["y"], c=faces, marker=marker, s=55, edgecolors="black")
        keys.append(_key(marker, "black", f"{choice or 'completed'} (n = {len(rows)})", fillstyle="none"))
    rest = info[info["value"].isna()]
    ax.scatter(rest["x"], rest["y"], marker="x", s=22, color=_GREY)
    ax.figure.colorbar(colours, ax=ax, label=f"{words.label()}, last epoch")
    ax.set(xscale="log", xlabel=f"{first['x_path']} (log scale)", ylabel=first["y_path"])
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_title(f"{first['arm']}: final value over its space")
    _legend_below(ax, [*keys, _key("x", _GREY, f"not completed (n = {len(rest)})")], n_columns=2)
    return ax


def stopping_info(decisions: pd.DataFrame) -> pd.DataFrame:
    """Order the decisions of early stopping as they were made within each arm and rung.

    Args:
        decisions: one row a trial and rung.

    Returns:
        One row a decision: ``arm``, ``trial``, ``rung_epochs``, ``value``, ``cutoff`` (nan where too few
        trials were recorded to judge), ``n_recorded``, ``stopped``, ``metric``, and ``order``, its place from
        0 to 1 among the decisions of its arm at its rung.
    """
    info = decisions.sort_values(["rung_epochs", "arm", "n_recorded"], kind="stable").reset_index(drop=True)
    slots = info.groupby(["rung_epochs", "arm"], observed=True)["trial"]
    order = (slots.cumcount() + 0.5) / slots.transform("size")
    columns = ["arm", "trial", "rung_epochs", "value", "cutoff", "n_recorded", "metric"]
    return info[columns].assign(stopped=info["verdict"] == "stop", order=order.astype(float))


def stopping(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw each decision at its rung: continued or stopped, beside the cutoff it was judged by.

    Within a rung and arm, decisions run from left to right in the order in which they were made.
    """
    ax = _axes(ax)
    if info.empty:
        return _say("no decisions: no trial has reached a rung", ax)
    words = metric_words(info["metric"].iloc[0])
    rungs = sorted(info["rung_epochs"].unique())
    n_arms, arms = len(list(_by_arm(info))), []
    for slot, (arm, colour, rows) in enumerate(_by_arm(info)):
        places = rows["rung_epochs"].map(rungs.index) + (slot + rows["order"]) / n_arms * 0.84 - 0.42
        value, cutoff, stopped = rows["value"] * words.factor, rows["cutoff"] * words.factor, rows["stopped"]
        ax.scatter(places[~stopped], value[~stopped], color=colour, s=24)
        ax.scatter(places[stopped], value[stopped], color=colour, s=30, marker="x")
        ax.scatter(places, cutoff, color=_GREY, s=26, marker="_")
        arms.append(_key("o", colour, f"{arm}: {stopped.sum()} of {len(rows)} stopped"))
    ax.set_xticks(range(len(rungs)), [f"{rung}\nn = {(info['rung_epochs'] == rung).sum()}" for rung in rungs])
    ax.set(xlabel="rung (epochs), number of decisions", ylabel=words.label(), title="Decisions of early stopping")
    marks = [_key("o", "black", "continued"), _key("x", "black", "stopped"), _key("_", _GREY, "cutoff")]
    _legend_below(ax, [*arms, *marks], n_columns=2)
    return ax


def _key(marker: str, colour: str, label: str, fillstyle: Literal["full", "none"] = "full") -> Line2D:
    return Line2D([], [], color=colour, marker=marker, label=label, fillstyle=fillstyle, linestyle="none")


def _legend_below(ax: Axes, keys: list[Line2D], *, n_columns: int) -> None:
    """Below the axes, where it hides no point."""
    ax.legend(handles=keys, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=n_columns)


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots(figsize=(7.0, 4.2))[1] if ax is None else ax


def _say(words: str, ax: Axes) -> Axes:
    ax.text(0.5, 0.5, words, ha="center", va="center", transform=ax.transAxes)
    ax.set_axis_off()
    return ax


def _by_arm(info: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield name, colour and rows of each arm; an arm keeps its colour in figures that lack another arm."""
    arms = info["arm"]
    every = list(arms.cat.categories) if isinstance(arms.dtype, pd.CategoricalDtype) else list(arms.unique())
    for place, arm in enumerate(every):
        rows = info[arms == arm]
        if len(rows):
            yield str(arm), _PALETTE[place % len(_PALETTE)], rows


def _spread(n: int, width: float) -> NDArray[np.float64]:
    """Return ``n`` offsets that keep points apart without chance: multiples of the golden ratio."""
    offsets = (np.arange(n) * 0.6180339887 + 0.5) % 1.0 - 0.5
    return np.asarray(offsets * width, dtype=np.float64)
