"""Evaluations of each arm: means over seeds with their intervals."""

from __future__ import annotations

import pandas as pd

from sweep.findings.student_t import mean_interval

COLUMNS = ["axis", "split", "setting", "metric", "arm", "seeds", "n", "mean", "low", "high"]


def summarise_evaluations(trials: pd.DataFrame, evaluations: pd.DataFrame) -> pd.DataFrame:
    """Summarise every measured quantity over the trials of each arm.

    Args:
        trials: columns ``trial`` and ``arm``.
        evaluations: evaluations of these trials, measured under the same settings.

    Returns:
        Columns ``COLUMNS``; quantities in the order in which they were recorded, arms in the order of ``trials``.
        ``seeds``: trials with a value. ``n``: smallest number of images that a value is based on. ``mean``, ``low``,
        ``high``: mean with the ends of its 95 % t interval, NaN for fewer than two seeds.
    """
    arms = dict(zip(trials["trial"], trials["arm"], strict=True))
    order = {arm: place for place, arm in enumerate(dict.fromkeys(trials["arm"]))}
    measured = evaluations[evaluations["trial"].isin(arms) & evaluations["value"].notna()]
    measured = measured.assign(arm=measured["trial"].map(arms))
    rows = []
    for quantity, values in measured.groupby(["axis", "split", "setting", "metric"], sort=False):
        for arm, of_arm in sorted(values.groupby("arm"), key=lambda item: order[str(item[0])]):
            mean, low, high = mean_interval(of_arm["value"].to_numpy())
            rows.append((*quantity, arm, len(of_arm), int(of_arm["n"].min()), mean, low, high))
    return pd.DataFrame(rows, columns=COLUMNS)
