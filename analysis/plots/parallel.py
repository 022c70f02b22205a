"""All that an arm draws at once: a line a trial over an axis a parameter."""

from __future__ import annotations

import textwrap
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable

from analysis.data.frames import varied
from analysis.plots.style import GREY, MAP, SMALL_PT, annotate_empty, axes, colours_of, column_label, title


def parallel_info(
    trials: pd.DataFrame, *, arm: str, metric: str = "val_top1_error", log: Collection[str] = ()
) -> pd.DataFrame:
    """Place what every trial of one arm drew on a scale from 0 to 1 a parameter.

    Numbers run from the least to the greatest drawn, those of ``log`` in logarithms; choices stand at equal distances
    in alphabetical order; what does not vary stands in the middle.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        arm: whose trials.
        metric: which final value.
        log: dotted paths drawn evenly in logarithms, as ``analysis.data.frames.drawn_in_logs`` lists them.

    Returns:
        One row a trial and parameter that it drew: ``trial``, ``param``, ``drawn`` (as text), ``place`` (0 to 1),
        ``value`` (nan where not completed), ``is_number``, ``in_logs``, ``arm`` and ``metric``.
    """
    column_label(metric)
    own = trials[trials["arm"] == arm]
    parts = [_placed(own, path, f"final_{metric}", path in log) for path in varied(trials, arm)]
    columns = ["trial", "param", "drawn", "place", "value", "is_number", "in_logs"]
    info = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return info.assign(arm=arm, metric=metric)


def _placed(own: pd.DataFrame, path: str, value: str, in_logs: bool) -> pd.DataFrame:
    drawn = own[f"params.{path}"].dropna()
    is_number = pd.api.types.is_numeric_dtype(drawn) and not pd.api.types.is_bool_dtype(drawn)
    text = drawn.map("{:.3g}".format) if is_number else drawn.astype(str)
    scale = drawn.astype(float) if is_number else text.map({name: at for at, name in enumerate(sorted(set(text)))})
    scale = pd.Series(np.log(scale) if in_logs else scale, index=drawn.index, dtype=float)
    width = scale.max() - scale.min()
    place = (scale - scale.min()) / width if width > 0 else scale * 0 + 0.5
    kept = own.loc[drawn.index]
    return pd.DataFrame(
        {"trial": kept["trial"], "param": path, "drawn": text, "place": place, "value": kept[value]}
    ).assign(is_number=is_number, in_logs=in_logs)


def parallel(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw a line a trial over its parameters, coloured by its final value; grey ones were not completed."""
    ax = axes(ax)
    if info.empty:
        return annotate_empty("this arm draws nothing", ax)
    words, params = column_label(info["metric"].iloc[0]), list(dict.fromkeys(info["param"]))
    places = info.pivot(index="trial", columns="param", values="place")[params]
    values = info.drop_duplicates("trial").set_index("trial")["value"] * words.factor
    known = values.dropna().sort_values(ascending=False, kind="stable")  # the best are drawn last, on top
    for _, places_of in places[values.reindex(places.index).isna()].iterrows():
        ax.plot(range(len(params)), places_of, color=GREY, linewidth=0.6, alpha=0.5, marker=".", ms=4)
    if len(known):
        colours = ScalarMappable(colours_of(known), cmap=MAP)
        for (_, places_of), value in zip(places.loc[known.index].iterrows(), known, strict=True):
            colour = colours.to_rgba(value)
            ax.plot(range(len(params)), places_of, color=colour, linewidth=1.3, marker=".", ms=6)
        ax.figure.colorbar(colours, ax=ax, label=f"{words.label()}, last epoch")
    _scales(ax, info, params)
    rest = f", {len(values) - len(known)} not completed (grey)" if len(known) < len(values) else ""
    title(ax, f"{info['arm'].iloc[0]}: what it draws, n = {len(known)}{rest}")
    return ax


def _scales(ax: Axes, info: pd.DataFrame, params: list[str]) -> None:
    """Draw an axis a parameter, its ends or choices written beside it, its name below."""
    names = []
    for column, param in enumerate(params):
        rows = info[info["param"] == param]
        ax.axvline(column, color="black", linewidth=0.8, zorder=0)
        for place, text in _labels(rows):
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6}
            ax.annotate(text, (column, place), (4, 0), textcoords="offset points", va="center", fontsize=8, bbox=box)
        name = f"{param} (log)" if rows["in_logs"].iloc[0] else param
        names.append(textwrap.fill(name.replace(".", ". "), max(9, 62 // len(params))).replace(". ", "."))
    ax.set_xticks(range(len(params)), names, fontsize=SMALL_PT)
    ax.set_xlim(-0.15, len(params) - 0.5)
    ax.set_ylim(-0.06, 1.06)
    ax.yaxis.set_visible(False)
    for side in ("top", "bottom", "left", "right"):
        ax.spines[side].set_visible(False)


def _labels(rows: pd.DataFrame) -> list[tuple[float, Any]]:
    ordered = rows.sort_values("place", kind="stable").drop_duplicates("place")
    ends = ordered.iloc[[0, -1]] if rows["is_number"].iloc[0] else ordered
    return list(dict.fromkeys(zip(ends["place"], ends["drawn"], strict=True)))
