"""Answers of the study ``budget``: at which number of epochs a gain turns into a loss, or a loss into a gain.

Runs of several planned lengths are compared with those of the baseline with the same length, fraction of the images and
seed. Between planned lengths, the difference and the ends of its interval are interpolated by a straight line over the
logarithm of the epochs. The intervals at the planned lengths have a joint level (Bonferroni), so the band between them
has it as well. The interval of a crossing is the range in which this band contains zero. It is valid for any number of
seeds from two; a bootstrap interval of three seeds is too narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.data.grid import ERROR, drawn, text_of
from sweep.findings.student_t import MIN_SEEDS, ci_half_width

EPOCHS, SHARE = "optimizer.max_epochs", "data.train_frac"

STARTS, STOPS = "starts to help", "stops helping"
THROUGHOUT, HURTS = "helps throughout", "hurts throughout"
UNDECIDED, TOO_FEW = statistics.UNDECIDED, statistics.TOO_FEW
"""Verdicts on an arm over the planned lengths."""

PASSES, IMAGES = "passes", "images shown"
"""What may determine the crossing of an arm: epochs, or epochs times images."""

_POINTS = 600  # if the longest run is 30 times the shortest, neighbouring points differ by 0.6 %

_COLUMNS = [
    *("share", "n_train", "arm", "n", "verdict", "epochs", "low", "high", "images", "images_low", "images_high"),
    *("first_epochs", "last_epochs", "helps", "hurts", "baseline", "confidence"),
]


def curves(
    trials: pd.DataFrame,
    *,
    baseline: str = "off",
    value: str = ERROR,
    confidence: float = 0.95,
    points: int = _POINTS,
) -> pd.DataFrame:
    """Compute the difference to the baseline over the length of a run.

    Args:
        trials: one row per trial, from ``analysis.data.frames.load``.
        baseline: arm that the others are compared with.
        value: column that is compared, lower is better.
        confidence: joint level of all intervals of an arm, over lengths and fractions of the images.
        points: number of lengths from the shortest to the longest.

    Returns:
        One row per fraction, arm and length: ``share`` (fraction of the images), ``n_train`` (images), ``arm``,
        ``epochs``, ``is_planned``, ``estimate`` with ``low`` and ``high``, ``n`` (seeds that have all planned lengths),
        ``baseline`` and ``confidence``. A fraction needs two planned lengths that two seeds have.
    """
    columns = ["share", "n_train", "arm", "epochs", "is_planned", "estimate", "low", "high", "n"]
    shares, epochs = drawn(trials, SHARE).astype(float).fillna(1.0), drawn(trials, EPOCHS).astype(float)
    rows = trials.assign(share=shares, epochs=epochs).dropna(subset=["epochs"])
    if not (rows["arm"] == baseline).any():
        return pd.DataFrame(columns=columns).assign(baseline=baseline, confidence=confidence)
    pairs = statistics.pairs(rows, value=value, baseline=baseline, by=("share", "epochs"))
    n_train, n_planned = rows.groupby("share")["n_train"].max(), len(rows[["share", "epochs"]].drop_duplicates())
    level = 1 - (1 - confidence) / max(n_planned, 1)
    order = pd.CategoricalDtype([str(arm) for arm in trials["arm"].cat.categories], ordered=True)
    groups: Any = pairs.astype({"arm": order}).groupby(["share", "arm"], observed=True)
    parts = [
        _curve(of_arm, level, points).assign(share=share, n_train=n_train[share], arm=arm)
        for (share, arm), of_arm in groups
    ]
    filled = [rows for rows in parts if len(rows)]
    joined = pd.concat(filled, ignore_index=True)[columns] if filled else pd.DataFrame(columns=columns)
    return joined.astype({"arm": order}).assign(baseline=baseline, confidence=confidence)


def _curve(pairs: pd.DataFrame, level: float, points: int) -> pd.DataFrame:
    """Return ``epochs``, ``is_planned``, ``estimate``, ``low``, ``high`` and ``n`` of one arm at one fraction."""
    seeds = pairs.pivot(index="replicate", columns="epochs", values="difference").dropna()
    planned = seeds.columns.to_numpy(float)
    if len(planned) < 2 or len(seeds) < MIN_SEEDS:
        return pd.DataFrame(columns=["epochs", "is_planned", "estimate", "low", "high", "n"])
    lengths = np.union1d(np.geomspace(planned[0], planned[-1], points)[1:-1], planned)
    mean, half = seeds.mean().to_numpy(), ci_half_width(seeds.std().to_numpy(), len(seeds), level=level)
    ends = {"estimate": mean, "low": np.maximum(mean - half, -1.0), "high": np.minimum(mean + half, 1.0)}
    lines = {name: np.interp(np.log(lengths), np.log(planned), at) for name, at in ends.items()}
    return pd.DataFrame({"epochs": lengths, "is_planned": np.isin(lengths, planned), **lines, "n": len(seeds)})


def crossings(curves: pd.DataFrame) -> pd.DataFrame:
    """Find where each arm starts to help and where it stops.

    A crossing is decided where the difference is decided, one way and the other, on its two sides.

    Args:
        curves: from :func:`curves`.

    Returns:
        One row per fraction and arm, or one per crossing if there are several: ``share``, ``n_train``, ``arm``, ``n``
        (seeds), ``verdict`` (``starts to help``, ``stops helping``, ``helps throughout``, ``hurts throughout`` or
        ``undecided``), ``epochs`` of the crossing with ``low`` and ``high``, and the same in ``images`` shown (epochs
        times images; NaN if no crossing is decided), ``first_epochs`` and ``last_epochs`` (planned), ``helps`` and
        ``hurts`` (ranges of epochs in which that is decided, as text), ``baseline`` and ``confidence``.
    """
    rows = []
    for (share, arm), curve in curves.groupby(["share", "arm"], observed=True):
        first = curve.iloc[0]
        facts = {
            **{"share": share, "arm": str(arm), **first[["n_train", "n", "baseline", "confidence"]]},
            **{"first_epochs": curve["epochs"].min(), "last_epochs": curve["epochs"].max()},
            **{"helps": _ranges(curve, curve["high"] < 0), "hurts": _ranges(curve, curve["low"] > 0)},
        }
        for crossing in _crossings(curve):
            scaled = {f"images{end}": crossing.get(name, np.nan) * first["n_train"] for name, end in _ENDS.items()}
            rows.append({**facts, **crossing, **scaled})
    return pd.DataFrame(rows, columns=_COLUMNS)


_ENDS = {"epochs": "", "low": "_low", "high": "_high"}


def _signs(curve: pd.DataFrame) -> np.ndarray:
    """Return -1 where the arm is decided to be lower than the baseline, 1 where higher, otherwise 0."""
    return np.where(curve["high"] < 0, -1, np.where(curve["low"] > 0, 1, 0))


def _runs(marks: Iterable[Any]) -> list[tuple[Any, int, int]]:
    """Return each run of equal marks with the positions of its first and its last mark."""
    runs = [(mark, [place for place, _ in places]) for mark, places in groupby(enumerate(marks), key=lambda at: at[1])]
    return [(mark, places[0], places[-1]) for mark, places in runs]


def _crossings(curve: pd.DataFrame) -> list[dict[str, Any]]:
    epochs, mean, runs = curve["epochs"].to_numpy(float), curve["estimate"].to_numpy(float), _runs(_signs(curve))
    crossings = []
    for (before, _, last), (after, first, _) in pairwise([run for run in runs if run[0]]):
        if before != after:
            verdict, root = STARTS if before > 0 else STOPS, _root(epochs, mean, last, first)
            crossings.append({"verdict": verdict, "epochs": root, "low": epochs[last], "high": epochs[first]})
    if crossings:
        return crossings
    signs = {sign for sign, _, _ in runs}
    return [{"verdict": THROUGHOUT if signs == {-1} else HURTS if signs == {1} else UNDECIDED}]


def _root(epochs: np.ndarray, mean: np.ndarray, first: int, last: int) -> float:
    """Return the epochs at which the mean difference first changes its sign between two positions."""
    change = first + int(np.argmax(np.sign(mean[first : last + 1]) != np.sign(mean[first]))) - 1
    left, right = mean[change], mean[change + 1]
    weight = left / (left - right)
    return float(np.exp((1 - weight) * np.log(epochs[change]) + weight * np.log(epochs[change + 1])))


def _ranges(curve: pd.DataFrame, holds: pd.Series[Any]) -> str:
    epochs = curve["epochs"].to_numpy(float)
    runs = [(epochs[first], epochs[last]) for mark, first, last in _runs(holds.to_numpy()) if mark]
    return ", ".join(f"{low:.3g} to {high:.3g}" if low < high else f"{low:.3g}" for low, high in runs)


def carry_over(crossings: pd.DataFrame) -> pd.DataFrame:
    """Test whether passes over the images or images shown determine the crossing of an arm.

    If passes do, one number of epochs lies in the intervals of all fractions of the images. If there is no such number,
    that is refuted, at the joint level of the intervals. The same holds for the number of images shown.

    Args:
        crossings: from :func:`crossings`.

    Returns:
        One row per arm and direction that crosses at two fractions or more: ``arm``, ``crossing``, ``n_shares``
        (fractions), ``same_passes`` and ``same_images`` (whether one number lies in all intervals), and ``verdict``:
        ``passes``, ``images shown``, ``undecided`` (both possible) or ``neither``.
    """
    rows = []
    decided = crossings[crossings["verdict"].isin([STARTS, STOPS])].drop_duplicates(["share", "arm", "verdict"])
    for (arm, crossing), of_arm in decided.groupby(["arm", "verdict"], sort=False):
        if len(of_arm) < 2:
            continue
        passes = bool(of_arm["low"].max() <= of_arm["high"].min())
        images = bool(of_arm["images_low"].max() <= of_arm["images_high"].min())
        verdict = {(True, True): UNDECIDED, (True, False): PASSES, (False, True): IMAGES}.get(
            (passes, images), "neither"
        )
        rows.append((arm, crossing, len(of_arm), passes, images, verdict))
    return pd.DataFrame(rows, columns=["arm", "crossing", "n_shares", "same_passes", "same_images", "verdict"])


def verdict(crossings: pd.DataFrame) -> list[str]:
    """Return the sentences on when each arm helps: one per crossing, or per arm and fraction, then the carry-over.

    Args:
        crossings: from :func:`crossings`.
    """
    if crossings.empty:
        return ["Undecided: too few pairs of trials have completed for any interval."]
    decided = int((crossings["verdict"] != UNDECIDED).sum())
    return [
        *(_sentence(row) for _, row in crossings.iterrows()),
        *_carried(carry_over(crossings)),
        f"Decided: {decided} of {len(crossings)}; the intervals of each arm, over all lengths and fractions of the "
        f"images, have a joint level of {100 * crossings['confidence'].iloc[0]:.0f} %.",
    ]


def _sentence(row: pd.Series[Any]) -> str:
    arm, span = row["arm"], f"{row['first_epochs']:g} to {row['last_epochs']:g} epochs"
    where, n = f"With {text_of(100 * row['share'])} % of the images", f"n = {row['n']} seeds"
    if row["verdict"] in (STARTS, STOPS):
        interval = f"interval {row['low']:.3g} to {row['high']:.3g}, {n}"
        return f"{where}, {arm} {row['verdict']} at {row['epochs']:.3g} epochs ({interval})."
    if row["verdict"] == UNDECIDED:
        ranges = [f"it {verb} at {row[verb]} epochs" for verb in ("helps", "hurts") if row[verb]]
        decided = f"; decided: {', '.join(ranges)}" if ranges else ""
        return f"{where}, whether {arm} crosses {row['baseline']} from {span} is undecided{decided} ({n})."
    word = "lower" if row["verdict"] == THROUGHOUT else "higher"
    return f"{where}, {arm} has a {word} error than {row['baseline']} throughout, from {span} ({n})."


def _carried(rows: pd.DataFrame) -> Iterator[str]:
    answers = {
        PASSES: "is determined by passes over the images, not by images shown: one number of epochs fits all fractions",
        IMAGES: "is determined by images shown, not by passes over them: half the images need twice the epochs",
        UNDECIDED: "may be determined by passes over the images or by images shown (undecided): a number of each fits",
        "neither": "is determined neither by passes over the images nor by images shown: no number fits all fractions",
    }
    for _, row in rows.iterrows():
        event = f"The number of epochs at which {row['arm']} {row['crossing']}"
        yield f"{event} {answers[row['verdict']]} (n = {row['n_shares']} fractions)."
    if rows.empty:
        yield "Whether passes or images shown determine the crossing is undecided: no arm crosses at two fractions."
