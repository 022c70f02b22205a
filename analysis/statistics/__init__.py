"""Statistics of a sweep: estimates with intervals, arms compared over the seeds that they share, and verdicts."""

from analysis.statistics.aggregates import aggregates, means
from analysis.statistics.comparisons import (
    WITHIN,
    paired_differences,
    pairs,
    probability_of_improvement,
)
from analysis.statistics.effects import effect_sizes, power_of
from analysis.statistics.estimates import (
    HIGHER,
    LOWER,
    MIN_N,
    MIN_PAIRS,
    TOO_FEW,
    UNDECIDED,
    Estimate,
    Statistic,
    bootstrap,
    difference,
    iqm,
    mean,
    rank_correlation,
    stratified,
)
from analysis.statistics.partial import partial_rank_correlation
from analysis.statistics.ranks import Ranks, critical_differences
from analysis.statistics.verdicts import summary_line, verdict

__all__ = [
    "HIGHER",
    "LOWER",
    "MIN_N",
    "MIN_PAIRS",
    "TOO_FEW",
    "UNDECIDED",
    "WITHIN",
    "Estimate",
    "Ranks",
    "Statistic",
    "aggregates",
    "bootstrap",
    "critical_differences",
    "difference",
    "effect_sizes",
    "iqm",
    "mean",
    "means",
    "paired_differences",
    "pairs",
    "partial_rank_correlation",
    "power_of",
    "probability_of_improvement",
    "rank_correlation",
    "stratified",
    "summary_line",
    "verdict",
]
