"""The final value over two parameters: the trials, and the surface fitted to them."""

from __future__ import annotations

from collections.abc import Collection
from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from analysis.methods.surface import MIN_TRIALS, Surface
from analysis.plots.style import (
    GREY,
    MAP,
    MARKERS,
    annotate_empty,
    axes,
    colours_of,
    column_label,
    figure,
    legend_below,
    legend_entry,
    title,
    wrapped,
)


def response_info(
    trials: pd.DataFrame,
    *,
    arm: str = "cutmix",
    metric: str = "val_top1_error",
    x: str = "mix.size.alpha",
    y: str = "mix.apply.prob",
    marker: str = "mix.position.kind",
    log: Collection[str] = ("mix.size.alpha",),
) -> pd.DataFrame:
    """Gather the two parameters and the final value of each trial of one arm.

    Args:
        trials: one row per trial, from ``analysis.data.frames.load``.
        arm: arm of the trials.
        metric: metric of the final values.
        x: dotted path of a number.
        y: dotted path of another number.
        marker: dotted path of a choice; a path that the arm does not vary gives one marker.
        log: dotted paths with a logarithmic scale.

    Returns:
        One row per trial: ``trial``, ``status``, ``x``, ``y``, ``marker``, ``value`` (NaN unless completed),
        ``arm``, ``metric``, ``x_path``, ``y_path``, ``x_log`` and ``y_log``.
    """
    arm_trials = trials[trials["arm"] == arm].reset_index(drop=True)
    params = arm_trials.reindex(columns=[f"params.{path}" for path in (x, y, marker)])
    params.columns = pd.Index(["x", "y", "marker"])
    return arm_trials[["trial", "status"]].assign(
        x=params["x"].astype(float),
        y=params["y"].astype(float),
        marker=params["marker"].astype(object).fillna("").astype(str),
        value=arm_trials[f"final_{metric}"],
        arm=arm,
        metric=metric,
        x_path=x,
        y_path=y,
        x_log=x in log,
        y_log=y in log,
    )


def response(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the final value as colour over two parameters; grey crosses are trials that did not complete."""
    ax = axes(ax)
    completed = info.dropna(subset=["x", "y", "value"])
    if completed.empty:
        return annotate_empty("no completed trials with both parameters", ax)
    first = info.iloc[0]
    label = column_label(first["metric"])
    values = completed["value"] * label.factor
    colours = ScalarMappable(colours_of(values), cmap=MAP)
    keys = []
    for marker, (choice, index) in zip(cycle(MARKERS), completed.groupby("marker").groups.items(), strict=False):
        rows, faces = completed.loc[index], colours.to_rgba(values[index].to_numpy())
        ax.scatter(rows["x"], rows["y"], c=faces, marker=marker, s=55, edgecolors="black")
        keys.append(legend_entry(f"{choice or 'completed'} (n = {len(rows)})", "black", marker, face="none"))
    rest = info[info["value"].isna()]
    ax.scatter(rest["x"], rest["y"], marker="x", s=22, color=GREY)
    ax.figure.colorbar(colours, ax=ax, label=f"{label.label()}, last epoch")
    log = tuple(first[f"{side}_path"] for side in "xy" if first[f"{side}_log"])
    _scale(ax, first["x_path"], first["y_path"], log)
    title(ax, f"{first['arm']}: final value over two parameters")
    legend_below(ax, [*keys, legend_entry(f"not completed (n = {len(rest)})", GREY, "x")])
    return ax


def _scale(ax: Axes, x_path: str, y_path: str, log: tuple[str, ...]) -> None:
    for axis, path in ((ax.xaxis, x_path), (ax.yaxis, y_path)):
        axis.set_label_text(wrapped(f"{path} (log scale)" if path in log else path, 40))
        if path in log:
            (ax.set_xscale if axis is ax.xaxis else ax.set_yscale)("log")
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())


def surface(info: Surface, into: Figure | None = None) -> Figure:
    """Plot the mean of a response surface and its standard deviation, side by side, with the trials as dots.

    Args:
        info: from ``analysis.methods.surface.response_surface``.
        into: figure to plot into; None makes one.
    """
    page = figure(height_in=4.2) if into is None else into
    if info.grid.empty:
        missing = f"{info.arm}: no surface over {info.x_path} and {info.y_path}: {info.n} trials with a value"
        annotate_empty(f"{missing}; {MIN_TRIALS} are needed, and both parameters must vary", page.add_subplot())
        return page
    label = column_label(info.metric)
    for ax, column, name in zip(page.subplots(1, 2), ("mean", "sd"), ("mean", "SD of the mean"), strict=True):
        grid = info.grid.pivot_table(index="y", columns="x", values=column) * label.factor
        mesh = ax.contourf(grid.columns, grid.index, grid.to_numpy(), levels=12, cmap=MAP)
        ax.scatter(info.trials["x"], info.trials["y"], s=14, color="white", edgecolors="black", linewidths=0.8)
        unit = label.unit if column == "mean" else label.difference_unit
        bar = page.colorbar(mesh, ax=ax, location="bottom", label=f"{name} ({unit})" if unit else name)
        bar.set_ticks(MaxNLocator(4))
        _scale(ax, info.x_path, info.y_path, info.log)
        ax.label_outer()
    page.suptitle(_worth(info), fontsize=10)
    return page


def _worth(info: Surface) -> str:
    label = column_label(info.metric)
    error, of_mean = (f"{value * label.factor:.2g}" for value in (info.error, info.error_of_mean))
    unit = f" {label.difference_unit}".rstrip()
    claim = "" if info.predicts else ": no better than the mean"
    return (
        f"{info.arm}: {label.name}, last epoch, n = {info.n} (dots)\n"
        f"leave-one-out error {error}{unit}; by the mean of the other trials {of_mean}{unit}{claim}"
    )
