"""Answers of the study ``co_movement``: whether gains over networks are correlated.

All quantities are transformed so that lower is better, so two gains that occur together are positively correlated.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

import pandas as pd

from analysis.statistics import HIGHER, LOWER, TOO_FEW, UNDECIDED, partial_rank_correlation

ERROR = "classification top1_error (last, float32)"

MEASURED = (
    ERROR,
    "calibration ece (raw)",
    "calibration signed_ece (raw)",
    "adversarial robust_error (fgsm eps=8/255)",
    "adversarial robust_error (pgd20 eps=2/255)",
    "ood auroc (natural mean / msp)",
    "ood auroc (noise mean / msp)",
    "localization top1_loc_error (cam threshold=0.15)",
    "occlusion area (center)",
    "corruption mean_error",
)
"""Quantities of the evaluation; signed ECE is shown as well, but has no direction that is a gain."""

GAINS = {
    "error": ERROR,
    "ECE": "calibration ece (raw)",
    "error under FGSM 8/255": "adversarial robust_error (fgsm eps=8/255)",
    "error under PGD 2/255": "adversarial robust_error (pgd20 eps=2/255)",
    "natural images missed": "ood auroc (natural mean / msp)",
    "noise missed": "ood auroc (noise mean / msp)",
    "localization error": "localization top1_loc_error (cam threshold=0.15)",
    "error under occlusion": "occlusion area (center)",
    "error under corruption": "corruption mean_error",
}
"""Quantities by their short names; "missed" is 1 - AUROC."""

STRENGTHS = ("mix.apply.prob", "mix.size.alpha", "mix.size.frac")
"""Dotted paths of the strength of mixing."""

Kind = Literal["pooled", "within arms", "given the error"]

POOLED: Kind = "pooled"
WITHIN: Kind = "within arms"
GIVEN: Kind = "given the error"
"""Correlations: over all trials; of ranks within arms; of these, controlling for the error by a curve in each arm."""


def gains(values: pd.DataFrame) -> pd.DataFrame:
    """Transform the measured quantities so that lower is better.

    Args:
        values: one row per trial, with columns ``MEASURED``, from :func:`analysis.data.evaluations.values_of`.

    Returns:
        One row per trial: ``trial``, ``arm``, and one column for each name of ``GAINS`` that any trial has.
    """
    columns = {
        name: 1 - values[column] if "auroc" in column else values[column]
        for name, column in GAINS.items()
        if values[column].notna().any()
    }
    return values[["trial", "arm"]].join(pd.DataFrame(columns, index=values.index))


def relations(table: pd.DataFrame, *, kind: Kind, confidence: float = 0.95) -> pd.DataFrame:
    """Correlate every pair of gains.

    Args:
        table: from :func:`gains`.
        kind: kind of correlation.
        confidence: level of each interval.

    Returns:
        One row per pair, as :func:`analysis.plots.correlations` plots them: ``first``, ``second``, ``correlation`` (of
        ranks), ``low``, ``high``, ``n`` (trials that have both), ``verdict``, ``within_arms``, ``given`` (controlled
        quantity), ``kind`` and ``confidence``. Controlling for the error, pairs with the error itself are left out.
    """
    names = [str(name) for name in table.columns.drop(["trial", "arm"])]
    others = [name for name in names if name != "error"] if kind == GIVEN else names
    pairs = list(combinations(others, 2)) if kind != GIVEN or "error" in names else []
    rows = [_related(table, first, second, kind=kind, confidence=confidence) for first, second in pairs]
    columns = ["first", "second", "correlation", "low", "high", "n", "verdict"]
    table = pd.DataFrame(rows, columns=columns)
    given = "the error" if kind == GIVEN else ""
    return table.assign(within_arms=kind != POOLED, given=given, kind=kind, confidence=confidence)


def _related(table: pd.DataFrame, first: str, second: str, *, kind: Kind, confidence: float) -> tuple[Any, ...]:
    estimate = partial_rank_correlation(
        table[first],
        table[second],
        groups=None if kind == POOLED else table["arm"],
        given=table["error"] if kind == GIVEN else None,
        confidence=confidence,
    )
    return first, second, estimate.value, estimate.low, estimate.high, estimate.n[0], estimate.verdict


def decided(table: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Estimate the relations of the study's question: gains with the error, other pairs controlling for the error.

    Args:
        table: from :func:`gains`.
        confidence: joint level of all intervals (Bonferroni).

    Returns:
        The rows of :func:`relations` of these pairs; ``confidence`` is joint.
    """
    level = 1 - (1 - confidence) / max(len(_asked(table, confidence)), 1)
    return _asked(table, level).assign(confidence=confidence)


def _asked(table: pd.DataFrame, level: float) -> pd.DataFrame:
    within, given = (relations(table, kind=kind, confidence=level) for kind in (WITHIN, GIVEN))
    return pd.concat([within[within["first"] == "error"], given], ignore_index=True)


def verdict(table: pd.DataFrame) -> list[str]:
    """Return the sentences that answer the study's question.

    Args:
        table: from :func:`decided`.
    """
    if table["verdict"].isin([TOO_FEW]).all():  # also true without any relation
        return ["Undecided: too few trials have been measured on two axes."]
    with_error, others = table[table["kind"] == WITHIN], table[table["kind"] == GIVEN]
    together, n_decided = with_error["verdict"] == HIGHER, table["verdict"].isin([LOWER, HIGHER]).sum()
    return [
        *_sentences(with_error, "Within arms"),
        *_sentences(others, "Within arms, controlling for the error"),
        f"{together.sum()} of {len(with_error)} gains are correlated with a lower error. Among the other gains, "
        f"{(others['verdict'] == HIGHER).sum()} of {len(others)} pairs are correlated beyond what the error explains.",
        f"Decided: {n_decided} of {len(table)} relations, by rank correlations whose intervals have a joint level of "
        f"{100 * table['confidence'].iloc[0]:.0f} % (Bonferroni).",
    ]


def _sentences(rows: pd.DataFrame, where: str) -> list[str]:
    relations = {HIGHER: "are positively correlated", LOWER: "are negatively correlated: one gain costs the other"}
    sentences = [
        f"{where}, {row['first']} and {row['second']} {relations[row['verdict']]} (rank correlation "
        f"{row['correlation']:+.2f}, interval {row['low']:+.2f} to {row['high']:+.2f}, n = {row['n']})."
        for _, row in rows.iterrows()
        if row["verdict"] in relations
    ]
    rest = {verdict: _pairs(rows[rows["verdict"] == verdict]) for verdict in (UNDECIDED, TOO_FEW)}
    return sentences + [f"{where}, {verdict}: {pairs}." for verdict, pairs in rest.items() if pairs]


def _pairs(rows: pd.DataFrame) -> str:
    return "; ".join(f"{row['first']} and {row['second']}" for _, row in rows.iterrows())


def strengths(trials: pd.DataFrame, paths: Sequence[str] = STRENGTHS) -> pd.DataFrame:
    """Return the smallest and the largest value of each path, one row per arm.

    Args:
        trials: one row per trial, from ``analysis.data.frames.load``.
        paths: dotted paths; a path that no arm varies is left out.
    """
    columns = {f"params.{path}": path for path in paths if f"params.{path}" in trials}
    of_arm = trials.groupby("arm", observed=True)
    ends = {f"{path} {end}": of_arm[column].agg(end) for column, path in columns.items() for end in ("min", "max")}
    return pd.DataFrame(ends, index=of_arm.size().index)
