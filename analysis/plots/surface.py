"""A final value over two drawn parameters: the trials, and the surface through them."""

from __future__ import annotations

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
) -> pd.DataFrame:
    """Gather where the trials of one arm lie in its space, and their final values.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
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
    ax = axes(ax)
    completed = info.dropna(subset=["x", "y", "value"])
    if completed.empty:
        return annotate_empty("no completed trials with drawn parameters", ax)
    first = info.iloc[0]
    words = column_label(first["metric"])
    values = completed["value"] * words.factor
    colours = ScalarMappable(colours_of(values), cmap=MAP)
    keys = []
    for marker, (choice, index) in zip(cycle(MARKERS), completed.groupby("marker").groups.items(), strict=False):
        rows, faces = completed.loc[index], colours.to_rgba(values[index].to_numpy())
        ax.scatter(rows["x"], rows["y"], c=faces, marker=marker, s=55, edgecolors="black")
        keys.append(legend_entry(f"{choice or 'completed'} (n = {len(rows)})", "black", marker, face="none"))
    rest = info[info["value"].isna()]
    ax.scatter(rest["x"], rest["y"], marker="x", s=22, color=GREY)
    ax.figure.colorbar(colours, ax=ax, label=f"{words.label()}, last epoch")
    _scale(ax, first["x_path"], first["y_path"], (first["x_path"],))
    title(ax, f"{first['arm']}: final value over its space")
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
    """Draw the mean of a response surface and its standard deviation, side by side, with the trials as dots.

    Args:
        info: from ``analysis.methods.surface.response_surface``.
        into: figure to draw into; None makes one.
    """
    drawn = figure(height_in=4.2) if into is None else into
    if info.grid.empty:
        missing = f"{info.arm}: no surface over {info.x_path} and {info.y_path}: {info.n} trials with a value"
        annotate_empty(f"{missing}, {MIN_TRIALS} are needed, and both must vary", drawn.add_subplot())
        return drawn
    words = column_label(info.metric)
    for ax, column, name in zip(drawn.subplots(1, 2), ("mean", "sd"), ("mean", "SD of the mean"), strict=True):
        grid = info.grid.pivot_table(index="y", columns="x", values=column) * words.factor
        mesh = ax.contourf(grid.columns, grid.index, grid.to_numpy(), levels=12, cmap=MAP)
        ax.scatter(info.trials["x"], info.trials["y"], s=14, color="white", edgecolors="black", linewidths=0.8)
        unit = words.unit if column == "mean" else words.difference_unit
        bar = drawn.colorbar(mesh, ax=ax, location="bottom", label=f"{name} ({unit})" if unit else name)
        bar.set_ticks(MaxNLocator(4))
        _scale(ax, info.x_path, info.y_path, info.log)
        ax.label_outer()
    drawn.suptitle(_worth(info), fontsize=10)
    return drawn


def _worth(info: Surface) -> str:
    words = column_label(info.metric)
    error, of_mean = (f"{value * words.factor:.2g}" for value in (info.error, info.error_of_mean))
    unit = f" {words.difference_unit}".rstrip()
    claim = "" if info.predicts else ": the surface says nothing"
    return (
        f"{info.arm}: {words.name}, last epoch, n = {info.n} (dots)\n"
        f"a trial left out is missed by {error}{unit}, by the mean of the others by {of_mean}{unit}{claim}"
    )
