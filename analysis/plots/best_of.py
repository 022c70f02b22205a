"""What a search finds after n trials: the expected validation error of its best trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from analysis.data.frames import Sweep, varied
from analysis.data.grid import ERROR
from analysis.plots.style import annotate_empty, axes, by_arm, column_label, legend_below, legend_entry, title
from analysis.statistics import best_of_n, mean, means
from sweep.findings.searches import is_searched
from sweep.records.schema import CANCELLED, FAILED, LIVING

SUBSETS, ORDER, EQUAL = "subsets", "order", "equal"
"""How the best of n is estimated: over all subsets of n trials; from the first n trials of each search; as the mean of
trials with equal configurations, of which none is best."""

_MAX_SIZES = 20  # more bars would touch each other
_DODGE = 0.15  # trials


def best_of_info(sweep: Sweep, *, confidence: float = 0.95) -> pd.DataFrame:
    """Estimate the expected validation error of the best of n trials of a search, for each arm and n.

    The best trial is the one that the study's metric selects. A random search without early stopping draws trials
    independently: the estimate is the mean over all subsets of n trials of a search (see
    :func:`analysis.statistics.best_of_n`). Where a rule stopped trials, where later trials depend on earlier ones
    (``tpe``, ``quasi_random``), or where known configurations come first, a subset is not what a search of n trials
    would be. There the first n trials of each search are used: what this search had found after n trials. A stopped
    trial has no final value and is never selected, as in the search.

    Args:
        sweep: from :func:`analysis.data.frames.load`, phase ``search``.
        confidence: level of each interval alone.

    Returns:
        One row per arm and n: ``arm`` (ordered category), ``n`` (trials), ``estimate`` (a fraction) with ``low`` and
        ``high``, ``n_searches`` that have n trials, ``how`` (``SUBSETS``, ``ORDER`` or ``EQUAL``), ``confidence``. The
        interval is Student's t over searches; with one search, the jackknife of its trials for ``SUBSETS`` and none
        for ``ORDER``. An arm whose searches repeat configurations, for example a grid, is left out: such
        configurations are ranked by their means.
    """
    study = sweep.manifest["study"]
    metric = f"final_{study.get('metric', 'val_nll')}"
    parts = []
    for arm, trials in sweep.trials.groupby("arm", observed=True):
        how = _how(study, str(arm), trials)
        curves = [_curve(rows, metric, how, confidence) for _, rows in trials.groupby("search")] if how else []
        if curves := [curve for curve in curves if len(curve)]:
            parts.append(_over_searches(curves, confidence).assign(arm=arm, how=how))
    columns = ["arm", "n", "estimate", "low", "high", "n_searches", "how", "confidence"]
    info = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return info.assign(confidence=confidence).astype({"arm": sweep.trials["arm"].dtype})[columns]


def _how(study: Mapping[str, Any], arm: str, trials: pd.DataFrame) -> str | None:
    if not is_searched(study, arm):
        return EQUAL
    paths = [f"params.{path}" for path in varied(trials, arm)]
    if not paths or trials.duplicated(["search", *paths]).any():
        return None
    is_free = study["budget"]["early_stopping"]["rule"] == "none" and study.get("search") == "random"
    return SUBSETS if is_free and not study.get("points") and not study["arms"][arm].get("points") else ORDER


def _curve(trials: pd.DataFrame, metric: str, how: str, confidence: float) -> pd.DataFrame:
    """Return ``n``, ``estimate``, ``low`` and ``high`` of one search."""
    rows = trials[trials["status"] != CANCELLED].sort_values("number")  # a person ended them, not the search
    errors, ranks = rows[ERROR].to_numpy(float), rows[metric].to_numpy(float)
    if how == ORDER:
        # a trial that still runs may become the best one: the curve ends before it
        ended = int(np.argmax(np.append(rows["status"].isin(LIVING), True)))
        expected = _running_best(errors[:ended], ranks[:ended])
        nothing = np.full(ended, np.nan)
        return pd.DataFrame({"n": np.arange(1, ended + 1), "estimate": expected, "low": nothing, "high": nothing})
    has_ended = ~rows["status"].isin([*LIVING, FAILED]).to_numpy()
    errors, ranks = errors[has_ended], ranks[has_ended]
    if how == EQUAL:
        value = mean(errors, confidence=confidence)
        ends = {"estimate": value.value, "low": value.low, "high": value.high}
        return pd.DataFrame({"n": _sizes(len(errors)), **ends})
    sizes = _sizes(len(errors))
    expected, low, high = best_of_n(errors, ranks, sizes, confidence=confidence)
    return pd.DataFrame({"n": sizes, "estimate": expected, "low": low, "high": high})


def _sizes(number: int) -> list[int]:
    if number <= _MAX_SIZES:
        return list(range(1, number + 1))
    return [int(size) for size in np.unique(np.geomspace(1, number, _MAX_SIZES).round())]


def _running_best(errors: NDArray[np.float64], ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the error of the best trial so far, float [n]; NaN before the first trial with a value."""
    best = pd.Series(ranks).cummin().ffill().to_numpy(float)
    is_new = np.isfinite(ranks) & ~(np.append(np.inf, best[:-1]) <= ranks)  # the earlier of equal trials stays
    return np.asarray(pd.Series(np.where(is_new, errors, np.nan)).ffill(), dtype=np.float64)


def _over_searches(curves: list[pd.DataFrame], confidence: float) -> pd.DataFrame:
    if len(curves) == 1:
        return curves[0].assign(n_searches=1)
    rows = pd.concat(curves).rename(columns={"n": "size"})
    # a search without a completed trial among its first n would drop out, and the others alone look too good
    has_all = rows["estimate"].notna().groupby(rows["size"]).transform("all")
    table = means(rows[has_all], value="estimate", by=("size",), confidence=confidence)
    return table.rename(columns={"n": "n_searches", "size": "n"}).sort_values("n", ignore_index=True)


def best_of(info: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the expected validation error of the best of n trials over n, one line per arm with its interval.

    Args:
        info: from :func:`best_of_info`.
        ax: axes to plot into; None makes a figure.
    """
    info = info.dropna(subset=["estimate"])
    ax = axes(ax)
    if info.empty:
        return annotate_empty("no search of an arm has a best of n trials", ax)
    label, keys = column_label("val_top1_error"), []
    offsets = np.linspace(-_DODGE, _DODGE, info["arm"].nunique())
    for offset, (arm, style, rows) in zip(offsets, by_arm(info), strict=True):
        low, value, high = (rows[end] * label.factor for end in ("low", "estimate", "high"))
        at = rows["n"] + offset  # bars beside each other: bands of several arms would hide each other
        ax.plot(at, value, color=style.colour, linestyle=style.line, linewidth=1.6, marker=style.marker, markersize=4)
        ax.vlines(at, low, high, color=style.colour, linewidth=1.0)
        count = int(rows["n_searches"].max())
        n = f"{count} searches" if count > 1 else f"{int(rows['n'].max())} trials"
        keys.append(legend_entry(f"{arm} (n = {n})", style.colour, style.marker, line=style.line))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("trials of a search")
    ax.set_ylabel(f"expected {label.label()}")
    title(ax, f"Expected error of the best of n trials, {100 * info['confidence'].iloc[0]:.0f} % intervals")
    legend_below(ax, keys)
    return ax
