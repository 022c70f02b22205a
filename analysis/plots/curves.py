"""Learning curves of arms."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy import stats

from analysis.plots.style import annotate_empty, axes, by_arm, column_label, legend_below, legend_entry, title

Centre = Literal["median", "mean"]
Grouped = Any  # a column grouped by arm and epoch; pandas has no public name for it

_MIN_N = 3  # of values whose mean has an interval: that of two is 13 times as wide as their spread


def learning_curves_info(
    epochs: pd.DataFrame,
    *,
    metric: str = "val_top1_error",
    centre: Centre = "median",
    trials: pd.DataFrame | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Summarise the trials of each arm at each epoch.

    Args:
        epochs: one row a trial and epoch.
        metric: column of ``epochs`` that is summarised.
        centre: ``median`` with the quartiles, which show the spread of trials, or ``mean`` with its t interval,
            which shows how well it is known.
        trials: given, trials of equal ``replicate``, which share their seed, are averaged first: then seeds are
            what is summarised and counted.
        confidence: level of the mean's interval.

    Returns:
        One row an arm and epoch: ``arm``, ``epoch``, ``centre``, ``low`` and ``high`` (nan for the mean of fewer
        than three), ``n`` (trials, or seeds, still alive there, which early stopping has selected), ``unit``
        (trials or seeds), ``band`` (what ``low`` and ``high`` are) and ``metric``.

    Raises:
        ValueError: unknown centre.
    """
    if centre not in ("median", "mean"):
        raise ValueError(f"unknown centre {centre!r}, choose one of median, mean")
    rows: pd.DataFrame = epochs.dropna(subset=[metric])
    if trials is not None:
        replicates = rows["trial"].map(trials.set_index("trial")["replicate"])
        seeds = rows.assign(replicate=replicates).groupby(["arm", "epoch", "replicate"], observed=True)
        rows = seeds[metric].mean().reset_index()
    groups = rows.groupby(["arm", "epoch"], observed=True)[metric]
    info = (_quartiles if centre == "median" else _mean)(groups, confidence).reset_index()
    band = "median and quartiles" if centre == "median" else f"mean and its {confidence:.0%} interval"
    return info.assign(unit="trials" if trials is None else "seeds", band=band, metric=metric)


def _quartiles(groups: Grouped, _: float) -> pd.DataFrame:
    return pd.DataFrame(
        {"centre": groups.median(), "low": groups.quantile(0.25), "high": groups.quantile(0.75), "n": groups.size()}
    )


def _mean(groups: Grouped, confidence: float) -> pd.DataFrame:
    n, mean = groups.size(), groups.mean()
    half = stats.t.ppf(0.5 + confidence / 2, np.maximum(n - 1, 1)) * groups.std() / np.sqrt(n)
    half = half.where(n >= _MIN_N)
    return pd.DataFrame({"centre": mean, "low": mean - half, "high": mean + half, "n": n})


def learning_curves(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the centre and the band of each arm, and below them the trials or seeds still alive."""
    ax = axes(ax, height_in=4.6)
    if info.empty:
        return annotate_empty("no epochs recorded", ax)
    first = info.iloc[0]
    words = column_label(first["metric"])
    alive = _strip_below(ax)
    keys, apart = [], max(1, info["epoch"].nunique() // 8)
    for place, (arm, style, rows) in enumerate(by_arm(info)):
        low, centre, high = (rows[column] * words.factor for column in ("low", "centre", "high"))
        look = {"color": style.colour, "linestyle": style.line}
        # markers of arms stand beside, not upon one another
        ax.plot(rows["epoch"], centre, marker=style.marker, ms=5, markevery=(place % apart, apart), **look)
        ax.fill_between(rows["epoch"], low, high, color=style.colour, alpha=0.15, linewidth=0)
        alive.step(rows["epoch"], rows["n"], where="mid", **look)
        label = f"{arm} (n = {rows['n'].iloc[0]} → {rows['n'].iloc[-1]})"
        keys.append(legend_entry(label, style.colour, style.marker, line=style.line))
    ax.tick_params(labelbottom=False)
    ax.set_ylabel(words.label())
    title(ax, f"{first['band'].capitalize()} of the {first['unit']} still alive")
    alive.set(xlabel="epoch", ylabel=f"{first['unit']} alive", ylim=(0, info["n"].max() * 1.15))
    for axis in (alive.xaxis, alive.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True))
    legend_below(alive, keys)
    return ax


def _strip_below(ax: Axes) -> Axes:
    """Cede the lower quarter of the axes' place to further ones with the same x axis."""
    spec, drawn = ax.get_subplotspec(), ax.figure
    if spec is None:
        raise ValueError("learning curves need axes on a grid, as subplots() makes them: they put a strip below")
    halves = spec.subgridspec(2, 1, height_ratios=(3, 1))
    ax.set_subplotspec(halves[0])
    return drawn.add_subplot(halves[1], sharex=ax)
