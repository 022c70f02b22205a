"""Comparisons of arms with a baseline arm over the seeds that they share.

A table has one row per trial, with its ``arm``, and columns that identify a pair, by default ``replicate``. Lower
values are better throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.statistics.estimates import HIGHER, LOWER, TOO_FEW, UNDECIDED
from sweep.findings.bounds import bounds_of
from sweep.findings.student_t import ci_half_width, holm, p_value

Array = NDArray[np.float64]

WITHIN = "within margin"
"""Result of a comparison that shows no difference and excludes a difference larger than the margin."""

REPLICATE = ("replicate",)

COLUMNS = [
    *("arm", "baseline", "n_pairs", "estimate", "sd", "low", "high", "p", "p_holm"),
    *("margin", "p_within", "n_compared", "confidence", "verdict"),
]
"""Columns of a table of paired differences, after the columns that name a family of comparisons."""

_OF_PAIRS = {"n_pairs": "count", "estimate": "mean", "sd": "std"}

_ROUNDING = 1e-12
"""Relative to the values: an SD below this is a rounding error, and the differences are equal."""


def pairs(
    table: pd.DataFrame, *, value: str, baseline: str, unit: Sequence[str] = REPLICATE, by: Sequence[str] = ()
) -> pd.DataFrame:
    """Compute the difference of each arm to the baseline (arm - baseline), one per pair.

    Args:
        table: one row per trial: ``arm``, ``value`` and the columns of ``unit`` and ``by``. Rows without a finite value
            are left out.
        value: column that is compared.
        baseline: arm that the others are compared with.
        unit: columns that identify a pair; each arm has one value per pair.
        by: columns that name a family, for example a data set; pairs are formed within families.

    Returns:
        One row per pair: the columns of ``by`` and ``unit``, ``arm`` and ``difference``.

    Raises:
        ValueError: the baseline is not an arm, or an arm has several values in one pair.

    Examples:
        >>> table = pd.DataFrame(
        ...     {"arm": ["off", "off", "cutmix"], "replicate": [0, 1, 0], "error": [0.5, 0.25, 0.375]}
        ... )
        >>> pairs(table, value="error", baseline="off")
           replicate     arm  difference
        0          0  cutmix      -0.125
    """
    differences, _ = _differences(table, value, baseline, unit, by)
    long = differences.melt(var_name="arm", value_name="difference", ignore_index=False).reset_index()
    return long.dropna(subset=["difference"])[[*by, *unit, "arm", "difference"]].reset_index(drop=True)


def paired_differences(
    table: pd.DataFrame,
    *,
    value: str,
    baseline: str,
    unit: Sequence[str] = REPLICATE,
    by: Sequence[str] = (),
    metric: str | None = None,
    confidence: float = 0.95,
    margin: float | None = None,
) -> pd.DataFrame:
    """Compare each arm with a baseline by the mean difference over pairs, with Student's paired t-tests.

    Decisions use Holm's correction, at the joint level 1 - ``confidence`` for all arms of a family. Intervals use
    Bonferroni's: all intervals of a family cover their true differences at once with probability ``confidence``. Both
    are exact or conservative. Holm decides slightly more: the interval of a decided difference may still contain zero,
    but the interval of an undecided difference never excludes zero. The tests are exact for normal differences, from
    two pairs on. Differences of errors over seeds are nearly normal.

    Args:
        table: as in :func:`pairs`.
        value: column that is compared, lower is better.
        baseline: arm that the others are compared with.
        unit: columns that identify a pair.
        by: columns that name a family; each family has its own joint levels.
        metric: metric of the values, or the column of ``by`` with the metric of each family; None: ``value`` is its
            name. Intervals are cut at the bounds of its differences, for example at -1 and 1 for an error, unless a
            value of the metric lies outside its bounds.
        confidence: joint level of the intervals of a family, and 1 - the joint level of its decisions.
        margin: largest difference that does not matter, above 0. With a margin, arms are also tested for equivalence
            (TOST: two one-sided t-tests, Holm's correction over arms, with a separate joint level).

    Returns:
        One row per family and arm, in the order of the arms: the columns of ``by``, then ``COLUMNS``. ``estimate``
        (arm - baseline) and ``sd`` are the mean and SD of ``n_pairs`` differences. ``p`` is the p-value of one test
        alone. ``p_holm`` and ``p_within`` (equivalence) are corrected for the ``n_compared`` arms of the family.
        ``verdict`` is ``lower``, ``higher``, ``within margin``, ``undecided`` or ``too few`` (fewer than two pairs, or
        equal differences; interval and p-values are then NaN).

    Raises:
        ValueError: as in :func:`pairs`; ``confidence`` or ``margin`` out of range.

    Examples:
        >>> table = pd.DataFrame(
        ...     {
        ...         "arm": ["off", "off", "off", "cutmix", "cutmix", "cutmix"],
        ...         "replicate": [0, 1, 2, 0, 1, 2],
        ...         "error": [0.30, 0.32, 0.31, 0.25, 0.26, 0.27],
        ...     }
        ... )
        >>> result = paired_differences(table, value="error", baseline="off")
        >>> result[["arm", "n_pairs", "estimate", "verdict"]]
              arm  n_pairs  estimate verdict
        0  cutmix        3     -0.05   lower
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    if margin is not None and not margin > 0:
        raise ValueError(f"margin must be a difference above 0, got {margin}")
    differences, scale = _differences(table, value, baseline, unit, by)
    rows, alpha = _summaries(differences, by), 1 - confidence
    n_compared = len(differences.columns)
    n, mean, sd = (rows[name].to_numpy() for name in ("n_pairs", "estimate", "sd"))
    sd = np.where(sd > _ROUNDING * scale, sd, np.nan)  # without spread, all that follows is NaN
    error, df = sd / np.sqrt(np.maximum(n, 1)), n - 1
    half = ci_half_width(sd, n, level=1 - alpha / max(n_compared, 1))
    p = p_value(mean, sd, n)
    p_within = np.full(len(p), np.nan) if margin is None else stats.t.sf((margin - np.abs(mean)) / error, df)
    rows = rows.assign(
        baseline=baseline,
        low=mean - half,
        high=mean + half,
        p=p,
        p_holm=holm(p, n_compared),
        margin=np.nan if margin is None else margin,
        p_within=holm(p_within, n_compared),
        n_compared=n_compared,
        confidence=confidence,
    )
    if metric in by:
        groups: Any = table.groupby(metric, sort=False, observed=True)[value]
        largest = rows[metric].map({name: _largest(str(name), values) for name, values in groups}).astype(float)
    else:
        largest = pd.Series(_largest(metric or value, table[value]), index=rows.index)
    rows = rows.assign(low=rows["low"].clip(lower=-largest), high=rows["high"].clip(upper=largest))
    return rows.assign(verdict=_verdicts(rows, alpha))[[*by, *COLUMNS]]


def _largest(metric: str, values: pd.Series[Any]) -> float:
    """Return the largest possible difference of a metric."""
    low, high = bounds_of(metric, values)
    return high - low


def probability_of_improvement(
    table: pd.DataFrame,
    *,
    value: str,
    baseline: str,
    unit: Sequence[str] = REPLICATE,
    by: Sequence[str] = (),
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Estimate the probability that an arm's value is lower than the baseline's on the same seed.

    The measure is that of Agarwal et al. (NeurIPS 2021, arXiv 2108.13264), but over pairs, because arms share their
    seeds. The interval is Wilson's: if an arm is lower in all pairs, a bootstrap interval would have zero width. Pairs
    of several data sets, identified in ``unit``, have equal weight.

    Args:
        table: as in :func:`pairs`.
        value: column that is compared, lower is better.
        baseline: arm that the others are compared with.
        unit: columns that identify a pair.
        by: columns that name a family.
        confidence: level of each interval alone.

    Returns:
        One row per family and arm with a pair: the columns of ``by``, ``arm``, ``baseline``, ``n_pairs``, ``estimate``
        (fraction of pairs; a tie counts half), ``low``, ``high`` and ``confidence``.

    Raises:
        ValueError: as in :func:`pairs`.

    Examples:
        >>> arms = ["off", "off", "cutmix", "cutmix"]
        >>> table = pd.DataFrame({"arm": arms, "replicate": [0, 1, 0, 1], "error": [0.5, 0.25, 0.375, 0.25]})
        >>> probability_of_improvement(table, value="error", baseline="off")[["arm", "n_pairs", "estimate"]]
              arm  n_pairs  estimate
        0  cutmix        2      0.75
    """
    from statsmodels.stats.proportion import proportion_confint  # slow to import

    long = pairs(table, value=value, baseline=baseline, unit=unit, by=by)
    wins = long.assign(win=(long["difference"] < 0) + 0.5 * (long["difference"] == 0))
    rows = wins.groupby([*by, "arm"], sort=False, observed=True)["win"].agg(["size", "sum"]).reset_index()
    n, won = rows["size"], rows["sum"]
    low, high = proportion_confint(won.to_numpy(), n.to_numpy(), alpha=1 - confidence, method="wilson")
    return rows[[*by, "arm"]].assign(
        baseline=baseline, n_pairs=n, estimate=won / n, low=low, high=high, confidence=confidence
    )


def _differences(
    table: pd.DataFrame, value: str, baseline: str, unit: Sequence[str], by: Sequence[str]
) -> tuple[pd.DataFrame, float]:
    """Return the differences to the baseline and the scale of the values.

    The differences have one row per pair (index: ``by`` and ``unit``) and one column per arm. The scale is the largest
    absolute value.
    """
    arms = _in_order(table["arm"])
    if baseline not in arms and len(table):
        raise ValueError(f"no arm {baseline!r} to compare with, choose one of {', '.join(arms)}")
    pair = [*by, *unit]
    finite = table.loc[np.isfinite(table[value].astype(float)), [*pair, "arm", value]]
    finite = finite.assign(arm=finite["arm"].astype(str))
    if (repeated := finite.duplicated([*pair, "arm"])).any():
        row = finite[repeated].iloc[0]
        where = ", ".join(f"{name} {row[name]}" for name in pair)
        raise ValueError(f"arm {row['arm']!r} has several values at {where}: add the column that differs to unit")
    wide = finite.pivot(index=pair, columns="arm", values=value).reindex(columns=arms).astype(float)
    others = [arm for arm in arms if arm != baseline and arm in set(table["arm"])]
    scale = float(finite[value].abs().max()) if len(finite) else 0.0
    return (wide[others].sub(wide[baseline], axis=0) if others else wide[others]), scale


def _in_order(arms: pd.Series[Any]) -> list[str]:
    """Return the arms in the order of their category, also arms without a row, or else of first appearance."""
    ordered = arms.cat.categories if isinstance(arms.dtype, pd.CategoricalDtype) else arms.unique()
    return [str(arm) for arm in ordered]


def _summaries(differences: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return one row per family and arm: ``by``, ``arm``, ``n_pairs``, and the mean and SD of the differences."""
    if by:
        families = differences.groupby(list(by), sort=False, observed=True)
        names = families.size().index.to_frame(index=False)
        summaries = {name: families.agg(how) for name, how in _OF_PAIRS.items()}
    else:
        names = pd.DataFrame(index=range(1))
        summaries = {name: differences.agg([how]) for name, how in _OF_PAIRS.items()}
    arms = differences.columns
    rows = names.loc[np.repeat(np.arange(len(names)), len(arms))].reset_index(drop=True)
    columns = {name: frame.to_numpy(float).ravel() for name, frame in summaries.items()}
    return rows.assign(arm=np.tile(arms.to_numpy(), len(names)), **columns).astype({"n_pairs": int})


def _verdicts(rows: pd.DataFrame, alpha: float) -> Array:
    differs, is_lower = rows["p_holm"] <= alpha, rows["estimate"] < 0
    cases = [rows["p"].isna(), differs & is_lower, differs, rows["p_within"] <= alpha]
    return cast(Array, np.select(cases, [TOO_FEW, LOWER, HIGHER, WITHIN], UNDECIDED))
