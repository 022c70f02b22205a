"""Evaluations of each arm: means with intervals, over independent searches or over seeds."""

from __future__ import annotations

import pandas as pd

from sweep.findings.bounds import bounds_of, cut
from sweep.findings.searches import Unit
from sweep.findings.student_t import mean_interval
from sweep.records.schema import CONFIRM

COLUMNS = ["axis", "split", "setting", "metric", "arm", "unit", "n_units", "seeds", "n", "mean", "low", "high"]


def summarise_evaluations(trials: pd.DataFrame, evaluations: pd.DataFrame) -> pd.DataFrame:
    """Summarise every measured quantity over the trials of each arm.

    Args:
        trials: columns ``trial``, ``arm``, ``phase`` and ``search``; if there is a column ``rank``, only trials of
            rank 1 count, the winners that arms are compared by.
        evaluations: evaluations of these trials, measured under the same settings.

    Returns:
        Columns ``COLUMNS``; quantities in the order in which they were recorded, arms in the order of ``trials``.
        ``unit``: from :func:`unit_of_trials`. ``n_units``: searches or trials with a value. ``seeds``: trials with a
        value. ``n``: smallest number of images that a value is based on. ``mean``, ``low``, ``high``: mean over the
        units with the ends of its 95 % t interval, NaN for fewer than two units. Intervals are cut at the bounds of
        their metric, see :func:`~sweep.findings.bounds.bounds_of`.
    """
    trials = trials[trials["rank"] == 1] if "rank" in trials else trials
    unit = unit_of_trials(trials)
    order = {arm: place for place, arm in enumerate(dict.fromkeys(trials["arm"]))}
    measured = evaluations[evaluations["value"].notna()].merge(trials[["trial", "arm", "search"]], on="trial")
    rows = []
    for quantity, values in measured.groupby(["axis", "split", "setting", "metric"], sort=False):
        bounds = bounds_of(str(quantity[3]), values["value"])
        for arm, of_arm in sorted(values.groupby("arm"), key=lambda item: order[str(item[0])]):
            units = of_arm.groupby("search")["value"].mean() if unit == "search" else of_arm["value"]
            mean, low, high = mean_interval(units.to_numpy())
            ends = cut(low, high, bounds)
            rows.append((*quantity, arm, unit, len(units), len(of_arm), int(of_arm["n"].min()), mean, *ends))
    return pd.DataFrame(rows, columns=COLUMNS)


def unit_of_trials(trials: pd.DataFrame) -> Unit:
    """Return ``search`` for confirmation trials of several searches, otherwise ``seed``: each trial is one value.

    Args:
        trials: columns ``phase`` and ``search``.
    """
    return "search" if (trials["phase"] == CONFIRM).all() and trials["search"].max() > 0 else "seed"
