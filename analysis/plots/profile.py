"""Means over seeds along a factor of a grid, with one line per series and one panel per group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import statistics
from analysis.data.grid import by_seed, drawn, in_order, text_of, word_of
from analysis.plots.arms import final_values
from analysis.plots.style import (
    SMALL_PT,
    TITLE_PT,
    ArmStyle,
    annotate_empty,
    arm_style,
    column_label,
    legend_entry,
    legend_outside,
    panelled,
    wrapped,
    y_label,
)


def profile_info(
    trials: pd.DataFrame,
    *,
    x: str,
    series: str = "arm",
    panel: str | None = None,
    metric: str = "val_top1_error",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Average the final values of a grid over all other factors per seed, and then over seeds.

    Args:
        trials: one row per trial, as from ``analysis.data.frames.load``.
        x: factor along the x axis: ``arm`` or a dotted path.
        series: factor with one line per value.
        panel: factor with one panel per value; None makes one panel.
        metric: metric of the final values, or a column of ``trials``.
        confidence: level of each interval alone.

    Returns:
        One row per panel, series and x, in the order of their values: ``panel``, ``series`` and ``x`` (ordered
        categories of text; a trial without one of the factors is left out), ``estimate`` with its t interval ``low``
        and ``high``, ``n`` (seeds), ``x_name``, ``series_name``, ``panel_name``, ``metric`` and ``confidence``.
        ``estimate`` is NaN if no seed has completed all grid points.

    Examples:
        >>> trials = pd.DataFrame(
        ...     {"arm": "cutmix", "replicate": [0, 1, 0, 1], "params.mix.size.alpha": [0.5, 0.5, 1.0, 1.0]}
        ... )
        >>> trials = trials.assign(arm=trials["arm"].astype("category"), final_val_nll=[1.0, 2.0, 2.0, 4.0])
        >>> profile_info(trials, x="mix.size.alpha", metric="val_nll")[["series", "x", "estimate", "n"]]
           series    x  estimate  n
        0  cutmix  0.5       1.5  2
        1  cutmix    1       3.0  2
    """
    factors = {"panel": panel, "series": series, "x": x}
    columns = {name: _texts(trials, factor) for name, factor in factors.items()}
    rows = trials.assign(value=final_values(trials, metric), **columns).dropna(subset=list(factors))
    seeds = by_seed(rows, value="value", by=list(factors))
    means = statistics.means(seeds, value="value", by=list(factors), metric=metric)
    names = {f"{name}_name": word_of(factor or "") or (factor or "") for name, factor in factors.items()}
    typed = means.astype({name: columns[name].dtype for name in factors}).sort_values(list(factors))
    return typed.reset_index(drop=True).assign(**names, metric=metric, confidence=confidence)


def _texts(trials: pd.DataFrame, factor: str | None) -> pd.Series[Any]:
    """Return the values of a factor as text, an ordered category; "" everywhere if the factor is None."""
    if factor is None:
        return pd.Series("", index=trials.index, dtype=pd.CategoricalDtype([""], ordered=True))
    values = drawn(trials, factor)
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values
    order = [text_of(value) for value in in_order(values.dropna())]
    texts = values.map(text_of, na_action="ignore").astype(object)
    return texts.astype(pd.CategoricalDtype(order, ordered=True))


def profile(info: pd.DataFrame, into: Figure | None = None) -> Figure:
    """Plot means with their intervals along a factor, with equal distances between its values.

    Args:
        info: from ``profile_info``.
        into: figure to plot into; None makes one.
    """
    info = info.dropna(subset=["estimate"])
    groups = _present(info["panel"])
    whole, panels = panelled(into, len(groups))
    if info.empty:
        annotate_empty("no seed has completed all grid points of any group", panels[0])
        return whole
    first, series = info.iloc[0], _present(info["series"])
    for ax in panels[1:]:
        ax.sharey(panels[0])
    for ax, name in zip(panels, groups, strict=True):
        _plot_panel(ax, info[info["panel"] == name], series)
        ax.set_title(_title(first["panel_name"], name), fontsize=TITLE_PT - 1)
        ax.set_xlabel(first["x_name"], fontsize=SMALL_PT + 1)
        y_label(ax, column_label(first["metric"]).label())
    whole.suptitle(f"Means over seeds, {100 * first['confidence']:.0f} % intervals each", fontsize=TITLE_PT)
    legend_outside(whole, [_legend_entry(first["series_name"], name, info) for name in series])
    return whole


def _present(column: pd.Series[Any]) -> list[str]:
    return [str(name) for name in column.cat.categories if (column == name).any()]


def _title(factor: str, value: str) -> str:
    return wrapped(value if factor in ("arm", "policy", "") else f"{factor} {value}", 24)


def _plot_panel(ax: Axes, info: pd.DataFrame, series: list[str]) -> None:
    places = _present(info["x"])
    factor = column_label(info["metric"].iloc[0]).factor
    for number, name in enumerate(series):
        rows = info[info["series"] == name]
        shift = 0.12 * (number - (len(series) - 1) / 2) / max(1.0, len(series) / 4)
        x = np.array([places.index(str(value)) for value in rows["x"]]) + shift
        low, mean, high = (rows[end].to_numpy(float) * factor for end in ("low", "estimate", "high"))
        style = _style(rows["series"], name)
        ax.plot(x, mean, color=style.colour, linestyle=style.line, marker=style.marker, ms=5, linewidth=1.2)
        ax.vlines(x, low, high, color=style.colour, linewidth=1.2)
    ax.set_xticks(range(len(places)), [wrapped(place, 12) for place in places], fontsize=SMALL_PT)
    ax.set_xlim(-0.5, len(places) - 0.5)


def _style(series: pd.Series[Any], name: str) -> ArmStyle:
    return arm_style(list(series.cat.categories).index(name))


def _legend_entry(factor: str, name: str, info: pd.DataFrame) -> Line2D:
    style = _style(info["series"], name)
    n = sorted(info["n"][info["series"] == name].unique())
    label = name if factor in ("arm", "policy") else f"{factor} {name}"
    seeds = f"{n[0]}" if len(n) == 1 else f"{n[0]} to {n[-1]}"
    return legend_entry(f"{label} (n = {seeds} seeds)", style.colour, style.marker, line=style.line)
