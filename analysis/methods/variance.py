"""Which factors of a crossed study matter: the variance of its final values by factor and by pair of factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

from analysis.data.grid import column_of, drawn, word_of
from analysis.methods.importance import MATTERS
from analysis.statistics import TOO_FEW, UNDECIDED
from sweep.findings.summary import metric_label

BLOCK = "replicate"
"""Trials of equal replicate share their seed: it takes its variance out of the error, as a block does."""

_NUMBERS = ["df", "sum_of_squares", "eta2", "omega2", "low", "high", "F", "p"]
_ERROR = "Residual"  # as statsmodels calls it


def variance_explained(
    trials: pd.DataFrame,
    *,
    factors: Sequence[str],
    metric: str = "val_top1_error",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Split the variance of the final values of a crossed study among its factors.

    Type II analysis of variance with all pairs of factors and the replicate as a block. The interval is of the
    population's share that ``omega2`` estimates without bias, from the noncentral F distribution (Steiger,
    Psychological Methods 2004). In simulated studies of 5 and 10 replicates it held the true share in 94 to 99 % of
    cases at a level of 95 %, resampling of replicates in 73 to 93 %.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``, of the arms that are crossed.
        factors: ``arm``, or dotted paths that these arms draw.
        metric: which final value.
        confidence: level of each interval, and 1 - the level of each test.

    Returns:
        One row a factor, then one a pair (``a x b``), then ``replicate``: ``term``, ``df``, ``sum_of_squares``,
        ``eta2`` (partial: its share of itself plus error; too high in small studies), ``omega2`` (partial, below 0
        where a factor explains less than chance would), ``low`` and ``high``, ``F``, ``p``, ``verdict``
        (``matters``, ``undecided`` or ``too few``), ``n`` (trials), ``n_left_out`` (without a final value or a
        factor), ``n_replicates``, ``metric``, ``confidence``. A pair of which some combination has no trial, and a
        factor of one level, are nan and ``too few``; everything is where no degree of freedom is left for the error.

    Raises:
        ValueError: no factor, one twice, or one that no arm draws; without any trial none can be known.
    """
    metric_label(metric)
    rows = _rows(trials, factors, metric)
    names = [f"f{place}" for place in range(len(factors))]
    found, n = _anova(rows, names), len(rows)
    shares = {term: _shares(*found[term], *found[_ERROR], n, confidence) for term in found}
    spelled = dict(zip(names, factors, strict=True))
    terms = [*_terms(names), BLOCK]
    table = pd.DataFrame([shares.get(term, [np.nan] * 8) for term in terms], columns=_NUMBERS)
    words = np.where(table["p"] <= 1 - confidence, MATTERS, UNDECIDED)
    table.insert(0, "term", [" x ".join(spelled.get(name, name) for name in term.split(":")) for term in terms])
    return table.assign(
        verdict=np.where(table["p"].isna(), TOO_FEW, words),
        n=n,
        n_left_out=len(trials) - n,
        n_replicates=rows[BLOCK].nunique(),
        metric=metric,
        confidence=confidence,
    )


def verdict(table: pd.DataFrame) -> list[str]:
    """Say which factors, and which pairs of them, matter: a sentence a term, the replicate left out.

    Unlike the table, whose tests stand alone, it decides by Holm's correction over all terms.

    Args:
        table: from :func:`variance_explained`.
    """
    from statsmodels.stats.multitest import multipletests

    metric, alpha = metric_label(table["metric"].iloc[0]).name, 1 - table["confidence"].iloc[0]
    terms = table[table["term"] != BLOCK]
    # a term that cannot be tested counts as a test
    p_holm = multipletests(terms["p"].fillna(1.0), method="holm")[1]
    said = [_sentence(row, metric, p, alpha) for (_, row), p in zip(terms.iterrows(), p_holm, strict=True)]
    decided = int((p_holm <= alpha).sum())
    return [
        *said,
        f"Decided: {decided} of {len(said)} terms, by F-tests with Holm's correction at a level of {1 - alpha:.0%}.",
    ]


