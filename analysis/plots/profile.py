"""Means over seeds along a factor of a grid, with a line a series and a panel a group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import statistics
from analysis.data.grid import by_seed, drawn, in_order, text_of, word_of
from analysis.plots.arms import final_values
from analysis.plots.style import (
    SMALL_PT,
    TITLE_PT,
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
    """Average the final values of a grid over all that is not named, seed by seed, and then over seeds.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        x: factor along the axis: ``arm`` or a dotted path.
        series: factor of which each value has a line.
        panel: factor of which each value has a panel; None draws one.
        metric: which final value, or a column of ``trials``.
        confidence: level of each interval alone.

    Returns:
        One row a panel, series and place on the axis, in the order of their values: ``panel``, ``series`` and ``x``,
        ordered categories of what was drawn as text (a trial that does not draw a factor is left out), ``estimate``
        with its t interval ``low`` and ``high``, ``n`` (seeds), ``x_name``, ``series_name``, ``panel_name``,
        ``metric`` and ``confidence``.
    """
    factors = {"panel": panel, "series": series, "x": x}
    columns = {name: _texts(trials, factor) for name, factor in factors.items()}
    rows = trials.assign(value=final_values(trials, metric), **columns).dropna(subset=list(factors))
    means = statistics.means(by_seed(rows, value="value", by=list(factors)), value="value", by=list(factors))
    names = {f"{name}_name": word_of(factor or "") or (factor or "") for name, factor in factors.items()}
    typed = means.astype({name: columns[name].dtype for name in factors}).sort_values(list(factors))
    return typed.reset_index(drop=True).assign(**names, metric=metric, confidence=confidence)


def _texts(trials: pd.DataFrame, factor: str | None) -> pd.Series[Any]:
    """Return a factor's values as text, in their order; the one panel where there is no factor."""
    if factor is None:
        return pd.Series("", index=trials.index, dtype=pd.CategoricalDtype([""], ordered=True))
    values = drawn(trials, factor)
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values
    order = [text_of(value) for value in in_order(values.dropna())]
    texts = values.map(text_of, na_action="ignore").astype(object)
    return texts.astype(pd.CategoricalDtype(order, ordered=True))


def profile(info: pd.DataFrame, into: Figure | None = None) -> Figure:
    """Draw means with their intervals along a factor; values that were planned stand at equal distances.

    Args:
        info: from ``profile_info``.
        into: figure to draw into; None makes one.
    """
    known = info.dropna(subset=["estimate"])
    panels = [name for name in info["panel"].cat.categories if (known["panel"] == name).any()]
    made, axes = panelled(into, len(panels))
    if known.empty:
        annotate_empty("no seed has completed all settings of any group", axes[0])
        return made
    first, names = known.iloc[0], _present(known["series"])
    for ax in axes[1:]:
        ax.sharey(axes[0])
    for ax, name in zip(axes, panels, strict=True):
        _panel(ax, known[known["panel"] == name], names)
        ax.set_title(_title(first["panel_name"], name), fontsize=TITLE_PT - 1)
        ax.set_xlabel(first["x_name"], fontsize=SMALL_PT + 1)
        y_label(ax, column_label(first["metric"]).label())
    made.suptitle(f"Means over seeds, intervals of {first['confidence']:.0%} each", fontsize=TITLE_PT)
    legend_outside(made, [_key(first["series_name"], name, known) for name in names])
    return made


def _present(column: pd.Series[Any]) -> list[str]:
    return [str(name) for name in column.cat.categories if (column == name).any()]


def _title(factor: str, value: str) -> str:
    return wrapped(value if factor in ("arm", "policy", "") else f"{factor} {value}", 24)


def _panel(ax: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    places = _present(rows["x"])
    words = column_label(rows["metric"].iloc[0])
    for number, name in enumerate(names):
        own = rows[rows["series"] == name]
        shift = 0.12 * (number - (len(names) - 1) / 2) / max(1.0, len(names) / 4)
        x = np.array([places.index(str(value)) for value in own["x"]]) + shift
        low, mean, high = (own[end].to_numpy(float) * words.factor for end in ("low", "estimate", "high"))
        seen = _look(own["series"], name)
        ax.plot(x, mean, color=seen.colour, linestyle=seen.line, marker=seen.marker, ms=5, linewidth=1.2)
        ax.vlines(x, low, high, color=seen.colour, linewidth=1.2)
    ax.set_xticks(range(len(places)), [wrapped(place, 12) for place in places], fontsize=SMALL_PT)
    ax.set_xlim(-0.5, len(places) - 0.5)


def _look(series: pd.Series[Any], name: str) -> Any:
    return arm_style(list(series.cat.categories).index(name))


def _key(factor: str, name: str, known: pd.DataFrame) -> Any:
    own = known[known["series"] == name]
    seen, n = _look(known["series"], name), sorted(own["n"].unique())
    label = name if factor in ("arm", "policy") else f"{factor} {name}"
    seeds = f"{n[0]}" if len(n) == 1 else f"{n[0]} to {n[-1]}"
    return legend_entry(f"{label} (n = {seeds} seeds)", seen.colour, seen.marker, line=seen.line)
