"""How much arms mix: what was estimated of their policies before launch, and is recorded with each trial."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

DOSES = {
    "dose_exposure": "exposure",
    "dose_pasted_frac": "pasted area",
    "dose_label_entropy": "label entropy",
    "dose_boundary_px": "border, px",
}
"""Columns of the records that say how much an arm mixes, and their words."""


COVERAGE = {
    "dose_exposure": "exposure",
    "dose_pasted_frac": "pasted area",
    "dose_coverage_centre": "foreign at the centre",
    "dose_coverage_edge": "at the edge",
    "dose_coverage_corner": "in the corner",
}
"""Those that say where an arm pastes."""

TIMING = {
    "dose_mean_prob": "mean probability",
    "dose_exposure": "exposure",
    "dose_pasted_frac": "pasted area",
    "dose_label_entropy": "label entropy",
}
"""Those that a schedule might change."""


def doses(trials: pd.DataFrame, columns: Mapping[str, str] = DOSES) -> pd.DataFrame:
    """Return each arm's mean dose over its trials: one row an arm, one column a dose.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        columns: of the records, and their words.
    """
    known = [name for name in columns if name in trials]
    return trials.groupby("arm", observed=True)[known].mean().astype(float).rename(columns=dict(columns))
