"""What is known of confirmed networks on test images: their error, and what evaluations add to it.

Each arm is its best configuration of the search, trained again on seeds that chose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from analysis import compare, frames, statistics
from sweep.records.confirmed import test_values
from sweep.records.summary import Metric


class Quantity(NamedTuple):
    """A measured number of a trained network.

    Attributes:
        words: how it is called and printed.
        axis: of the evaluations, which ``cutmix-sweep evaluate`` is told.
        metric: of the axis.
        setting: of the axis; None where a trial has the metric in one setting alone.
    """

    words: Metric
    axis: str
    metric: str
    setting: str | None = None


TEST_ERROR = "test_error"
"""The quantity that a confirmation itself records."""

QUANTITIES = {
    TEST_ERROR: Quantity(Metric("test top-1 error", 100.0, "%"), "classification", "top1_error"),
    "worst_class": Quantity(
        Metric("test error of the worst class", 100.0, "%"), "classification", "worst_class_top1_error"
    ),
    "nll": Quantity(Metric("test NLL", 1.0, "nats"), "calibration", "nll", "raw"),
    "ece": Quantity(Metric("test ECE", 100.0, "%"), "calibration", "ece", "raw"),
    "signed_ece": Quantity(Metric("signed test ECE", 100.0, "%"), "calibration", "signed_ece", "raw"),
    "temperature": Quantity(Metric("temperature", 1.0, ""), "calibration", "temperature", "temperature scaled"),
    "ood": Quantity(Metric("AUROC on natural foreign images", 100.0, "%"), "ood", "auroc", "natural mean / msp"),
    "ood_noise": Quantity(Metric("AUROC on noise", 100.0, "%"), "ood", "auroc", "noise mean / msp"),
    "localization": Quantity(
        Metric("top-1 localization error", 100.0, "%"), "localization", "top1_loc_error", "cam threshold=0.15"
    ),
    "max_box": Quantity(Metric("MaxBoxAccV2, held out", 100.0, "%"), "localization", "box_acc_v2", "cam"),
}
"""Quantities by a short name."""


def values_of(names: Sequence[str], sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Gather measured quantities of the confirmed trials of each arm's best configuration.

    Args:
        names: of ``QUANTITIES``.
        sweep_dir: folder of the sweep; None takes the environment variable ``CUTMIX_SWEEP_DIR``.

    Returns:
        One row a quantity and trial that has it: ``quantity``, ``arm`` (an ordered category of all arms of the study),
        ``replicate``, ``value`` and ``images`` (it rests on). Of one that was measured again the latest counts.
    """
    folder = frames.folder_of(sweep_dir)
    best = compare.best_confirmed(folder)
    known = frames.load(folder, phase="confirm").evaluations
    own = known[known["trial"].isin(best["trial"])].sort_values("time_s", kind="stable")
    parts = [_rows(own, name).assign(quantity=name) for name in names]
    rows = pd.concat(parts, ignore_index=True)[["quantity", "trial", "value", "n"]]
    joined = rows.merge(best[["trial", "arm", "replicate"]], on="trial").rename(columns={"n": "images"})
    return joined[["quantity", "arm", "replicate", "value", "images"]]


def _rows(evaluations: pd.DataFrame, name: str) -> pd.DataFrame:
    quantity = QUANTITIES[name]
    if name == TEST_ERROR:
        evaluations = test_values(evaluations)
    own = evaluations[(evaluations["axis"] == quantity.axis) & (evaluations["metric"] == quantity.metric)]
    if quantity.setting is not None:
        own = own[own["setting"] == quantity.setting]
    return own.drop_duplicates("trial", keep="last")


def differences(values: pd.DataFrame, *, baseline: str, margin: float | None = None) -> pd.DataFrame:
    """Compare each arm with one of them over the seeds of the confirmation, quantity by quantity.

    Args:
        values: from :func:`values_of`.
        baseline: the arm that the others are compared with.
        margin: largest difference in the test error that does not matter; other quantities have none.

    Returns:
        As from :func:`analysis.statistics.paired_differences`, led by ``quantity``; levels are joint in each.
    """
    is_error = values["quantity"] == TEST_ERROR
    parts = [
        statistics.paired_differences(rows, value="value", baseline=baseline, by=("quantity",), margin=of_rows)
        for rows, of_rows in ((values[is_error], margin), (values[~is_error], None))
    ]
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def means(values: pd.DataFrame) -> pd.DataFrame:
    """Return a table to read: a row an arm, a column a quantity, each cell a mean with its 95 % interval and n.

    Args:
        values: from :func:`values_of`.
    """
    found = statistics.means(values, value="value", by=("quantity", "arm"))
    cells = found.assign(
        cell=[_cell(*row) for row in found[["quantity", "estimate", "low", "high", "n"]].itertuples(index=False)],
        quantity=found["quantity"].map(lambda name: QUANTITIES[name].words.label()),
    )
    wide = cells.pivot(index="arm", columns="quantity", values="cell")
    order = [QUANTITIES[name].words.label() for name in dict.fromkeys(values["quantity"])]
    return wide.reindex(columns=order).rename_axis(columns="quantity")


def _cell(name: str, mean: float, low: float, high: float, n: int) -> str:
    factor = QUANTITIES[name].words.factor
    ends = f" ({factor * low:.2f} to {factor * high:.2f})" if low == low else ""  # nan of one seed
    return f"{factor * mean:.2f}{ends}, n = {n}"


def verdict(differences: pd.DataFrame, names: Sequence[str], *, sweep_dir: Path | str | None = None) -> list[str]:
    """Say how arms differ in each quantity, and of what is not known which command adds it.

    Args:
        differences: from :func:`differences`.
        names: of ``QUANTITIES``, in the order in which they are said.
        sweep_dir: folder of the sweep; None takes the environment variable ``CUTMIX_SWEEP_DIR``.
    """
    folder = frames.folder_of(sweep_dir)
    if compare.best_confirmed(folder).empty:
        return [
            f"On test images: nothing is confirmed yet. `cutmix-sweep confirm {folder} --seeds 10` trains each arm's "
            "best configuration again on fresh seeds."
        ]
    said: list[str] = []
    for name in names:
        own = differences[differences["quantity"] == name].drop(columns="quantity")
        words = QUANTITIES[name].words
        said += [f"Confirmed: {line}" for line in statistics.verdict(own, metric=words)[:-1]] if len(own) else []
    missing = [name for name in names if not (differences["quantity"] == name).any()]
    if missing:
        axes = ",".join(dict.fromkeys(QUANTITIES[name].axis for name in missing))
        called = ", ".join(QUANTITIES[name].words.name for name in missing)
        said.append(
            f"Not measured yet: {called}. `cutmix-sweep evaluate {folder} --axes {axes}` adds what suits the data."
        )
    return said
