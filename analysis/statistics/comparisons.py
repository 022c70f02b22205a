"""Arms compared with a baseline arm over the seeds that they share.

A table has a row a trial, with its ``arm``; what tells pairs apart, by default the ``replicate``, are columns of it.
Lower values are better throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.statistics.estimates import HIGHER, LOWER, TOO_FEW, UNDECIDED
from sweep.findings.student_t import ci_half_width, holm, p_value

Array = NDArray[np.float64]

WITHIN = "within margin"
"""How a comparison ends that shows no difference, and that none is larger than the margin."""

REPLICATE = ("replicate",)

COLUMNS = [
    *("arm", "baseline", "n_pairs", "estimate", "sd", "low", "high", "p", "p_holm"),
    *("margin", "p_within", "n_compared", "confidence", "verdict"),
]
"""Columns of a table of paired differences, after those that name a family of comparisons."""

_OF_PAIRS = {"n_pairs": "count", "estimate": "mean", "sd": "std"}

_ROUNDING = 1e-12
"""Relative to the values: a smaller SD is rounding, and the differences are all alike."""


def pairs(
    table: pd.DataFrame, *, value: str, baseline: str, unit: Sequence[str] = REPLICATE, by: Sequence[str] = ()
) -> pd.DataFrame:
    """Return what each arm's value is above the baseline's, pair by pair.

    Args:
        table: one row a trial: ``arm``, ``value``, the columns of ``unit`` and ``by``; rows without a value are left
            out.
        value: column that is compared.
        baseline: arm that the others are compared with.
        unit: columns that tell pairs apart, each of which has one value of an arm.
        by: columns that name families, as data sets, within which pairs are formed.

    Returns:
        One row a pair: the columns of ``by`` and ``unit``, ``arm`` and ``difference``.

    Raises:
        ValueError: no such arm, or several values of an arm in one pair.
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
    confidence: float = 0.95,
    margin: float | None = None,
) -> pd.DataFrame:
    """Compare every arm with a baseline by the mean difference over pairs: Student's paired t-tests.

    Decisions are Holm's, at the joint level 1 - ``confidence`` of all arms of a family. Intervals are Bonferroni's: all
    of a family hold their true differences at once with the chance ``confidence``. Both are exact or err on the safe
    side, but Holm decides a little more: the interval of a decided difference may still hold zero, never the reverse.
    Exact for normal differences, which those of errors over seeds nearly are; at any number of pairs from two.

    Args:
        table: as in :func:`pairs`.
        value: column that is compared, lower is better.
        baseline: arm that the others are compared with.
        unit: columns that tell pairs apart.
        by: columns that name families, each with joint levels of its own.
        confidence: joint level of a family's intervals, and one minus that of its decisions.
        margin: largest difference that does not matter, above 0; with it arms are tested for equivalence as well (TOST:
            two one-sided t-tests, Holm over arms, at a joint level of their own).

    Returns:
        One row a family and arm, in the order of arms: the columns of ``by``, then ``COLUMNS``. ``estimate`` (arm -
        baseline) and ``sd`` are of ``n_pairs`` differences; ``p`` is of one test alone, ``p_holm`` and ``p_within`` (of
        equivalence) adjusted for the ``n_compared`` of the family; ``verdict`` is ``lower``, ``higher``, ``within
        margin``, ``undecided``, or ``too few`` (fewer than two pairs, or all differences alike).

    Raises:
        ValueError: as in :func:`pairs`; a confidence or margin out of range.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    if margin is not None and not margin > 0:
        raise ValueError(f"margin must be a difference above 0, got {margin}")
    differences, scale = _differences(table, value, baseline, unit, by)
    rows, alpha = _summaries(differences, by), 1 - confidence
    n_compared = len(differences.columns)
    n, mean, sd = (rows[name].to_numpy() for name in ("n_pairs", "estimate", "sd"))
    sd = np.where(sd > _ROUNDING * scale, sd, np.nan)  # nan, and with it all that follows, where there is no spread
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
    return rows.assign(verdict=_verdicts(rows, alpha))[[*by, *COLUMNS]]


def probability_of_improvement(
    table: pd.DataFrame,
    *,
    value: str,
    baseline: str,
    unit: Sequence[str] = REPLICATE,
    by: Sequence[str] = (),
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Estimate how often an arm's value is lower than the baseline's on the same seed.

    That of Agarwal et al. (NeurIPS 2021, arXiv 2108.13264), but over pairs, which seeds shared by the arms allow, and
    with Wilson's interval: where an arm is lower in every pair, resampling would leave an interval without width.
    Pairs of several data sets, told apart in ``unit``, count alike.

    Args:
        table: as in :func:`pairs`.
        value: column that is compared, lower is better.
        baseline: arm that the others are compared with.
        unit: columns that tell pairs apart.
        by: columns that name families.
        confidence: level of each interval alone.

    Returns:
        One row a family and arm with a pair: the columns of ``by``, ``arm``, ``baseline``, ``n_pairs``, ``estimate``
        (share of pairs, ties counted half), ``low``, ``high`` and ``confidence``.
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
    """Return differences to the baseline, a row a pair (index: ``by``, ``unit``), a column an arm, and their scale."""
    arms = _in_order(table["arm"])
    if baseline not in arms and len(table):
        raise ValueError(f"no arm {baseline!r} to compare with, choose one of {', '.join(arms)}")
    keys = [*by, *unit]
    known = table.loc[np.isfinite(table[value].astype(float)), [*keys, "arm", value]]
    known = known.assign(arm=known["arm"].astype(str))
    if (twice := known.duplicated([*keys, "arm"])).any():
        row = known[twice].iloc[0]
        where = ", ".join(f"{key} {row[key]}" for key in keys)
        raise ValueError(f"arm {row['arm']!r} has several values at {where}: name what tells them apart in unit")
    wide = known.pivot(index=keys, columns="arm", values=value).reindex(columns=arms).astype(float)
    others = [arm for arm in arms if arm != baseline and arm in set(table["arm"])]
    scale = float(known[value].abs().max()) if len(known) else 0.0
    return (wide[others].sub(wide[baseline], axis=0) if others else wide[others]), scale


def _in_order(arms: pd.Series[Any]) -> list[str]:
    """Arms as their category has them, those without a row included, else as they first appear."""
    of_study = arms.cat.categories if isinstance(arms.dtype, pd.CategoricalDtype) else arms.unique()
    return [str(arm) for arm in of_study]


def _summaries(differences: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row a family and arm: ``by``, ``arm``, ``n_pairs``, and ``estimate`` and ``sd`` of the differences."""
    if by:
        families = differences.groupby(list(by), sort=False, observed=True)
        names = families.size().index.to_frame(index=False)
        measured = {name: families.agg(how) for name, how in _OF_PAIRS.items()}
    else:
        names = pd.DataFrame(index=range(1))
        measured = {name: differences.agg([how]) for name, how in _OF_PAIRS.items()}
    arms = differences.columns
    rows = names.loc[np.repeat(np.arange(len(names)), len(arms))].reset_index(drop=True)
    found = {name: frame.to_numpy(float).ravel() for name, frame in measured.items()}
    return rows.assign(arm=np.tile(arms.to_numpy(), len(names)), **found).astype({"n_pairs": int})


def _verdicts(rows: pd.DataFrame, alpha: float) -> Array:
    differs, is_lower = rows["p_holm"] <= alpha, rows["estimate"] < 0
    cases = [rows["p"].isna(), differs & is_lower, differs, rows["p_within"] <= alpha]
    return cast(Array, np.select(cases, [TOO_FEW, LOWER, HIGHER, WITHIN], UNDECIDED))
