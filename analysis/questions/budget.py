"""Where a gain turns into a loss, or a loss into a gain, as runs get longer: the crossing and its interval.

Runs of several planned lengths are compared with a baseline's of the same length, share of the images and seed. Between
planned lengths the difference is taken for a straight line over the logarithm of the epochs, and so are the ends of its
interval: those of planned lengths hold together (Bonferroni), therefore all between them do. The interval of a crossing
is where this band holds zero, of as few seeds as there are. A bootstrap of three seeds promises what it cannot keep.
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
"""How an arm stands to the baseline over the lengths that were planned."""

PASSES, IMAGES = "passes", "images shown"
"""What may decide when an arm crosses: epochs, or epochs times images."""

_POINTS = 600  # between the shortest and the longest run: neighbours of a range of 30 are 0.6 % apart

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
    """Follow the difference to the baseline over the length of a run.

    Args:
        trials: one row a trial, as from ``analysis.data.frames.load``.
        baseline: arm that the others are compared with.
        value: column that is compared, lower is better.
        confidence: joint level of all intervals of an arm, over lengths and shares of the images.
        points: lengths between the shortest and the longest.

    Returns:
        One row a share, arm and length: ``share`` (of the images), ``n_train`` (images), ``arm``, ``epochs``,
        ``is_planned``, ``estimate`` with ``low`` and ``high``, ``n`` (seeds that have all planned lengths),
        ``baseline`` and ``confidence``. Only shares with two planned lengths or more that two seeds have.
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
    found = [
        _curve(own, level, points).assign(share=share, n_train=n_train[share], arm=arm) for (share, arm), own in groups
    ]
    known = [rows for rows in found if len(rows)]
    joined = pd.concat(known, ignore_index=True)[columns] if known else pd.DataFrame(columns=columns)
    return joined.astype({"arm": order}).assign(baseline=baseline, confidence=confidence)


def _curve(pairs: pd.DataFrame, level: float, points: int) -> pd.DataFrame:
    """Return ``epochs``, ``is_planned``, ``estimate``, ``low``, ``high`` and ``n`` of one arm at one share."""
    seeds = pairs.pivot(index="replicate", columns="epochs", values="difference").dropna()
    planned = seeds.columns.to_numpy(float)
    if len(planned) < 2 or len(seeds) < MIN_SEEDS:
        return pd.DataFrame(columns=["epochs", "is_planned", "estimate", "low", "high", "n"])
    lengths = np.union1d(np.geomspace(planned[0], planned[-1], points)[1:-1], planned)
    mean, half = seeds.mean().to_numpy(), ci_half_width(seeds.std().to_numpy(), len(seeds), level=level)
    ends = {"estimate": mean, "low": mean - half, "high": mean + half}
    lines = {name: np.interp(np.log(lengths), np.log(planned), at) for name, at in ends.items()}
    return pd.DataFrame({"epochs": lengths, "is_planned": np.isin(lengths, planned), **lines, "n": len(seeds)})


def crossings(curves: pd.DataFrame) -> pd.DataFrame:
    """Find where each arm starts to help and where it stops.

    A crossing is decided where the difference is decided, one way and the other, on its two sides.

    Args:
        curves: from :func:`curves`.

    Returns:
        One row a share and arm, several where it crosses more than once: ``share``, ``n_train``, ``arm``, ``n``
        (seeds), ``verdict`` (``starts to help``, ``stops helping``, ``helps throughout``, ``hurts throughout`` or
        ``undecided``), of a crossing ``epochs`` with ``low`` and ``high`` and the same in ``images`` shown (epochs
        times images; nan where none is decided), ``first_epochs`` and ``last_epochs`` (planned), ``helps`` and
        ``hurts`` (ranges of epochs where that is decided, as text), ``baseline`` and ``confidence``.
    """
    rows = []
    for (share, arm), own in curves.groupby(["share", "arm"], observed=True):
        first = own.iloc[0]
        facts = {
            **{"share": share, "arm": str(arm), **first[["n_train", "n", "baseline", "confidence"]]},
            **{"first_epochs": own["epochs"].min(), "last_epochs": own["epochs"].max()},
            **{"helps": _ranges(own, own["high"] < 0), "hurts": _ranges(own, own["low"] > 0)},
        }
        for found in _crossings(own):
            scaled = {f"images{end}": found.get(name, np.nan) * first["n_train"] for name, end in _ENDS.items()}
            rows.append({**facts, **found, **scaled})
    return pd.DataFrame(rows, columns=_COLUMNS)


_ENDS = {"epochs": "", "low": "_low", "high": "_high"}


def _signs(own: pd.DataFrame) -> np.ndarray:
    """Return where the arm is decided to be lower than the baseline, -1, or higher, 1."""
    return np.where(own["high"] < 0, -1, np.where(own["low"] > 0, 1, 0))


def _runs(marks: Iterable[Any]) -> list[tuple[Any, int, int]]:
    """Return each run of equal marks with the places of its first and last."""
    runs = [(mark, [place for place, _ in places]) for mark, places in groupby(enumerate(marks), key=lambda at: at[1])]
    return [(mark, places[0], places[-1]) for mark, places in runs]


