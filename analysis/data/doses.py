"""How much each arm mixes: the doses estimated before launch and recorded with each trial."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

DOSES = {
    "dose_exposure": "exposure",
    "dose_pasted_frac": "pasted area",
    "dose_label_entropy": "label entropy",
    "dose_boundary_px": "boundary, px",
}
"""Columns of the records that measure how much an arm mixes, and their labels."""

COVERAGE = {
    "dose_exposure": "exposure",
    "dose_pasted_frac": "pasted area",
    "dose_coverage_centre": "partner's pixel at the centre",
    "dose_coverage_edge": "at the edge",
    "dose_coverage_corner": "in the corner",
}
"""Columns that measure where an arm pastes, and their labels."""

TIMING = {
    "dose_mean_prob": "mean probability",
    "dose_exposure": "exposure",
    "dose_pasted_frac": "pasted area",
    "dose_label_entropy": "label entropy",
}
"""Columns that a schedule might change, and their labels."""


def doses(trials: pd.DataFrame, columns: Mapping[str, str] = DOSES) -> pd.DataFrame:
    """Compute the mean dose of each arm over its trials.

    Args:
        trials: one row per trial, as from ``analysis.data.frames.load``.
        columns: label of each column of the records that is averaged; a column that ``trials`` lacks is left out.

    Returns:
        One row per arm (index), one column per dose; NaN for an arm without that dose.

    Examples:
        >>> trials = pd.DataFrame({"arm": ["off", "cutmix", "cutmix"], "dose_exposure": [None, 0.125, 0.25]})
        >>> doses(trials)
                exposure
        arm
        cutmix    0.1875
        off          NaN
    """
    recorded = [name for name in columns if name in trials]
    return trials.groupby("arm", observed=True)[recorded].mean().astype(float).rename(columns=dict(columns))
