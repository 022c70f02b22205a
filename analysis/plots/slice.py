"""A final value over one drawn parameter, for all arms at once."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from analysis.plots.style import annotate_empty, axes, by_arm, column_label, legend_below, legend_entry, title


def slice_info(trials: pd.DataFrame, *, path: str, metric: str = "val_top1_error", log: bool = False) -> pd.DataFrame:
    """Gather the final value of every trial and what it drew.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        path: dotted path of a number.
        metric: which final value.
        log: whether it was drawn evenly in logarithms.

    Returns:
        One row a trial that drew it: ``arm``, ``trial``, ``x``, ``value`` (nan where not completed), ``path``,
        ``metric`` and ``log``.
    """
    column_label(metric)
    own = trials.assign(x=trials[f"params.{path}"].astype(float) if f"params.{path}" in trials else float("nan"))
    info = own[["arm", "trial", "x"]].assign(value=own[f"final_{metric}"].astype(float))
    return info.dropna(subset=["x"]).reset_index(drop=True).assign(path=path, metric=metric, log=log)


def slice_plot(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the final value of each arm's completed trials over the parameter; trials that did not complete are ticks.

    Args:
        info: from ``slice_info``.
        ax: where to.
    """
    ax = axes(ax)
    if info["value"].isna().all():
        return annotate_empty("no completed trials with this parameter", ax)
    first = info.iloc[0]
    words, keys = column_label(first["metric"]), []
    for arm, style, rows in by_arm(info):
        line = rows.dropna(subset=["value"]).sort_values("x")
        ax.plot(line["x"], line["value"] * words.factor, style.marker, color=style.colour, linestyle=style.line, lw=0.9)
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
    ax.set_ylabel(f"{words.label()}, last epoch")
    title(ax, f"Completed trials over {first['path']}; ticks: not completed")
    legend_below(ax, keys)
    return ax
