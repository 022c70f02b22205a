"""Learning curves of arms."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.plots.style import annotate_empty, axes, by_arm, column_label, legend_below, legend_entry, title
from sweep.findings.bounds import bounds_of
from sweep.findings.student_t import ci_half_width

Centre = Literal["median", "mean"]
Grouped = Any  # a column grouped by arm and epoch; pandas has no public name for it

_MIN_N = 3  # smallest number of values with an interval: for two values it is 13 times as wide as their range


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
        epochs: one row per trial and epoch.
        metric: column of ``epochs`` that is summarised.
        centre: ``median`` with the quartiles, which show the spread of trials; or ``mean`` with its t interval, which
            shows the uncertainty of the mean.
        trials: None summarises and counts trials. One row per trial, with ``replicate``, summarises and counts seeds:
            trials of equal replicate are averaged first.
        confidence: level of the interval of the mean.

    Returns:
        One row per arm and epoch: ``arm``, ``epoch``, ``centre``, ``low`` and ``high`` (NaN for the mean of fewer than
        three values), ``n`` (trials or seeds that reached the epoch; early stopping has selected them), ``unit``
        (trials or seeds), ``band`` (description of ``centre``, ``low`` and ``high``) and ``metric``.

    Raises:
        ValueError: an unknown centre.

    Examples:
        >>> epochs = pd.DataFrame(
        ...     {"arm": "off", "trial": ["a", "b", "c", "a"], "epoch": [1, 1, 1, 2], "val_nll": [1.0, 2.0, 3.0, 0.5]}
        ... )
        >>> learning_curves_info(epochs, metric="val_nll")[["arm", "epoch", "centre", "low", "high", "n"]]
           arm  epoch  centre  low  high  n
        0  off      1     2.0  1.5   2.5  3
        1  off      2     0.5  0.5   0.5  1
    """
    if centre not in ("median", "mean"):
        raise ValueError(f"unknown centre {centre!r}, choose one of median, mean")
    rows: pd.DataFrame = epochs.dropna(subset=[metric])
    if trials is not None:
        replicates = rows["trial"].map(trials.set_index("trial")["replicate"])
        seeds = rows.assign(replicate=replicates).groupby(["arm", "epoch", "replicate"], observed=True)
        rows = seeds[metric].mean().reset_index()
    groups = rows.groupby(["arm", "epoch"], observed=True)[metric]
    bounds = bounds_of(metric, rows[metric])
    info = (_quartiles(groups) if centre == "median" else _mean(groups, confidence, bounds)).reset_index()
    band = "median and quartiles" if centre == "median" else f"mean and its {100 * confidence:.0f} % interval"
    return info.assign(unit="trials" if trials is None else "seeds", band=band, metric=metric)


def _quartiles(groups: Grouped) -> pd.DataFrame:
    return pd.DataFrame(
        {"centre": groups.median(), "low": groups.quantile(0.25), "high": groups.quantile(0.75), "n": groups.size()}
    )


def _mean(groups: Grouped, confidence: float, bounds: tuple[float, float]) -> pd.DataFrame:
    n, mean = groups.size(), groups.mean()
    half = pd.Series(ci_half_width(groups.std(), n, level=confidence), index=n.index).where(n >= _MIN_N)
    least, largest = bounds
    low, high = (mean - half).clip(lower=least), (mean + half).clip(upper=largest)
    return pd.DataFrame({"centre": mean, "low": low, "high": high, "n": n})


def learning_curves(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the centre and the band of each arm, and in a strip below the number of trials or seeds.

    Args:
        info: from :func:`learning_curves_info`.
        ax: axes to plot into, from ``subplots()``; None makes a figure.
    """
    ax = axes(ax, height_in=4.6)
    if info.empty:
        return annotate_empty("no epochs recorded", ax)
    first = info.iloc[0]
    label = column_label(first["metric"])
    strip = _strip_below(ax)
    keys, apart = [], max(1, info["epoch"].nunique() // 8)
    for place, (arm, style, rows) in enumerate(by_arm(info)):
        low, centre, high = (rows[column] * label.factor for column in ("low", "centre", "high"))
        line = {"color": style.colour, "linestyle": style.line}
        # each arm starts its markers at another epoch, so that they do not overlap
        ax.plot(rows["epoch"], centre, marker=style.marker, ms=5, markevery=(place % apart, apart), **line)
        ax.fill_between(rows["epoch"], low, high, color=style.colour, alpha=0.15, linewidth=0)
        strip.step(rows["epoch"], rows["n"], where="mid", **line)
        name = f"{arm} (n = {rows['n'].iloc[0]} → {rows['n'].iloc[-1]})"
        keys.append(legend_entry(name, style.colour, style.marker, line=style.line))
    ax.tick_params(labelbottom=False)
    ax.set_ylabel(label.label())
    title(ax, f"{first['band'].capitalize()} of the {first['unit']} at each epoch")
    strip.set(xlabel="epoch", ylabel=f"{first['unit']} (n)", ylim=(0, info["n"].max() * 1.15))
    for axis in (strip.xaxis, strip.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True))
    legend_below(strip, keys)
    return ax


def _strip_below(ax: Axes) -> Axes:
    """Return new axes with the same x axis, in the lower quarter of the place of ``ax``."""
    spec = ax.get_subplotspec()
    if spec is None:
        raise ValueError("learning curves need axes from subplots(): they add a strip below the axes")
    halves = spec.subgridspec(2, 1, height_ratios=(3, 1))
    ax.set_subplotspec(halves[0])
    return ax.figure.add_subplot(halves[1], sharex=ax)
