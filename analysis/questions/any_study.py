"""Which arms of a sweep differ from its baseline: what any study asks, whatever its question."""

from __future__ import annotations

import pandas as pd

from analysis import statistics
from analysis.data.arms import TEST, VALIDATION
from sweep.findings.summary import Metric

COLUMNS = [
    *("arm", "images", "n", "error", "error_low", "error_high"),
    *("n_pairs", "estimate", "low", "high", "p_holm", "verdict"),
]


_CAUTION = {
    TEST: "Each arm is its best configuration of the search, trained again on seeds that chose nothing.",
    VALIDATION: "Not a confirmed result: these are validation images, by which trials were chosen and stopped, and "
    "trials that differ in what they drew as well as in their seeds.",
}


def differences(values: pd.DataFrame) -> pd.DataFrame:
    """Compare every arm of one sweep with its first one, as :func:`analysis.statistics.paired_differences` does."""
    baseline = values["baseline"].iloc[0] if len(values) else ""
    # the baseline is an arm though it may have no value yet
    arms = pd.CategoricalDtype(list(dict.fromkeys([baseline, *values["arm"]])))
    return statistics.paired_differences(values.astype({"arm": arms}), value="error", baseline=baseline)


def arm_errors(values: pd.DataFrame) -> pd.DataFrame:
    """Summarise arms in a row each, in the order of the study, of several sweeps in that of the sweeps.

    Args:
        values: from :func:`arm_values` or :func:`values_of`.

    Returns:
        Columns ``COLUMNS``, led by ``sweep`` where the values have it: ``n`` (values, each of another seed), ``error``
        their mean with its 95 % t interval; ``estimate``, the mean difference to the sweep's first arm over ``n_pairs``
        pairs, with ``low``, ``high``, ``p_holm`` and ``verdict`` as from :func:`differences`.
    """
    if "sweep" in values:
        of_sweep = values.groupby("sweep", sort=False)
        rows = [arm_errors(own.drop(columns="sweep")).assign(sweep=name) for name, own in of_sweep]
        return pd.concat(rows, ignore_index=True)[["sweep", *COLUMNS]]
    means = statistics.means(values, value="error").rename(
        columns={"estimate": "error", "low": "error_low", "high": "error_high"}
    )
    means = means.assign(images=images_of(values))
    joined = means.merge(differences(values), on="arm", how="left")
    return joined.fillna({"n_pairs": 0}).astype({"n_pairs": int})[COLUMNS]


def images_of(values: pd.DataFrame) -> str:
    """Return the images that the values were measured on: ``test`` or ``validation``."""
    return str(values["images"].iloc[0]) if len(values) else VALIDATION


def verdict(values: pd.DataFrame) -> list[str]:
    """Answer which arms of a sweep differ from the first one: a sentence an arm, then what they are worth.

    Args:
        values: from :func:`arm_values`.
    """
    images = images_of(values)
    said = statistics.verdict(differences(values), metric=Metric(f"{images} top-1 error", 100.0, "%"))
    return [*said, _CAUTION[images]]
