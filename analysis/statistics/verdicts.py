"""What a table of paired differences says, in sentences that change with it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.statistics.comparisons import COLUMNS, WITHIN
from analysis.statistics.estimates import HIGHER, LOWER, TOO_FEW, UNDECIDED
from sweep.findings.summary import Metric, metric_label

_SMALL_P = 0.001
"""Below it a p-value says no more than that."""


def verdict(differences: pd.DataFrame, *, metric: str | Metric) -> list[str]:
    """Answer a comparison: a sentence an arm, then one that says how many were decided and at which level.

    Args:
        differences: from :func:`analysis.statistics.comparisons.paired_differences`.
        metric: what was compared: its name in the records, or how it is called and printed.

    Raises:
        ValueError: an unknown metric.
    """
    words = metric_label(metric) if isinstance(metric, str) else metric
    if differences["verdict"].isin([TOO_FEW]).all():  # of none at all as well
        return ["Undecided: too few pairs of trials have completed for any interval."]
    decided = int(differences["verdict"].isin([LOWER, HIGHER, WITHIN]).sum())
    families = [column for column in differences if column not in COLUMNS]
    each = f" of each {' and '.join(map(str, families))}" if families else ""
    return [
        *(_family(row, families) + _sentence(row, words) for _, row in differences.iterrows()),
        f"Decided: {decided} of {len(differences)} comparisons, by t-tests of pairs with Holm's correction at a joint "
        f"level of {differences['confidence'].iloc[0]:.0%}{each}; intervals hold all at once (Bonferroni).",
    ]


def summary_line(differences: pd.DataFrame) -> str:
    """Return what one family of comparisons says in a clause: ``cutmix lower than off; cutout, mixup undecided``.

    Args:
        differences: of one family, from :func:`analysis.statistics.comparisons.paired_differences`.
    """
    ended = {str(word): ", ".join(map(str, rows["arm"])) for word, rows in differences.groupby("verdict")}
    baseline = differences["baseline"].iloc[0] if len(differences) else ""
    said = [f"{ended[word]} {word} than {baseline}" for word in (LOWER, HIGHER) if word in ended]
    said += [f"{ended[WITHIN]} within the margin of {baseline}"] if WITHIN in ended else []
    said += [f"{ended[UNDECIDED]} undecided"] if UNDECIDED in ended else []
    said += [f"of {ended[TOO_FEW]} too few pairs"] if TOO_FEW in ended else []
    return "; ".join(said) or "nothing to compare"


def _family(row: pd.Series[Any], families: list[Any]) -> str:
    return f"{', '.join(f'{name} {row[name]}' for name in families)}: " if families else ""


def _sentence(row: pd.Series[Any], words: Metric) -> str:
    return f"{_claim(row, words)} ({_evidence(row, words)})."


def _claim(row: pd.Series[Any], words: Metric) -> str:
    arm, baseline = row["arm"], row["baseline"]
    margin = f"{row['margin'] * words.factor:.3g} {words.difference_unit}".rstrip()
    if row["verdict"] == WITHIN:
        return f"{arm} and {baseline} show no difference in {words.name} larger than {margin}"
    if row["verdict"] in (LOWER, HIGHER):
        small = f", though by less than {margin}" if row["p_within"] <= 1 - row["confidence"] else ""
        return f"{arm} has a {row['verdict']} {words.name} than {baseline}{small}"
    return f"Whether {arm} and {baseline} differ in {words.name} is undecided"


def _evidence(row: pd.Series[Any], words: Metric) -> str:
    n = f"n = {row['n_pairs']} pairs"
    if row["verdict"] == TOO_FEW:
        return f"{n}: too few for an interval, or all alike"
    estimate, low, high = (f"{row[end] * words.factor:+.2f}" for end in ("estimate", "low", "high"))
    unit = f" in {words.difference_unit}" if words.difference_unit else ""
    of_test = row["p_within" if row["verdict"] == WITHIN else "p_holm"]
    p = f"p = {of_test:.2g}" if of_test >= _SMALL_P else f"p < {_SMALL_P}"
    return f"difference{unit} {estimate}, interval {low} to {high}, {n}, {p}"
