"""Statistics of a sweep: estimates with intervals, comparisons of arms over shared seeds, and verdicts."""

from analysis.statistics.best_of import best_of_n
from analysis.statistics.comparisons import (
    WITHIN,
    paired_differences,
    pairs,
    probability_of_improvement,
)
from analysis.statistics.components import Components, Spread, variance_components
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
    mean,
    means,
    rank_correlation,
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
    "Components",
    "Estimate",
    "Ranks",
    "Spread",
    "Statistic",
    "best_of_n",
    "bootstrap",
    "critical_differences",
    "difference",
    "mean",
    "means",
    "paired_differences",
    "pairs",
    "partial_rank_correlation",
    "probability_of_improvement",
    "rank_correlation",
    "summary_line",
    "variance_components",
    "verdict",
]
