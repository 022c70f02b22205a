"""Answers of the study ``alpha_prob``: how the error depends on alpha, on prob and on the rule at the border."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.statistics import HIGHER, LOWER, TOO_FEW, difference, rank_correlation
from sweep.findings.summary import Metric, metric_label
from sweep.records.schema import COMPLETED, STOPPED

ARM = "cutmix"
NUMBERS = {"alpha": "mix.size.alpha", "prob": "mix.apply.prob"}
POSITION = "mix.position.kind"

LAST = "the last planned epoch"

ARMS, POSITIONS, RESPONSE = "arms", "positions", "response"
"""Kinds of comparison: cutmix with another arm, two of its rules at the border, or its error over a number."""


class _Comparison(NamedTuple):
    kind: str
    when: str
    first: str
    second: str
    x: pd.Series[Any]
    y: pd.Series[Any]


def effects(
    trials: pd.DataFrame,
    epochs: pd.DataFrame,
    *,
    rng: np.random.Generator,
    metric: str = "val_top1_error",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare the arms, and the values of each parameter that the study varies.

    Arms are compared over completed trials at their last planned epoch. Positions, alpha and prob of the cutmix arm are
    compared twice: there, and at the last epoch that all its trials reached, where none had been stopped. All intervals
    have the joint level ``confidence`` (Bonferroni).

    Args:
        trials: one row per trial, from ``analysis.data.frames.load``.
        epochs: one row per trial and epoch, from the same function.
        rng: source of the bootstrap resamples.
        metric: metric that is compared, lower is better.
        confidence: joint level of all intervals.

    Returns:
        One row per comparison: ``kind`` (``arms`` and ``positions``: ``estimate`` is the difference of medians
        ``first`` - ``second``; ``response``: the rank correlation of ``first`` with ``second``), ``when``,
        ``first``, ``second``, ``estimate``, ``low``, ``high``, ``n_first``, ``n_second``, ``verdict``,
        ``confidence`` (joint) and ``metric``.
    """
    metric_label(metric)
    comparisons = [*_arms(trials, metric), *_within(trials, epochs, metric)]
    level = 1 - (1 - confidence) / max(len(comparisons), 1)
    rows = [_row(comparison, rng, level) for comparison in comparisons]
    return pd.DataFrame(rows, columns=_COLUMNS).assign(confidence=confidence, metric=metric)


_COLUMNS = ["kind", "when", "first", "second", "estimate", "low", "high", "n_first", "n_second", "verdict"]


def _arms(trials: pd.DataFrame, metric: str) -> Iterator[_Comparison]:
    final = {str(arm): rows[f"final_{metric}"] for arm, rows in trials.groupby("arm", observed=True)}
    cutmix = final.pop(ARM, None)
    if cutmix is not None:
        for other, values in final.items():
            yield _Comparison(ARMS, LAST, ARM, other, cutmix, values)


def _within(trials: pd.DataFrame, epochs: pd.DataFrame, metric: str) -> Iterator[_Comparison]:
    cutmix = trials[trials["arm"] == ARM]
    if cutmix.empty:
        return
    yield from _over_parameters(cutmix, cutmix[f"final_{metric}"], LAST)
    reached = epochs.groupby("trial")["epoch"].max().reindex(cutmix["trial"]).to_numpy()
    stopped = (cutmix["status"] == STOPPED).to_numpy()
    # without a stopped trial the last common epoch is the last planned one
    if stopped.any():
        common = int(reached[(cutmix["status"].isin([COMPLETED, STOPPED])).to_numpy()].min())
        at_common = epochs[epochs["epoch"] == common].set_index("trial")[metric]
        yield from _over_parameters(cutmix, cutmix["trial"].map(at_common), f"epoch {common}")