def _crossings(own: pd.DataFrame) -> list[dict[str, Any]]:
    epochs, mean, runs = own["epochs"].to_numpy(float), own["estimate"].to_numpy(float), _runs(_signs(own))
    found = []
    for (before, _, last), (after, first, _) in pairwise([run for run in runs if run[0]]):
        if before != after:
            verdict, root = STARTS if before > 0 else STOPS, _root(epochs, mean, last, first)
            found.append({"verdict": verdict, "epochs": root, "low": epochs[last], "high": epochs[first]})
    if found:
        return found
    signs = {sign for sign, _, _ in runs}
    return [{"verdict": THROUGHOUT if signs == {-1} else HURTS if signs == {1} else UNDECIDED}]


def _root(epochs: np.ndarray, mean: np.ndarray, first: int, last: int) -> float:
    """Return where the mean difference first changes its sign between two places."""
    change = first + int(np.argmax(np.sign(mean[first : last + 1]) != np.sign(mean[first]))) - 1
    left, right = mean[change], mean[change + 1]
    share = left / (left - right)
    return float(np.exp((1 - share) * np.log(epochs[change]) + share * np.log(epochs[change + 1])))


def _ranges(own: pd.DataFrame, holds: pd.Series[Any]) -> str:
    epochs = own["epochs"].to_numpy(float)
    runs = [(epochs[first], epochs[last]) for mark, first, last in _runs(holds.to_numpy()) if mark]
    return ", ".join(f"{low:.3g} to {high:.3g}" if low < high else f"{low:.3g}" for low, high in runs)


def carry_over(crossings: pd.DataFrame) -> pd.DataFrame:
    """Ask whether passes over the images or images shown say when an arm crosses, whatever the share of the images.

    If passes do, one number of epochs lies in the intervals of all shares, and where none does that is refuted, at the
    joint level of the intervals; if images shown do, one number of images does.

    Args:
        crossings: from :func:`crossings`.

    Returns:
        One row an arm and direction that crosses at two shares or more: ``arm``, ``crossing``, ``n_shares``,
        ``same_passes`` and ``same_images`` (whether one number lies in all intervals), and ``verdict``: what is left,
        ``passes`` or ``images shown``, or ``undecided`` (both), or ``neither``.
    """
    rows = []
    decided = crossings[crossings["verdict"].isin([STARTS, STOPS])].drop_duplicates(["share", "arm", "verdict"])
    for (arm, crossing), own in decided.groupby(["arm", "verdict"], sort=False):
        if len(own) < 2:
            continue
        passes = bool(own["low"].max() <= own["high"].min())
        images = bool(own["images_low"].max() <= own["images_high"].min())
        verdict = {(True, True): UNDECIDED, (True, False): PASSES, (False, True): IMAGES}.get(
            (passes, images), "neither"
        )
        rows.append((arm, crossing, len(own), passes, images, verdict))
    return pd.DataFrame(rows, columns=["arm", "crossing", "n_shares", "same_passes", "same_images", "verdict"])


def verdict(crossings: pd.DataFrame) -> list[str]:
    """Answer when each arm helps: a sentence a crossing, or an arm and share without one, then what carries over.

    Args:
        crossings: from :func:`crossings`.
    """
    if crossings.empty:
        return ["Undecided: too few pairs of trials have completed for any interval."]
    decided = int((crossings["verdict"] != UNDECIDED).sum())
    return [
        *(_sentence(row) for _, row in crossings.iterrows()),
        *_carried(carry_over(crossings)),
        f"Decided: {decided} of {len(crossings)}; the intervals of each arm, over all lengths and shares of the "
        f"images, have a joint level of {crossings['confidence'].iloc[0]:.0%}.",
    ]


def _sentence(row: pd.Series[Any]) -> str:
    arm, span = row["arm"], f"{row['first_epochs']:g} to {row['last_epochs']:g} epochs"
    where, n = f"With {text_of(100 * row['share'])} % of the images", f"n = {row['n']} seeds"
    if row["verdict"] in (STARTS, STOPS):
        interval = f"interval {row['low']:.3g} to {row['high']:.3g}, {n}"
        return f"{where}, {arm} {row['verdict']} at {row['epochs']:.3g} epochs ({interval})."
    if row["verdict"] == UNDECIDED:
        known = [f"it {word} at {row[word]} epochs" for word in ("helps", "hurts") if row[word]]
        but = f"; decided: {', '.join(known)}" if known else ""
        return f"{where}, whether {arm} crosses {row['baseline']} from {span} is undecided{but} ({n})."
    word = "lower" if row["verdict"] == THROUGHOUT else "higher"
    return f"{where}, {arm} has a {word} error than {row['baseline']} throughout, from {span} ({n})."


def _carried(rows: pd.DataFrame) -> Iterator[str]:
    said = {
        PASSES: "passes over the images decide it, not images shown: one number of epochs fits all shares",
        IMAGES: "images shown decide it, not passes over them: fewer images take as many more epochs",
        UNDECIDED: "whether passes over the images or images shown decide it is undecided: one number of either fits",
        "neither": "neither passes over the images nor images shown decide it: no one number of either fits all shares",
    }
    for _, row in rows.iterrows():
        yield f"When {row['arm']} {row['crossing']}, {said[row['verdict']]} (n = {row['n_shares']} shares)."
    if rows.empty:
        yield "Whether passes or images shown decide the crossing is undecided: no arm crosses at two shares."
