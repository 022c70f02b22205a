"""Sentences that state the results of a table of paired differences."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd

from analysis.statistics.comparisons import COLUMNS, WITHIN
from analysis.statistics.estimates import HIGHER, LOWER, TOO_FEW, UNDECIDED
from sweep.findings.summary import Metric, metric_label

_SMALL_P = 0.001
"""A smaller p-value is printed as below this one."""


Subjects = Callable[[str, str], tuple[str, str]]
"""Names of an arm and of the baseline in a sentence."""


def verdict(
    differences: pd.DataFrame, *, metric: str | Metric, subjects: Subjects | None = None, pairs: str = "pairs"
) -> list[str]:
    """Return one sentence per arm, then a sentence with the number of decided comparisons and their level.

    Args:
        differences: from :func:`analysis.statistics.comparisons.paired_differences`.
        metric: the metric that was compared: its name in the records, or its label.
        subjects: how a sentence names an arm and the baseline, a name with a clause ending with a comma; None uses
            the names alone.
        pairs: what ``n`` counts, in the plural.

    Raises:
        ValueError: an unknown metric.

    Examples:
        >>> from analysis.statistics import paired_differences
        >>> table = pd.DataFrame(
        ...     {
        ...         "arm": ["off", "off", "off", "cutmix", "cutmix", "cutmix"],
        ...         "replicate": [0, 1, 2, 0, 1, 2],
        ...         "error": [0.30, 0.32, 0.31, 0.25, 0.26, 0.27],
        ...     }
        ... )
        >>> sentences = verdict(paired_differences(table, value="error", baseline="off"), metric="val_top1_error")
        >>> print(sentences[0])
        cutmix has a lower validation top-1 error than off (difference in points -5.00, interval -7.48 to -2.52,
        n = 3 pairs, p = 0.013).
    """
    label = metric_label(metric) if isinstance(metric, str) else metric
    if differences["verdict"].isin([TOO_FEW]).all():  # also if there is no comparison
        return ["Undecided: too few pairs of trials have completed for any interval."]
    decided = int(differences["verdict"].isin([LOWER, HIGHER, WITHIN]).sum())
    families = [column for column in differences if column not in COLUMNS]
    each = f" per {' and '.join(map(str, families))}" if families else ""
    return [
        *(_family(row, families) + _sentence(row, label, subjects, pairs) for _, row in differences.iterrows()),
        f"Decided: {decided} of {len(differences)} comparisons, by paired t-tests with Holm's correction at a joint "
        f"level of {100 * differences['confidence'].iloc[0]:.0f} %{each}; intervals are joint (Bonferroni).",
    ]


def summary_line(differences: pd.DataFrame) -> str:
    """Return the results of one family of comparisons in one line.

    Args:
        differences: one family from :func:`analysis.statistics.comparisons.paired_differences`.

    Examples:
        >>> verdicts = {"cutmix": "lower", "cutout": "undecided", "mixup": "undecided"}
        >>> table = pd.DataFrame({"arm": verdicts.keys(), "verdict": verdicts.values(), "baseline": "off"})
        >>> summary_line(table)
        'cutmix lower than off; cutout, mixup undecided'
    """
    arms = {str(verdict): ", ".join(map(str, rows["arm"])) for verdict, rows in differences.groupby("verdict")}
    baseline = differences["baseline"].iloc[0] if len(differences) else ""
    clauses = [f"{arms[verdict]} {verdict} than {baseline}" for verdict in (LOWER, HIGHER) if verdict in arms]
    clauses += [f"{arms[WITHIN]} within the margin of {baseline}"] if WITHIN in arms else []
    clauses += [f"{arms[UNDECIDED]} undecided"] if UNDECIDED in arms else []
    clauses += [f"too few pairs for {arms[TOO_FEW]}"] if TOO_FEW in arms else []
    return "; ".join(clauses) or "nothing to compare"


def _family(row: pd.Series[Any], families: list[Any]) -> str:
    return f"{', '.join(f'{name} {row[name]}' for name in families)}: " if families else ""


def _sentence(row: pd.Series[Any], label: Metric, subjects: Subjects | None, pairs: str) -> str:
    arm, baseline = str(row["arm"]), str(row["baseline"])
    claim = _claim(row, label, *(subjects(arm, baseline) if subjects else (arm, baseline)))
    # only an article begins with a capital letter, a name stays as it is
    return f"{re.sub('^the ', 'The ', claim)} ({_evidence(row, label, pairs)})."


def _claim(row: pd.Series[Any], label: Metric, arm: str, baseline: str) -> str:
    margin = f"{row['margin'] * label.factor:.3g} {label.difference_unit}".rstrip()
    if row["verdict"] == WITHIN:
        return f"{arm} and {baseline} show no difference in {label.name} larger than {margin}"
    if row["verdict"] in (LOWER, HIGHER):
        small = f", though by less than {margin}" if row["p_within"] <= 1 - row["confidence"] else ""
        return f"{arm} has a {row['verdict']} {label.name} than {baseline.removesuffix(',')}{small}"
    return f"Whether {arm} and {baseline} differ in {label.name} is undecided"


def _evidence(row: pd.Series[Any], label: Metric, pairs: str) -> str:
    n = f"n = {row['n_pairs']} {pairs}"
    if row["verdict"] == TOO_FEW:
        return f"{n}: too few for an interval, or equal differences"
    estimate, low, high = (f"{row[end] * label.factor:+.2f}" for end in ("estimate", "low", "high"))
    unit = f" in {label.difference_unit}" if label.difference_unit else ""
    p_value = row["p_within" if row["verdict"] == WITHIN else "p_holm"]
    p = f"p = {p_value:.2g}" if p_value >= _SMALL_P else f"p < {_SMALL_P}"
    return f"difference{unit} {estimate}, interval {low} to {high}, {n}, {p}"
