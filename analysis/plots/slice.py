"""Final values over one sampled parameter, for all arms."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from analysis.plots.style import annotate_empty, axes, by_arm, column_label, legend_below, legend_entry, title


def slice_info(trials: pd.DataFrame, *, path: str, metric: str = "val_top1_error", log: bool = False) -> pd.DataFrame:
    """Return the final value of each trial and its value of a parameter.

    Args:
        trials: one row per trial, as from ``analysis.data.frames.load``.
        path: dotted path of a numeric parameter.
        metric: metric of the final values.
        log: whether the parameter was sampled log-uniformly; it then has a logarithmic axis.

    Returns:
        One row per trial that sampled the parameter: ``arm``, ``trial``, ``x``, ``value`` (NaN if the trial has not
        completed), ``path``, ``metric`` and ``log``.

    Examples:
        >>> trials = pd.DataFrame(
        ...     {"arm": "off", "trial": ["a", "b"], "params.optimizer.lr": [0.1, 0.4], "final_val_nll": [1.5, None]}
        ... )
        >>> slice_info(trials, path="optimizer.lr", metric="val_nll", log=True)[["trial", "x", "value"]]
          trial    x  value
        0     a  0.1    1.5
        1     b  0.4    NaN
    """
    column = f"params.{path}"
    x = trials[column].astype(float) if column in trials else float("nan")
    info = trials[["arm", "trial"]].assign(x=x, value=trials[f"final_{metric}"].astype(float))
    return info.dropna(subset=["x"]).reset_index(drop=True).assign(path=path, metric=metric, log=log)


def slice_plot(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the final values of completed trials over the parameter; ticks mark trials that have not completed.

    Args:
        info: from ``slice_info``.
        ax: axes to plot into; None makes a figure.
    """
    ax = axes(ax)
    if info["value"].isna().all():
        return annotate_empty("no completed trials with this parameter", ax)
    first = info.iloc[0]
    label, keys = column_label(first["metric"]), []
    for arm, style, rows in by_arm(info):
        line = rows.dropna(subset=["value"]).sort_values("x")
        ax.plot(line["x"], line["value"] * label.factor, style.marker, color=style.colour, linestyle=style.line, lw=0.9)
        rest = rows[rows["value"].isna()]
        ax.plot(rest["x"], [0.02] * len(rest), "|", color=style.colour, transform=ax.get_xaxis_transform(), ms=9)
        keys.append(
            legend_entry(f"{arm} (n = {len(line)} of {len(rows)})", style.colour, style.marker, line=style.line)
        )
    if first["log"]:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(f"{first['path']}{' (log scale)' if first['log'] else ''}")
    ax.set_ylabel(f"{label.label()}, last epoch")
    title(ax, f"Completed trials over {first['path']}; ticks: trials not completed")
    legend_below(ax, keys)
    return ax