def _sentence(row: pd.Series[Any], metric: str, p: float, alpha: float) -> str:
    term = " x ".join(word_of(name) or name for name in row["term"].split(" x "))
    called = f"how {term} work together" if " x " in term else term
    n = f"n = {row['n']} trials, {row['n_replicates']} seeds"
    if row["verdict"] == TOO_FEW:
        return f"Whether {called} matters for {metric} is undecided ({n}: too few)."
    share = f"{100 * max(row['omega2'], 0.0):.0f} % of the variance"
    interval = f"interval {100 * row['low']:.0f} to {100 * row['high']:.0f} %"
    evidence = f"{share}, {interval}, {n}, {f'p = {p:.2g}' if p >= 0.001 else 'p < 0.001'}"
    claim = f"{called[0].upper()}{called[1:]} matters for {metric}"
    return f"{claim if p <= alpha else f'Whether {called} matters for {metric} is undecided'} ({evidence})."


def _rows(trials: pd.DataFrame, factors: Sequence[str], metric: str) -> pd.DataFrame:
    """Return value, replicate and factors as ``f0``, ``f1``, ... of the trials that have all of them."""
    columns = {name: column_of(name) for name in factors}
    if not factors or len(columns) < len(factors):
        raise ValueError(f"factors must be one or several different ones, got {list(factors)}")
    if len(trials) and (missing := [name for name, column in columns.items() if column not in trials]):
        known = sorted(str(name).removeprefix("params.") for name in trials.filter(regex=r"^params\."))
        raise ValueError(f"no arm draws {missing[0]!r}, choose among {', '.join(['arm', *known])}")
    rows = pd.DataFrame({"value": trials[f"final_{metric}"].astype(float), BLOCK: trials["replicate"]})
    for place, name in enumerate(factors):
        rows[f"f{place}"] = drawn(trials, name).map(str, na_action="ignore").astype(object)
    complete: pd.DataFrame = rows[np.isfinite(rows["value"])].dropna().reset_index(drop=True)
    return complete


def _terms(names: Sequence[str]) -> list[str]:
    return [*names, *(f"{first}:{second}" for first, second in combinations(names, 2))]


def _anova(rows: pd.DataFrame, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return sum of squares and degrees of freedom by term that can be estimated; none where the error has none."""
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

    vary = [name for name in [*names, BLOCK] if rows[name].nunique() > 1]
    pairs = [pair for pair in combinations(vary, 2) if BLOCK not in pair and _is_crossed(rows, *pair)]
    terms = [f"C({name})" for name in vary] + [f"C({first}):C({second})" for first, second in pairs]
    if len(vary) == int(BLOCK in vary) or rows["value"].nunique() < 2:
        return {}
    model = smf.ols(f"value ~ {' + '.join(terms)}", rows).fit()
    if model.df_resid < 1 or math.isclose(model.ssr / model.centered_tss, 0.0, abs_tol=1e-12):
        return {}
    table = sm.stats.anova_lm(model, typ=2)
    called = [str(term).replace("C(", "").replace(")", "") for term in table.index]
    return dict(zip(called, zip(table["sum_sq"], table["df"], strict=True), strict=True))


def _is_crossed(rows: pd.DataFrame, first: str, second: str) -> bool:
    return bool((pd.crosstab(rows[first], rows[second]) > 0).all(axis=None))


def _shares(squares: float, df: float, error_squares: float, error_df: float, n: int, confidence: float) -> list[float]:
    """Return what ``_NUMBERS`` names of one term."""
    noise = error_squares / error_df
    f = squares / df / noise
    eta2 = squares / (squares + error_squares)
    omega2 = (squares - df * noise) / (squares + (n - df) * noise)
    low, high = _interval(f, df, error_df, n, confidence)
    return [df, squares, eta2, omega2, low, high, f, float(stats.f.sf(f, df, error_df))]


def _interval(f: float, df: float, error_df: float, n: int, confidence: float) -> tuple[float, float]:
    """Return the shares whose F is at most, and at least, as high as seen in half of 1 - ``confidence`` of studies."""
    tail = (1 - confidence) / 2
    low, high = (_noncentrality(f, df, error_df, share) for share in (1 - tail, tail))
    return low / (low + n), high / (high + n)


def _noncentrality(f: float, df: float, error_df: float, share: float) -> float:
    """Return the noncentrality under which ``share`` of all F lie below ``f``; 0 where even that is too high."""

    def excess(noncentrality: float) -> float:
        below = stats.ncf.cdf(f, df, error_df, noncentrality) if noncentrality else stats.f.cdf(f, df, error_df)
        return float(below) - share

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0 + df * f
    while excess(high) > 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high))
