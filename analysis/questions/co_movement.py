"""What the study ``co_movement`` says: whether gains over networks come and go together.

All quantities are turned so that lower is better: two gains that come together are correlated positively.
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
"""Quantities of the evaluation; signed ECE is shown beside the others, but neither of its ends is a gain."""

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
"""Quantities by the names under which they are compared; "missed" is 1 - AUROC."""

STRENGTHS = ("mix.apply.prob", "mix.size.alpha", "mix.size.frac")
"""Dotted paths that say how strongly an arm mixes."""

Kind = Literal["pooled", "within arms", "given the error"]

POOLED: Kind = "pooled"
WITHIN: Kind = "within arms"
GIVEN: Kind = "given the error"
"""What is correlated: all trials; what differs from each arm's median; of that, what the error does not explain."""


def gains(values: pd.DataFrame) -> pd.DataFrame:
    """Turn what was measured into quantities that are better when lower.

    Args:
        values: one row a trial, with columns ``MEASURED``, as from :func:`analysis.data.evaluations.values_of`.

    Returns:
        One row a trial: ``trial``, ``arm``, and a column for each name of ``GAINS`` that was measured on any trial.
    """
    turned = {
        name: 1 - values[column] if "auroc" in column else values[column]
        for name, column in GAINS.items()
        if values[column].notna().any()
    }
    return values[["trial", "arm"]].join(pd.DataFrame(turned, index=values.index))


def relations(table: pd.DataFrame, *, kind: Kind, confidence: float = 0.95) -> pd.DataFrame:
    """Correlate every pair of gains.

    Args:
        table: from :func:`gains`.
        kind: what is correlated.
        confidence: level of each interval.

    Returns:
        One row a pair, as :func:`analysis.plots.correlations` draws them: ``first``, ``second``, ``correlation`` (of
        ranks), ``low``, ``high``, ``n`` (trials that have both), ``verdict``, ``within_arms``, ``given``
        (what is held fixed), ``kind`` and ``confidence``. Given the error, pairs with the error itself are left out.
    """
    names = [str(name) for name in table.columns.drop(["trial", "arm"])]
    others = [name for name in names if name != "error"] if kind == GIVEN else names
    pairs = list(combinations(others, 2)) if kind != GIVEN or "error" in names else []
    rows = [_related(table, first, second, kind=kind, confidence=confidence) for first, second in pairs]
    columns = ["first", "second", "correlation", "low", "high", "n", "verdict"]
    found = pd.DataFrame(rows, columns=columns)
    given = "the error" if kind == GIVEN else ""
    return found.assign(within_arms=kind != POOLED, given=given, kind=kind, confidence=confidence)


def _related(table: pd.DataFrame, first: str, second: str, *, kind: Kind, confidence: float) -> tuple[Any, ...]:
    found = partial_rank_correlation(
        table[first],
        table[second],
        groups=None if kind == POOLED else table["arm"],
        given=table["error"] if kind == GIVEN else None,
        confidence=confidence,
    )
    return first, second, found.value, found.low, found.high, found.n[0], found.verdict


def decided(table: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Compare what the study asks: each gain with the error within arms, and the others' pairs given the error.

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


def verdict(found: pd.DataFrame) -> list[str]:
    """Answer the study's question in sentences.

    Args:
        found: from :func:`decided`.
    """
    if found["verdict"].isin([TOO_FEW]).all():  # of none at all as well
        return ["Undecided: too few trials have been measured on two axes."]
    with_error, given = found[found["kind"] == WITHIN], found[found["kind"] == GIVEN]
    together, n_decided = with_error["verdict"] == HIGHER, found["verdict"].isin([LOWER, HIGHER]).sum()
    return [
        *_sentences(with_error, "Within arms"),
        *_sentences(given, "Given the error, within arms"),
        f"{together.sum()} of {len(with_error)} gains come together with a lower error; of the {len(given)} pairs of "
        f"the others, {(given['verdict'] == HIGHER).sum()} come together beyond what the error explains.",
        f"Decided: {n_decided} of {len(found)} relations, by rank correlations whose intervals have a joint level of "
        f"{found['confidence'].iloc[0]:.0%} (Bonferroni).",
    ]


def _sentences(rows: pd.DataFrame, where: str) -> list[str]:
    words = {HIGHER: "come and go together", LOWER: "are traded for one another"}
    said = [
        f"{where}, {row['first']} and {row['second']} {words[row['verdict']]} (rank correlation "
        f"{row['correlation']:+.2f}, interval {row['low']:+.2f} to {row['high']:+.2f}, n = {row['n']})."
        for _, row in rows.iterrows()
        if row["verdict"] in words
    ]
    rest = {word: _pairs(rows[rows["verdict"] == word]) for word in (UNDECIDED, TOO_FEW)}
    return said + [f"{where}, {word}: {pairs}." for word, pairs in rest.items() if pairs]


def _pairs(rows: pd.DataFrame) -> str:
    return "; ".join(f"{row['first']} and {row['second']}" for _, row in rows.iterrows())


def strengths(trials: pd.DataFrame, paths: Sequence[str] = STRENGTHS) -> pd.DataFrame:
    """Return how widely each arm's strength was drawn: a row an arm, and the least and greatest value of each path.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        paths: dotted paths; one that no arm draws is left out.
    """
    known = {f"params.{path}": path for path in paths if f"params.{path}" in trials}
    of_arm = trials.groupby("arm", observed=True)
    ends = {f"{path} {end}": of_arm[column].agg(end) for column, path in known.items() for end in ("min", "max")}
    return pd.DataFrame(ends, index=of_arm.size().index)
