"""Arms ranked over several data sets: Friedman's test, and Nemenyi's of every pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

MIN_ARMS = 3
"""Fewer are compared pair by pair, without ranks."""


@dataclass(frozen=True)
class Ranks:
    """How arms rank over blocks, as a critical-difference diagram shows it (Demšar, JMLR 2006).

    Attributes:
        mean_rank: by arm, 1 is best, best first; ties share their mean rank.
        friedman_p: of all arms being alike; what follows counts only where it is small. nan below two blocks.
        critical_difference: mean ranks further apart than this differ, all pairs at once; nan below two blocks.
        p: Nemenyi's p-value of each pair of arms, [arms, arms], 1 on the diagonal.
        n_blocks: data sets that have every arm.
        confidence: joint level of all pairs.
    """

    mean_rank: pd.Series[float]
    friedman_p: float
    critical_difference: float
    p: pd.DataFrame
    n_blocks: int
    confidence: float


def critical_differences(table: pd.DataFrame, *, value: str, block: Sequence[str], confidence: float = 0.95) -> Ranks:
    """Rank the arms in each block by their mean value, lowest first, and compare mean ranks.

    Args:
        table: one row a trial: ``arm``, ``value`` and the columns of ``block``; values of nan are left out.
        value: column that is ranked, lower is better.
        block: columns that name a block: the data set, and what else makes values unlike. Seeds are no blocks: they
            are averaged, for what they repeat is one data set.
        confidence: joint level of all pairs.

    Raises:
        ValueError: fewer than ``MIN_ARMS`` arms.
    """
    known = table[table[value].notna()].assign(arm=table["arm"].astype(str))
    blocks = known.pivot_table(index=list(block), columns="arm", values=value, observed=True).dropna()
    n_blocks, n_arms = blocks.shape
    if n_arms < MIN_ARMS:
        raise ValueError(f"ranks need {MIN_ARMS} arms, got {n_arms}: compare two by paired differences")
    mean_rank = blocks.rank(axis=1).mean().sort_values(kind="stable")
    friedman_p, critical, p = np.nan, np.nan, pd.DataFrame(np.nan, index=mean_rank.index, columns=mean_rank.index)
    if n_blocks > 1:
        from scikit_posthocs import posthoc_nemenyi_friedman  # slow to import

        friedman_p = float(stats.friedmanchisquare(*blocks.to_numpy().T).pvalue)
        quantile = stats.studentized_range.ppf(confidence, n_arms, np.inf) / np.sqrt(2)
        critical = float(quantile * np.sqrt(n_arms * (n_arms + 1) / (6 * n_blocks)))
        p = posthoc_nemenyi_friedman(blocks.reset_index(drop=True)).loc[mean_rank.index, mean_rank.index]
    return Ranks(mean_rank, friedman_p, critical, p, n_blocks, confidence)
