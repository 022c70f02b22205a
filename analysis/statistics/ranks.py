"""Ranks of arms over several data sets: Friedman's test, and Nemenyi's test of each pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

MIN_ARMS = 3
"""Fewest arms that are ranked; compare fewer arms by paired differences."""


@dataclass(frozen=True)
class Ranks:
    """Ranks of arms over blocks, the content of a critical-difference diagram (Demšar, JMLR 2006).

    Attributes:
        mean_rank: mean rank by arm, 1 is best, best first; ties share their mean rank.
        friedman_p: p-value of the hypothesis that all arms are equal. Interpret the pairs only if it is small. NaN for
            fewer than two blocks.
        critical_difference: smallest significant difference of two mean ranks, joint over all pairs; NaN for fewer than
            two blocks.
        p: Nemenyi's p-value of each pair of arms, [arms, arms], 1 on the diagonal.
        n_blocks: number of data sets with all arms.
        confidence: joint level of all pairs.
    """

    mean_rank: pd.Series[float]
    friedman_p: float
    critical_difference: float
    p: pd.DataFrame
    n_blocks: int
    confidence: float


def critical_differences(table: pd.DataFrame, *, value: str, block: Sequence[str], confidence: float = 0.95) -> Ranks:
    """Rank the arms in each block by their mean value, lowest first, and compare the mean ranks.

    Args:
        table: one row per trial: ``arm``, ``value`` and the columns of ``block``; NaN values are left out.
        value: column that is ranked, lower is better.
        block: columns that name a block: the data set, and anything else that makes values incomparable. A seed is not
            a block: seeds repeat the same data set, so they are averaged.
        confidence: joint level of all pairs.

    Raises:
        ValueError: fewer than ``MIN_ARMS`` arms.

    Examples:
        >>> table = pd.DataFrame(
        ...     {
        ...         "arm": ["off", "mixup", "cutmix"] * 2,
        ...         "sweep": ["digits"] * 3 + ["cifar10"] * 3,
        ...         "error": [0.4, 0.3, 0.2, 0.6, 0.4, 0.5],
        ...     }
        ... )
        >>> critical_differences(table, value="error", block=["sweep"]).mean_rank.to_dict()
        {'cutmix': 1.5, 'mixup': 1.5, 'off': 3.0}
    """
    measured = table[table[value].notna()].assign(arm=table["arm"].astype(str))
    blocks = measured.pivot_table(index=list(block), columns="arm", values=value, observed=True).dropna()
    n_blocks, n_arms = blocks.shape
    if n_arms < MIN_ARMS:
        raise ValueError(f"ranks need at least {MIN_ARMS} arms, got {n_arms}: compare two arms by paired differences")
    mean_rank = blocks.rank(axis=1).mean().sort_values(kind="stable")
    friedman_p, critical, p = np.nan, np.nan, pd.DataFrame(np.nan, index=mean_rank.index, columns=mean_rank.index)
    if n_blocks > 1:
        from scikit_posthocs import posthoc_nemenyi_friedman  # slow to import

        friedman_p = float(stats.friedmanchisquare(*blocks.to_numpy().T).pvalue)
        quantile = stats.studentized_range.ppf(confidence, n_arms, np.inf) / np.sqrt(2)
        critical = float(quantile * np.sqrt(n_arms * (n_arms + 1) / (6 * n_blocks)))
        p = posthoc_nemenyi_friedman(blocks.reset_index(drop=True)).loc[mean_rank.index, mean_rank.index]
    return Ranks(mean_rank, friedman_p, critical, p, n_blocks, confidence)
