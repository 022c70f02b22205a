"""What the study ``mask_shape`` compares with, and at which dose."""

from __future__ import annotations

import pandas as pd

REFERENCE = "box"
"""The arm that the others are compared with."""

DOSES = {
    "dose_exposure": "exposure",
    "dose_pasted_frac": "pasted area",
    "dose_label_entropy": "label entropy",
    "dose_boundary_px": "border, px",
}
"""Columns of the records that say how much an arm mixes, and their words."""


def doses(trials: pd.DataFrame) -> pd.DataFrame:
    """Return each arm's mean dose over its trials: one row an arm, one column a dose.

    Args:
        trials: one row a trial, as from ``analysis.frames.load``.
    """
    columns = [name for name in DOSES if name in trials]
    return trials.groupby("arm", observed=True)[columns].mean().rename(columns=DOSES)
