"""Comparisons of the arms of one sweep: what any study asks, whatever its question."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.data.arms import TEST, VALIDATION
from analysis.data.replication import replication_in
from analysis.statistics import HIGHER, LOWER, TOO_FEW
from sweep.findings.summary import Metric

COLUMNS = [
    *("arm", "images", "unit", "n", "error", "error_low", "error_high"),
    *("n_pairs", "estimate", "low", "high", "p_holm", "verdict"),
]

PAIR_COLUMNS = ["first", "second", "n_pairs", "estimate", "low", "high", "p", "p_holm", "n_compared", "verdict"]

_NOT_CONFIRMED = (
    "Not a confirmed result: these validation images also selected and stopped trials. Trials may differ in their "
    "parameters as well as in their seeds."
)

_ZERO = "no difference"


def baseline_differences(values: pd.DataFrame) -> pd.DataFrame:
    """Compare each arm of one sweep with the baseline by paired differences.

    Args:
        values: from :func:`analysis.data.arms.arm_values`.

    Returns:
        As from :func:`analysis.statistics.paired_differences`.
    """
    baseline = values["baseline"].iloc[0] if len(values) else ""
    # the baseline may have no value yet, and is an arm all the same
    arms = pd.CategoricalDtype(list(dict.fromkeys([baseline, *values["arm"]])))
    return statistics.paired_differences(values.astype({"arm": arms}), value="error", baseline=baseline)


def pair_differences(values: pd.DataFrame, pairs: Sequence[tuple[str, str]] | None = None) -> pd.DataFrame:
    """Compare pairs of arms over the seeds that they share, with one correction over all pairs.

    Args:
        values: from :func:`analysis.data.arms.arm_values`, of one sweep.
        pairs: arms to compare, as (first, second); None compares each pair.

    Returns:
        One row per pair, columns ``PAIR_COLUMNS``: ``estimate`` is the mean of first - second, with Bonferroni's
        interval over all pairs, ``p`` of a paired t-test and ``p_holm`` adjusted over all pairs; ``verdict`` says
        whether ``first`` is ``lower`` or ``higher``. NaN for fewer than two seeds in common.

    Raises:
        ValueError: an arm is unknown, or paired with itself.

    Example:
        >>> values = pd.DataFrame({"arm": ["off", "off", "cutmix", "cutmix", "mixup", "mixup"]})
        >>> values = values.assign(replicate=[0, 1] * 3, error=[0.30, 0.32, 0.25, 0.26, 0.28, 0.31])
        >>> pair_differences(values)[["first", "second", "estimate"]].round(3).to_numpy().tolist()
        [['cutmix', 'off', -0.055], ['mixup', 'off', -0.015], ['mixup', 'cutmix', 0.04]]
    """
    arms = list(dict.fromkeys(values["arm"].astype(str)))
    if pairs is None:
        pairs = [(second, first) for first, second in combinations(arms, 2)]
    for pair in pairs:
        if unknown := [arm for arm in pair if arm not in arms]:
            raise ValueError(f"no arm {unknown[0]!r} to compare, choose among {', '.join(arms)}")
        if pair[0] == pair[1]:
            raise ValueError(f"arm {pair[0]!r} is paired with itself")
    if not pairs:
        return pd.DataFrame(columns=PAIR_COLUMNS)
    errors = values.pivot(index="replicate", columns="arm", values="error")
    # a difference compared with zero is the paired test of its two arms; zero takes the place of a baseline
    columns = {str(place): errors[first] - errors[second] for place, (first, second) in enumerate(pairs)}
    table = pd.DataFrame({_ZERO: 0.0, **columns}, index=errors.index)
    long = table.reset_index().melt("replicate", var_name="arm", value_name="difference")
    rows = statistics.paired_differences(long, value="difference", baseline=_ZERO)
    rows = rows.assign(low=rows["low"].clip(lower=-1.0), high=rows["high"].clip(upper=1.0))  # errors are fractions
    named = pd.DataFrame(list(pairs), columns=["first", "second"], index=[str(place) for place in range(len(pairs))])
    return rows.join(named, on="arm")[PAIR_COLUMNS]


def pair_matrix(differences: pd.DataFrame) -> pd.DataFrame:
    """Return a table to read: the row's arm minus the column's arm, in points; ``*`` marks a decided difference.

    Args:
        differences: from :func:`pair_differences`.
    """
    arms = list(dict.fromkeys([*differences["second"], *differences["first"]]))
    cells = pd.DataFrame("", index=pd.Index(arms, name="arm"), columns=pd.Index(arms, name="minus"), dtype=object)
    for row in differences.to_dict("records"):
        for first, second, sign in ((row["first"], row["second"], 1), (row["second"], row["first"], -1)):
            cells.loc[first, second] = _pair_cell(row, sign)
    return cells


def _pair_cell(row: dict[Any, Any], sign: int) -> str:
    if row["verdict"] == TOO_FEW:
        return ""
    ends = sorted(100 * sign * row[end] for end in ("low", "high"))
    mark = "\u00a0*" if row["verdict"] in (LOWER, HIGHER) else ""
    # no-break spaces: in a wide table a cell then breaks only before its interval
    return f"{100 * sign * row['estimate']:+.2f}{mark} ({ends[0]:+.2f}\u00a0to\u00a0{ends[1]:+.2f})"


def arm_errors(values: pd.DataFrame) -> pd.DataFrame:
    """Summarise each arm in one row, in the order of the study.

    Args:
        values: from :func:`analysis.data.arms.arm_values`, or of several sweeps from
            :func:`analysis.data.arms.values_of`.

    Returns:
        Columns ``COLUMNS``, preceded by ``sweep`` if the values have it: ``unit`` (``search``, ``seed`` or ``trial``)
        with its number ``n``, ``error`` with the ends of its 95 % t interval; ``estimate``, the mean difference to the
        baseline over ``n_pairs`` pairs, with ``low``, ``high``, ``p_holm`` and ``verdict`` as from
        :func:`baseline_differences`. The baseline has no difference.
    """
    if "sweep" in values:
        sweeps = values.groupby("sweep", sort=False)
        rows = [arm_errors(sweep.drop(columns="sweep")).assign(sweep=name) for name, sweep in sweeps]
        return pd.concat(rows, ignore_index=True)[["sweep", *COLUMNS]]
    means = statistics.means(values, value="error").rename(
        columns={"estimate": "error", "low": "error_low", "high": "error_high"}
    )
    unit = replication_in(values).unit
    joined = means.assign(images=images_of(values), unit=unit).merge(baseline_differences(values), on="arm", how="left")
    return joined.fillna({"n_pairs": 0}).astype({"n_pairs": int})[COLUMNS]


def images_of(values: pd.DataFrame) -> str:
    """Return the images that the values were measured on: ``test`` or ``validation``."""
    return str(values["images"].iloc[0]) if len(values) else VALIDATION


def describe_values(values: pd.DataFrame) -> str:
    """Return sentences: on which images the errors were measured, what one value is, and what ``n`` counts.

    Args:
        values: from :func:`analysis.data.arms.arm_values`.
    """
    replication = replication_in(values)
    if images_of(values) == TEST:
        return f"Errors are on test images. {replication.describe()}"
    return (
        "Errors are on the validation images that selected the trials, and no winner is confirmed. `n` counts "
        f"{replication.units}."
    )


def verdict(values: pd.DataFrame) -> list[str]:
    """Return the sentences that answer which arms differ from the baseline: one per arm, then one of caution.

    With several searches per arm, the sentences are about the arms. With one search, they are about the configurations
    that it found.

    Args:
        values: from :func:`analysis.data.arms.arm_values`.
    """
    images, replication = images_of(values), replication_in(values)
    confirmed = images == TEST
    sentences = statistics.verdict(
        baseline_differences(values),
        metric=Metric(f"{images} top-1 error", 100.0, "%"),
        subjects=replication.subjects if confirmed else None,
        pairs=replication.units if confirmed else "pairs",
    )
    return [*sentences, replication.describe() if confirmed else _NOT_CONFIRMED]


def pair_verdict(differences: pd.DataFrame, values: pd.DataFrame) -> list[str]:
    """Return one sentence about the pairs of arms without the baseline; none if there are no such pairs.

    Args:
        differences: from :func:`pair_differences`.
        values: the values that were compared, from :func:`analysis.data.arms.arm_values`.
    """
    baseline = str(values["baseline"].iloc[0]) if len(values) else ""
    others = differences[(differences["first"] != baseline) & (differences["second"] != baseline)]
    if others.empty:
        return []
    decided = others[others["verdict"].isin([LOWER, HIGHER])]
    pairs = [f"{row['first']} {row['verdict']} than {row['second']}" for row in decided.to_dict("records")]
    n_compared = int(np.max(differences["n_compared"]))
    is_found = images_of(values) == TEST and replication_in(values).is_one_search
    head = f"{'Configurations found, pairs' if is_found else 'Pairs'} without {baseline}"
    result = "; ".join(pairs) if pairs else f"all {len(others)} undecided"
    return [f"{head} (Holm's correction over all {n_compared} pairs): {result}."]
