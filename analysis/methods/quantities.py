"""What is known of confirmed networks on test images: their error, and what evaluations add to it.

Each arm is its best configuration of the search, trained again on seeds that chose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.data import frames
from analysis.data.arms import best_confirmed
from analysis.data.grid import POLICY, level_differences, word_of
from sweep.findings.confirmed import test_values
from sweep.findings.summary import Metric


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


def trials_with(names: Sequence[str], sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Join measured quantities to the trials of a confirmation.

    Args:
        names: of ``QUANTITIES``.
        sweep_dir: folder of the sweep; None takes the environment variable ``CUTMIX_SWEEP_DIR``.

    Returns:
        One row a trial, as from ``frames.load``, with one column per name, nan where it has not been measured. Of
        one that was measured again the latest counts.
    """
    confirm = frames.load(sweep_dir, phase="confirm")
    known = confirm.evaluations.sort_values("time_s", kind="stable")
    values = {name: confirm.trials["trial"].map(_values(known, name)).astype(float) for name in names}
    return confirm.trials.assign(**values)


def values_of(names: Sequence[str], sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Gather measured quantities of each arm's best configuration.

    Args:
        names: of ``QUANTITIES``.
        sweep_dir: folder of the sweep; None takes the environment variable ``CUTMIX_SWEEP_DIR``.

    Returns:
        One row a quantity and trial that has it: ``quantity``, ``arm`` (an ordered category of all arms of the study),
        ``replicate`` and ``value``.
    """
    rows = trials_with(names, sweep_dir)
    best = rows[rows["trial"].isin(best_confirmed(sweep_dir)["trial"])]
    long = best.melt(["arm", "replicate"], list(names), var_name="quantity", value_name="value")
    return long.dropna(subset=["value"])[["quantity", "arm", "replicate", "value"]].reset_index(drop=True)


def _values(evaluations: pd.DataFrame, name: str) -> pd.Series[Any]:
    quantity = QUANTITIES[name]
    if name == TEST_ERROR:
        evaluations = test_values(evaluations)
    own = evaluations[(evaluations["axis"] == quantity.axis) & (evaluations["metric"] == quantity.metric)]
    if quantity.setting is not None:
        own = own[own["setting"] == quantity.setting]
    return own.drop_duplicates("trial", keep="last").set_index("trial")["value"]


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


def readable(differences: pd.DataFrame) -> pd.DataFrame:
    """Return a table to read, each quantity in its own unit.

    Args:
        differences: from :func:`differences`.
    """
    words = [QUANTITIES[name].words for name in differences["quantity"]]
    factors = np.array([word.factor for word in words])
    units = [f"{word.name} ({word.difference_unit})" if word.difference_unit else word.name for word in words]
    scaled = {end: differences[end].to_numpy(float) * factors for end in ("estimate", "low", "high")}
    columns = ["quantity", "arm", "n_pairs", "estimate", "low", "high", "p_holm", "verdict"]
    return differences.assign(quantity=pd.Series(units, index=differences.index, dtype=object), **scaled)[columns]


def verdict(differences: pd.DataFrame, names: Sequence[str], *, sweep_dir: Path | str | None = None) -> list[str]:
    """Say which arms differ in each quantity, and of what is not known which command adds it.

    What is decided has a sentence an arm; what is not is named in one, its intervals left to the table.

    Args:
        differences: from :func:`differences`.
        names: of ``QUANTITIES``, in the order in which they are said.
        sweep_dir: folder of the sweep; None takes the environment variable ``CUTMIX_SWEEP_DIR``.
    """
    known = {name: differences[differences["quantity"] == name] for name in names}
    said = [line for name, rows in known.items() for line in _sentences(rows.drop(columns="quantity"), name)]
    return [*said, *missing(differences, names, sweep_dir=sweep_dir)]


def missing(differences: pd.DataFrame, names: Sequence[str], *, sweep_dir: Path | str | None = None) -> list[str]:
    """Say which command confirms arms, or measures the quantities that are not known yet; nothing if all are."""
    folder = frames.folder_of(sweep_dir)
    if best_confirmed(folder).empty:
        command = f"cutmix-sweep confirm {folder} --seeds 10"
        return [f"Nothing is confirmed yet: `{command}` trains each arm's best setting again on fresh seeds."]
    return _unmeasured([name for name in names if not (differences["quantity"] == name).any()], folder)


def level_verdict(
    tested: pd.DataFrame, names: Sequence[str], *, path: str, baseline: Any, sweep_dir: Path | str | None = None
) -> list[str]:
    """Say how the values of a parameter differ in each quantity, as far as a confirmation has several of them.

    Args:
        tested: from :func:`trials_with`.
        names: of ``QUANTITIES``, in the order in which they are said.
        path: dotted path of the parameter.
        baseline: value that the others are compared with.
        sweep_dir: folder of the sweep; None takes the environment variable ``CUTMIX_SWEEP_DIR``.
    """
    folder, said = frames.folder_of(sweep_dir), []
    for name in names:
        found = level_differences(tested, path=path, baseline=baseline, value=name)
        said += _sentences(found[found["n_pairs"] > 0], name)
    if not said:
        command = f"cutmix-sweep confirm {folder} --seeds 5 --configs 10"
        said = [f"By {word_of(path)} nothing is confirmed: `{command}` confirms ten settings of each arm, not one."]
    unknown = [name for name in names if tested[name].isna().all()] if len(tested) else []
    return [*said, *_unmeasured(unknown, folder)]


def _sentences(differences: pd.DataFrame, name: str) -> list[str]:
    words = QUANTITIES[name].words
    is_open = differences["verdict"].isin([statistics.UNDECIDED, statistics.TOO_FEW])
    decided, rest = differences[~is_open], differences[is_open]
    said = statistics.verdict(decided, metric=words)[:-1] if len(decided) else []
    if len(rest):
        n = sorted(rest["n_pairs"].unique())
        pairs = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]} to {n[-1]}"
        families = rest[POLICY].astype(str) + ", " if POLICY in rest else ""
        arms = ", ".join(families + rest["arm"].astype(str))
        said.append(f"Undecided in {words.name}, against {rest['baseline'].iloc[0]}: {arms} ({pairs} pairs).")
    return said


def _unmeasured(names: Sequence[str], folder: Path) -> list[str]:
    if not names:
        return []
    axes = ",".join(dict.fromkeys(QUANTITIES[name].axis for name in names))
    called = ", ".join(QUANTITIES[name].words.name for name in names)
    return [f"Not measured yet: {called}. `cutmix-sweep evaluate {folder} --axes {axes}` adds what suits the data."]
