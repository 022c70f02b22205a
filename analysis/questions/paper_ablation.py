"""Answers of the study ``paper_ablation``: which claims of the paper's ablation table survive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.data.frames import Sweep
from analysis.data.grid import ERROR, by_seed
from analysis.published import compare_to_published, load_published, published_name
from analysis.statistics import HIGHER, LOWER, TOO_FEW, WITHIN
from sweep.findings.confirmed import test_values
from sweep.findings.student_t import detectable_points

REFERENCE = "cutmix"
"""Arm that the paper's variants are compared with."""

VARIED = ("mix.position.sigma_frac", "mix.layer")
"""Parameters of a variant that the paper does not state: each value is compared separately."""

BEST = "best_val_top1_error"
"""Column with the lowest error of all epochs; the paper reports it on test images."""

PUBLISHED_SEEDS = 3

SOURCES = (("cifar100", "pyramidnet200_a240_bn"), ("imagenet", "resnet50"))
"""Data set and network of the claims; the second is used if the first has no number."""

SURVIVES, REVERSED, NONE, UNDECIDED = "survives", "is reversed", "does not survive", "is undecided"

SERIES = ("own, last epoch", "own, best epoch", "published, best epoch on test")


def with_best_epoch(trials: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Join to each completed trial the lowest validation error of its epochs, and the gap to the last epoch.

    Args:
        trials: one row per trial, from ``analysis.data.frames.load``.
        epochs: one row per trial and epoch, from the same function.

    Returns:
        The trials with ``best_val_top1_error`` and ``best_epoch_gap`` (last - best); NaN unless completed.
    """
    lowest = trials["trial"].map(epochs.groupby("trial")["val_top1_error"].min()).astype(float)
    best = lowest.where(trials[ERROR].notna())
    return trials.assign(**{BEST: best, "best_epoch_gap": trials[ERROR] - best})


def best_epoch_gaps(trials: pd.DataFrame) -> pd.DataFrame:
    """Estimate by how much the choice of the best epoch lowers the error of each arm.

    Args:
        trials: from :func:`with_best_epoch`.

    Returns:
        One row per arm: ``arm``, ``n`` (seeds), ``estimate`` with its 95 % t interval ``low`` and ``high``.
    """
    means = statistics.means(by_seed(trials, value="best_epoch_gap"), value="best_epoch_gap", metric=ERROR)
    return means.sort_values("arm").reset_index(drop=True)[["arm", "n", "estimate", "low", "high"]]


def claims(differences: pd.DataFrame, *, published: pd.DataFrame | None = None) -> pd.DataFrame:
    """Compare the difference of each arm to CutMix with the published one, and judge the claim.

    Args:
        differences: to ``cutmix``, from ``grid.arm_differences``; arms may be split by the parameters ``VARIED``.
        published: from :func:`analysis.published.load_published`; None loads it.

    Returns:
        One row per arm with a published number: ``arm``, ``published_change`` (fraction; above 0: worse than CutMix),
        its ``dataset`` and ``model``, ``estimate``, ``low``, ``high``, ``n_pairs``, ``p_holm``, ``margin``,
        ``holds_published`` (whether the interval contains the published difference) and ``claim``: ``survives``
        (decided, with the same sign), ``is reversed``, ``does not survive`` (no difference larger than the margin),
        ``is undecided``, or ``too few``.
    """
    table = load_published() if published is None else published
    changes = [(row, _published(row["arm"], table)) for row in differences.to_dict("records")]
    matched = [{**row, **change} for row, change in changes if change]
    rows = pd.DataFrame(matched, columns=[*differences, "published_change", "dataset", "model"])
    inside = (rows["low"] <= rows["published_change"]) & (rows["published_change"] <= rows["high"])
    claim = [_claim(*row) for row in rows[["verdict", "published_change"]].itertuples(index=False)]
    columns = ["arm", "published_change", "dataset", "model", "estimate", "low", "high", "n_pairs", "p_holm", "margin"]
    return rows[columns].assign(holds_published=inside, claim=pd.Series(claim, index=rows.index, dtype=object))


def _published(arm: str, published: pd.DataFrame) -> dict[str, Any] | None:
    """Return the published difference of the arm, split or not, to CutMix, with its data set and network."""
    preset = published_name(str(arm).partition(",")[0])
    errors = published[published["metric"] == "top1_error"]
    for dataset, model in SOURCES:
        values = errors[(errors["dataset"] == dataset) & (errors["model"] == model)].set_index("arm")["value"]
        if preset in values and REFERENCE in values:
            change = (values[preset] - values[REFERENCE]) / 100
            return {"published_change": float(change), "dataset": dataset, "model": model}
    return None


def _claim(verdict: str, published_change: float) -> str:
    if verdict in (LOWER, HIGHER):
        return SURVIVES if (verdict == HIGHER) == (published_change > 0) else REVERSED
    return {WITHIN: NONE, TOO_FEW: TOO_FEW}.get(verdict, UNDECIDED)


def beside_published(confirm: Sweep) -> pd.DataFrame:
    """Compare the test errors of a confirmation with those published on CIFAR-100; no rows without a confirmation.

    Args:
        confirm: the sweep, loaded with ``phase="confirm"``.
    """
    done = set(confirm.trials.loc[confirm.trials["status"] == "completed", "trial"])
    if not done & set(test_values(confirm.evaluations)["trial"]):
        return pd.DataFrame(columns=["arm", "own", "low", "high", "seeds", "published", "own_change", "differs"])
    table = compare_to_published(confirm, dataset=SOURCES[0][0])
    return table[table["metric"] == "top1_error"].reset_index(drop=True)


def series(last: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """Join differences to CutMix for a figure: by the last epoch, by the best epoch, and as published.

    Args:
        last: from :func:`claims`, by the last epoch.
        best: from :func:`claims`, by the best epoch.

    Returns:
        One row per arm and series: ``arm``, ``series``, ``estimate``, ``low``, ``high`` (NaN if published) and ``n``.
    """
    measured = [rows.rename(columns={"n_pairs": "n"}) for rows in (last, best)]
    published = last[["arm"]].assign(estimate=last["published_change"], low=np.nan, high=np.nan, n=PUBLISHED_SEEDS)
    parts = [rows.assign(series=name) for name, rows in zip(SERIES, [*measured, published], strict=True)]
    return pd.concat([part[["arm", "series", "estimate", "low", "high", "n"]] for part in parts], ignore_index=True)


def three_seeds(trials: pd.DataFrame) -> float:
    """Return the smallest difference that three seeds per arm, the paper's number, would detect.

    Args:
        trials: one row per trial, from ``analysis.data.frames.load``, arms split by their parameters.

    Returns:
        A fraction, for a two-sided t-test at 5 % with a power of 80 % and the SD between seeds within arms; NaN if no
        arm has two seeds.
    """
    seeds = by_seed(trials).dropna(subset=[ERROR]).groupby("arm", observed=True)[ERROR]
    df = (seeds.count() - 1).sum()
    if df < 1:
        return float("nan")
    sd = float(np.sqrt(((seeds.count() - 1) * seeds.var().fillna(0.0)).sum() / df))
    return detectable_points(PUBLISHED_SEEDS, sd_points=sd, paired=False) if sd > 0 else float("nan")


def verdict(last: pd.DataFrame, best: pd.DataFrame, *, least: float = float("nan")) -> list[str]:
    """Return the sentences on each published claim, and on the effect of the best epoch and of three seeds.

    Args:
        last: from :func:`claims`, by the last epoch.
        best: from :func:`claims`, by the best epoch.
        least: from :func:`three_seeds`.
    """
    if last["claim"].isin([TOO_FEW]).all():
        return ["Undecided: too few pairs of trials have completed for any interval."]
    decided = int(last["claim"].isin([SURVIVES, REVERSED, NONE]).sum())
    return [
        *sentences(last),
        _choice(last, best),
        *_least(last, least),
        f"Decided: {decided} of {len(last)} claims, by the last epoch.",
    ]


def sentences(claims: pd.DataFrame) -> list[str]:
    """Return one sentence per claim: whether it survives, with the evidence.

    Args:
        claims: from :func:`claims`.
    """
    return [_sentence(row) for _, row in claims.iterrows()]


def _sentence(row: pd.Series[Any]) -> str:
    relation = "worse" if row["published_change"] > 0 else "better"
    published = f"{100 * row['published_change']:+.2f} points on {row['dataset']}, {row['model']}"
    claim = f"That {row['arm']} is {relation} than {REFERENCE} ({published})"
    if row["claim"] == TOO_FEW:
        return f"{claim} is undecided (n = {row['n_pairs']} pairs: too few)."
    why = f": no difference larger than {100 * row['margin']:.3g} points" if row["claim"] == NONE else ""
    estimate, low, high = (f"{100 * row[end]:+.2f}" for end in ("estimate", "low", "high"))
    size = "" if row["holds_published"] else "; the published difference lies outside"
    return (
        f"{claim} {row['claim']}{why} (difference in points {estimate}, interval {low} to {high}{size}, "
        f"n = {row['n_pairs']} pairs)."
    )


def _choice(last: pd.DataFrame, best: pd.DataFrame) -> str:
    both = last[["arm", "claim"]].merge(best[["arm", "claim"]], on="arm", suffixes=("_last", "_best"))
    moved = both[both["claim_last"] != both["claim_best"]]
    named = [f"{row.arm} ({row.claim_best} instead of {row.claim_last})" for row in moved.itertuples()]
    if not named:
        return "With the best epoch on validation images instead of the last one, no claim would have another result."
    head = "With the best epoch on validation images instead of the last one, these claims have another result"
    return f"{head}: {', '.join(named)}."


def _least(last: pd.DataFrame, least: float) -> Sequence[str]:
    if not np.isfinite(least):
        return []
    variants = last.assign(published=last["arm"].astype(str).str.partition(",")[0]).drop_duplicates("published")
    small = list(variants["published"][variants["published_change"].abs() < least])
    named = f"; published differences smaller than that: {', '.join(small)}" if small else ""
    return [
        f"With the SD between seeds of this sweep, {PUBLISHED_SEEDS} seeds per arm detect a difference of "
        f"{100 * least:.2f} points or more (power 80 %){named}."
    ]
