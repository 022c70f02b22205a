"""What the study ``mask_shape`` says: how arms differ from a rectangle, seed by seed, and at which dose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.statistics import HIGHER, LOWER, TOO_FEW, bootstrap
from sweep.records.summary import Metric, metric_words

REFERENCE = "box"
"""The arm that the others are compared with."""

DOSES = {
    "dose_exposure": "exposure",
    "dose_pasted_frac": "pasted area",
    "dose_label_entropy": "label entropy",
    "dose_boundary_px": "border, px",
}
"""Columns of the records that say how much an arm mixes, and their words."""


def doses(trials: pd.DataFrame) -> pd.DataFrame:
    """Return each arm's mean dose over its trials: one row an arm, one column a dose.

    Args:
        trials: one row a trial, as from ``analysis.frames.load``.
    """
    columns = [name for name in DOSES if name in trials]
    return trials.groupby("arm", observed=True)[columns].mean().rename(columns=DOSES)


def effects(
    trials: pd.DataFrame,
    *,
    rng: np.random.Generator,
    metric: str = "val_top1_error",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare every arm with the reference over pairs of trials that share their seed.

    Only completed trials at their last planned epoch count. All intervals together have the level
    ``confidence`` (Bonferroni).

    Args:
        trials: one row a trial, as from ``analysis.frames.load``.
        rng: source of the bootstrap resamples.
        metric: what is compared, lower is better.
        confidence: joint level of all intervals.

    Returns:
        One row an arm: ``arm``, ``estimate`` (mean difference arm - reference), ``low``, ``high``, ``n_pairs``,
        ``verdict``, ``confidence`` (joint) and ``metric``.
    """
    metric_words(metric)
    final = trials.pivot_table(index="replicate", columns="arm", values=f"final_{metric}", observed=True)
    others = [arm for arm in final if arm != REFERENCE] if REFERENCE in final else []
    level = 1 - (1 - confidence) / max(len(others), 1)
    rows = [_row(str(arm), final[arm] - final[REFERENCE], rng, level) for arm in others]
    columns = ["arm", "estimate", "low", "high", "n_pairs", "verdict"]
    return pd.DataFrame(rows, columns=columns).assign(confidence=confidence, metric=metric)


def _row(arm: str, differences: pd.Series[Any], rng: np.random.Generator, level: float) -> dict[str, Any]:
    # a joint level has thin tails: enough resamples that some tens of them lie in each
    estimate = bootstrap(differences, rng=rng, statistic="mean", confidence=level, resamples=10_000)
    return {
        **{"arm": arm, "estimate": estimate.value, "low": estimate.low, "high": estimate.high},
        **{"n_pairs": estimate.n[0], "verdict": estimate.verdict},
    }


def verdict(effects: pd.DataFrame) -> list[str]:
    """Answer the study's question: a sentence an arm, then one that says what they are worth.

    Args:
        effects: as from the function ``effects``.
    """
    if effects.empty or effects["verdict"].isin([TOO_FEW]).all():
        return ["Undecided: too few pairs of trials have completed for any interval."]
    words = metric_words(effects["metric"].iloc[0])
    decided = int(effects["verdict"].isin([LOWER, HIGHER]).sum())
    return [
        *(_sentence(row, words) for _, row in effects.iterrows()),
        f"Decided: {decided} of {len(effects)} comparisons, at a joint level of {effects['confidence'].iloc[0]:.0%}; "
        "all compare validation values.",
    ]


def _sentence(row: pd.Series[Any], words: Metric) -> str:
    arm, n = row["arm"], f"n = {row['n_pairs']} pairs"
    if row["verdict"] == TOO_FEW:
        return f"Whether {arm} and {REFERENCE} differ is undecided ({n}: too few for an interval, or all alike)."
    estimate, low, high = (f"{row[end] * words.factor:+.2f}" for end in ("estimate", "low", "high"))
    evidence = f"difference in {words.difference_unit} {estimate}, interval {low} to {high}, {n}"
    if row["verdict"] in (LOWER, HIGHER):
        return f"{arm} has a {row['verdict']} {words.name} than {REFERENCE} ({evidence})."
    return f"Whether {arm} and {REFERENCE} differ in {words.name} is undecided ({evidence})."
