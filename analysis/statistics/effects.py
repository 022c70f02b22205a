"""How large paired differences are in units of their own spread, and how large ones could have been seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from sweep.findings.student_t import detectable_points, power, seeds_needed


def effect_sizes(differences: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Return differences in units of their own SD.

    Args:
        differences: from :func:`paired_differences`.
        confidence: level of each interval alone.

    Returns:
        The table with ``d_z`` (Cohen's, mean over SD of the differences), ``hedges_g`` (without the bias that few
        pairs have: Hedges, J. Educ. Stat. 1981) and ``g_low`` and ``g_high``, the exact interval by the noncentral t.
        nan below three pairs or where all differences are alike.
    """
    n = differences["n_pairs"].to_numpy(float)
    df = np.where(n > 2, n - 1, np.nan)
    d_z = np.where(differences["p"].notna(), differences["estimate"] / differences["sd"].replace(0, np.nan), np.nan)
    unbiased = np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2)
    tail = (1 - confidence) / 2
    low, high = (special.nctdtrinc(df, level, d_z * np.sqrt(n)) / np.sqrt(n) for level in (1 - tail, tail))
    return differences.assign(d_z=d_z, hedges_g=unbiased * d_z, g_low=unbiased * low, g_high=unbiased * high)


def power_of(differences: pd.DataFrame, *, effect: float) -> pd.DataFrame:
    """Return what a comparison could show, by the SD that it found; an SD of few pairs is itself uncertain.

    Args:
        differences: from :func:`paired_differences`.
        effect: difference that matters, in the unit of the values, above 0.

    Returns:
        The table with ``power`` (chance to find ``effect`` by as many pairs, at Bonferroni's level), ``seeds_needed``
        (for a power of 0.8) and ``detectable`` (difference found with that power). nan where no SD is known.
    """
    if not effect > 0:
        raise ValueError(f"effect must be a difference above 0, got {effect}")
    found = pd.DataFrame(
        [_power_row(row, effect) for _, row in differences.iterrows()],
        columns=["power", "seeds_needed", "detectable"],
        index=differences.index,
    )
    return pd.concat([differences, found.astype(float)], axis=1)


def _power_row(row: pd.Series[Any], effect: float) -> tuple[float, float, float]:
    if np.isnan(row["p"]):
        return np.nan, np.nan, np.nan
    n, sd, alpha = int(row["n_pairs"]), float(row["sd"]), (1 - row["confidence"]) / row["n_compared"]
    return (
        power(effect, n_seeds=n, sd=sd, paired=True, alpha=alpha),
        seeds_needed(effect, sd_points=sd, paired=True, alpha=alpha),
        detectable_points(n, sd_points=sd, paired=True, alpha=alpha),
    )