def _over_parameters(cutmix: pd.DataFrame, values: pd.Series[Any], when: str) -> Iterator[_Comparison]:
    if f"params.{POSITION}" in cutmix:
        choices = cutmix[f"params.{POSITION}"]
        for first, second in combinations(sorted(choices.dropna().unique()), 2):
            pair = (values[choices == first], values[choices == second])
            yield _Comparison(POSITIONS, when, first, second, *pair)
    for name, path in NUMBERS.items():
        if f"params.{path}" in cutmix:
            yield _Comparison(RESPONSE, when, name, "value", cutmix[f"params.{path}"], values)


def _row(comparison: _Comparison, rng: np.random.Generator, level: float) -> dict[str, Any]:
    compare = rank_correlation if comparison.kind == RESPONSE else difference
    # a joint level has thin tails: with so many resamples, a few tens of them lie in each
    estimate = compare(comparison.x, comparison.y, rng=rng, confidence=level, resamples=10_000)
    return {
        **{name: getattr(comparison, name) for name in ("kind", "when", "first", "second")},
        **{"estimate": estimate.value, "low": estimate.low, "high": estimate.high},
        **{"n_first": estimate.n[0], "n_second": estimate.n[-1], "verdict": estimate.verdict},
    }


def verdict(effects: pd.DataFrame) -> list[str]:
    """Return the sentences that answer the study's question: one per comparison, then one of caution.

    Args:
        effects: from the function ``effects``.
    """
    if effects["verdict"].isin([TOO_FEW]).all():
        return ["Undecided: too few trials have completed for any interval."]
    label = metric_label(effects["metric"].iloc[0])
    tested = effects[effects["verdict"] != TOO_FEW]
    decided = int(tested["verdict"].isin([LOWER, HIGHER]).sum())
    return [
        *(_sentence(row, label) for _, row in tested.iterrows()),
        *_too_few(effects[effects["verdict"] == TOO_FEW]),
        f"Decided: {decided} of {len(effects)} comparisons, at a joint level of "
        f"{100 * effects['confidence'].iloc[0]:.0f} %. All compare validation values. The comparisons at the last "
        "planned epoch contain only the trials that early stopping let finish.",
    ]


def _too_few(effects: pd.DataFrame) -> Iterator[str]:
    """Yield one sentence per epoch on the comparisons with too few trials for an interval, or with equal values."""
    for when, rows in effects.groupby("when", sort=False):
        named = [
            f"{row['first']} (n = {row['n_first']})"
            if row["kind"] == RESPONSE
            else f"{row['first']} against {row['second']} (n = {row['n_first']} and {row['n_second']})"
            for _, row in rows.iterrows()
        ]
        yield f"Undecided at {when}, because of too few trials or equal values: {', '.join(named)}."


def _sentence(row: pd.Series[Any], label: Metric) -> str:
    claim = _response_claim(row, label) if row["kind"] == RESPONSE else _difference_claim(row, label)
    return f"At {row['when']}, {claim} ({_evidence(row, label)})."


def _response_claim(row: pd.Series[Any], label: Metric) -> str:
    if row["verdict"] in (LOWER, HIGHER):
        return f"{label.name} {'falls' if row['verdict'] == LOWER else 'rises'} with {row['first']}"
    return f"whether {label.name} depends on {row['first']} is undecided"


def _difference_claim(row: pd.Series[Any], label: Metric) -> str:
    if row["verdict"] in (LOWER, HIGHER):
        return f"{row['first']} has a {row['verdict']} median {label.name} than {row['second']}"
    return f"whether {row['first']} and {row['second']} differ in median {label.name} is undecided"


def _evidence(row: pd.Series[Any], label: Metric) -> str:
    is_response = row["kind"] == RESPONSE
    n = f"n = {row['n_first']}" if is_response else f"n = {row['n_first']} and {row['n_second']}"
    name = "rank correlation" if is_response else f"difference in {label.difference_unit}"
    factor = 1.0 if is_response else label.factor
    estimate, low, high = (f"{row[end] * factor:+.2f}" for end in ("estimate", "low", "high"))
    return f"{name} {estimate}, interval {low} to {high}, {n}"
