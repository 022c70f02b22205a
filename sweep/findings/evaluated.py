"""Evaluations of each arm: means with intervals, over independent searches or over seeds."""

from __future__ import annotations

import pandas as pd

from sweep.findings.searches import Unit
from sweep.findings.student_t import mean_interval
from sweep.records.schema import CONFIRM

COLUMNS = ["axis", "split", "setting", "metric", "arm", "unit", "n_units", "seeds", "n", "mean", "low", "high"]


def summarise_evaluations(trials: pd.DataFrame, evaluations: pd.DataFrame) -> pd.DataFrame:
    """Summarise every measured quantity over the trials of each arm.

    Args:
        trials: columns ``trial``, ``arm``, ``phase`` and ``search``.
        evaluations: evaluations of these trials, measured under the same settings.

    Returns:
        Columns ``COLUMNS``; quantities in the order in which they were recorded, arms in the order of ``trials``.
        ``unit``: from :func:`unit_of_trials`. ``n_units``: searches or trials with a value. ``seeds``: trials with a
        value. ``n``: smallest number of images that a value is based on. ``mean``, ``low``, ``high``: mean over the
        units with the ends of its 95 % t interval, NaN for fewer than two units. Intervals of error rates are cut at 0
        and 1.
    """
    unit = unit_of_trials(trials)
    order = {arm: place for place, arm in enumerate(dict.fromkeys(trials["arm"]))}
    measured = evaluations[evaluations["value"].notna()].merge(trials[["trial", "arm", "search"]], on="trial")
    rows = []
    for quantity, values in measured.groupby(["axis", "split", "setting", "metric"], sort=False):
        lowest, highest = _bounds(str(quantity[3]))
        for arm, of_arm in sorted(values.groupby("arm"), key=lambda item: order[str(item[0])]):
            units = of_arm.groupby("search")["value"].mean() if unit == "search" else of_arm["value"]
            mean, low, high = mean_interval(units.to_numpy())
            interval = max(low, lowest), min(high, highest)
            rows.append((*quantity, arm, unit, len(units), len(of_arm), int(of_arm["n"].min()), mean, *interval))
    return pd.DataFrame(rows, columns=COLUMNS)


def unit_of_trials(trials: pd.DataFrame) -> Unit:
    """Return ``search`` for confirmation trials of several searches, otherwise ``seed``: each trial is one value.

    Args:
        trials: columns ``phase`` and ``search``.
    """
    return "search" if (trials["phase"] == CONFIRM).all() and trials["search"].max() > 0 else "seed"


def is_error_rate(metric: str) -> bool:
    """Return whether a metric is a fraction of images, so that it lies between 0 and 1.

    Examples:
        >>> [is_error_rate(metric) for metric in ("error", "robust_error", "relative_error", "nll")]
        [True, True, False, False]
    """
    return metric == "error" or (metric.endswith("_error") and metric != "relative_error")


def _bounds(metric: str) -> tuple[float, float]:
    return (0.0, 1.0) if is_error_rate(metric) else (-float("inf"), float("inf"))
