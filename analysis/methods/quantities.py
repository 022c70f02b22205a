"""Quantities of confirmed networks on test images: the error, and the measurements of ``cutmix-sweep evaluate``.

Each arm is represented by the winners of its searches, trained again on fresh seeds. With several searches per arm, a
value is that of one search, the mean over the seeds of its winner. With one search, a value is that of one seed.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.data import frames
from analysis.data.arms import by_unit, confirmed_winners
from analysis.data.grid import POLICY, level_differences, word_of
from analysis.data.replication import SEED, Replication, replication_of
from sweep.findings.confirmed import test_values
from sweep.findings.searches import unit_of
from sweep.findings.summary import Metric


class Quantity(NamedTuple):
    """A measured number of a trained network.

    Attributes:
        label: how it is named and printed.
        axis: evaluation axis, as passed to ``cutmix-sweep evaluate --axes``.
        metric: metric of the axis.
        setting: condition of the axis; None if the metric has only one condition per trial.
    """

    label: Metric
    axis: str
    metric: str
    setting: str | None = None


TEST_ERROR = "test_error"
"""The quantity that the confirmation records."""

QUANTITIES = {
    TEST_ERROR: Quantity(Metric("test top-1 error", 100.0, "%"), "classification", "top1_error"),
    "worst_class": Quantity(
        Metric("test error of the worst class", 100.0, "%"), "classification", "worst_class_top1_error"
    ),
    "nll": Quantity(Metric("test NLL", 1.0, "nats"), "calibration", "nll", "raw"),
    "ece": Quantity(Metric("test ECE", 100.0, "%"), "calibration", "ece", "raw"),
    "signed_ece": Quantity(Metric("signed test ECE", 100.0, "%"), "calibration", "signed_ece", "raw"),
    "temperature": Quantity(Metric("temperature", 1.0, ""), "calibration", "temperature", "temperature scaled"),
    "ood": Quantity(Metric("AUROC on natural OOD images", 100.0, "%"), "ood", "auroc", "natural mean / msp"),
    "ood_noise": Quantity(Metric("AUROC on noise", 100.0, "%"), "ood", "auroc", "noise mean / msp"),
    "localization": Quantity(
        Metric("top-1 localization error", 100.0, "%"), "localization", "top1_loc_error", "cam threshold=0.15"
    ),
    "max_box": Quantity(Metric("MaxBoxAccV2, held out", 100.0, "%"), "localization", "box_acc_v2", "cam"),
}
"""Quantities by a short name."""


def trials_with(names: Sequence[str], sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Return the trials of a confirmation with their measured quantities.

    Args:
        names: names in ``QUANTITIES``.
        sweep_dir: folder of the sweep; None uses the environment variable ``CUTMIX_SWEEP_DIR``.

    Returns:
        One row per trial, as from ``frames.load``, with one column per name, NaN where the quantity has not been
        measured. ``replicate`` is the index of the search if an arm has several. If a quantity was measured twice, the
        latest value counts.
    """
    confirm = frames.load(sweep_dir, phase="confirm")
    evaluations = confirm.evaluations.sort_values("time_s", kind="stable")
    values = {name: confirm.trials["trial"].map(_values(evaluations, name)).astype(float) for name in names}
    return by_unit(confirm).assign(**values)


def values_of(names: Sequence[str], sweep_dir: Path | str | None = None) -> pd.DataFrame:
    """Return measured quantities of the winners.

    Args:
        names: names in ``QUANTITIES``.
        sweep_dir: folder of the sweep; None uses the environment variable ``CUTMIX_SWEEP_DIR``.

    Returns:
        One row per quantity and unit, which is a search or a seed, for which it was measured: ``quantity``, ``arm`` (an
        ordered category of all arms of the study), ``replicate`` and ``value``, the mean over the seeds of the unit.
    """
    rows = trials_with(names, sweep_dir)
    best = rows[rows["trial"].isin(confirmed_winners(sweep_dir)["trial"])]
    long = best.melt(["arm", "replicate"], list(names), var_name="quantity", value_name="value").dropna()
    units = long.groupby(["quantity", "arm", "replicate"], sort=False, observed=True)["value"].mean().reset_index()
    return units.astype({"arm": rows["arm"].dtype})


def describe_values(sweep_dir: Path | str | None = None) -> list[str]:
    """Return one paragraph: what one value of a confirmation is, and what ``n`` counts; none without a confirmation.

    Args:
        sweep_dir: folder of the sweep; None uses the environment variable ``CUTMIX_SWEEP_DIR``.
    """
    folder = frames.folder_of(sweep_dir)
    return [] if confirmed_winners(folder).empty else [_replication(folder).describe()]


def _replication(folder: Path) -> Replication:
    return replication_of(frames.load(folder).manifest["study"])


def _values(evaluations: pd.DataFrame, name: str) -> pd.Series[Any]:
    quantity = QUANTITIES[name]
    if name == TEST_ERROR:
        evaluations = test_values(evaluations)
    rows = evaluations[(evaluations["axis"] == quantity.axis) & (evaluations["metric"] == quantity.metric)]
    if quantity.setting is not None:
        rows = rows[rows["setting"] == quantity.setting]
    return rows.drop_duplicates("trial", keep="last").set_index("trial")["value"]


def differences(values: pd.DataFrame, *, baseline: str, margin: float | None = None) -> pd.DataFrame:
    """Compare each arm with the baseline over pairs of searches or seeds, per quantity.

    Args:
        values: from :func:`values_of`.
        baseline: the arm that the others are compared with.
        margin: largest difference in the test error that does not matter; other quantities have no margin.

    Returns:
        As from :func:`analysis.statistics.paired_differences` with one family per quantity: the column ``quantity``
        comes first.
    """
    is_error, named = values["quantity"] == TEST_ERROR, _with_metric(values)
    parts = [
        statistics.paired_differences(
            rows, value="value", baseline=baseline, by=("quantity", "metric"), metric="metric", margin=of_rows
        )
        for rows, of_rows in ((named[is_error], margin), (named[~is_error], None))
    ]
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True).drop(columns="metric")


def _with_metric(values: pd.DataFrame) -> pd.DataFrame:
    return values.assign(metric=values["quantity"].map(lambda name: QUANTITIES[name].metric))


def means(values: pd.DataFrame) -> pd.DataFrame:
    """Return a table to read: one row per arm, one column per quantity, each cell a mean with its 95 % interval and n.

    Args:
        values: from :func:`values_of`.

    Examples:
        >>> values = pd.DataFrame({"quantity": "test_error", "arm": ["off", "off"], "value": [0.25, 0.26]})
        >>> means(values).loc["off"].item()
        '25.50 (19.15 to 31.85), n = 2'
    """
    table = statistics.means(_with_metric(values), value="value", by=("quantity", "arm", "metric"), metric="metric")
    cells = table.assign(
        cell=[_cell(*row) for row in table[["quantity", "estimate", "low", "high", "n"]].itertuples(index=False)],
        quantity=table["quantity"].map(lambda name: QUANTITIES[name].label.label()),
    )
    wide = cells.pivot(index="arm", columns="quantity", values="cell")
    order = [QUANTITIES[name].label.label() for name in dict.fromkeys(values["quantity"])]
    return wide.reindex(columns=order).rename_axis(columns="quantity")


def _cell(name: str, mean: float, low: float, high: float, n: int) -> str:
    factor = QUANTITIES[name].label.factor
    ends = f" ({factor * low:.2f} to {factor * high:.2f})" if low == low else ""  # NaN: one value has no interval
    return f"{factor * mean:.2f}{ends}, n = {n}"


def readable(differences: pd.DataFrame) -> pd.DataFrame:
    """Return a table to read, each quantity in its own unit.

    Args:
        differences: from :func:`differences`.
    """
    labels = [QUANTITIES[name].label for name in differences["quantity"]]
    factors = np.array([label.factor for label in labels])
    units = [f"{label.name} ({label.difference_unit})" if label.difference_unit else label.name for label in labels]
    scaled = {end: differences[end].to_numpy(float) * factors for end in ("estimate", "low", "high")}
    columns = ["quantity", "arm", "n_pairs", "estimate", "low", "high", "p_holm", "verdict"]
    return differences.assign(quantity=pd.Series(units, index=differences.index, dtype=object), **scaled)[columns]


def verdict(differences: pd.DataFrame, names: Sequence[str], *, sweep_dir: Path | str | None = None) -> list[str]:
    """Return sentences: the arms that differ in each quantity, and the command that adds a missing quantity.

    A decided comparison has its own sentence. Undecided comparisons share one sentence per quantity, without intervals,
    which the table shows.

    Args:
        differences: from :func:`differences`.
        names: names in ``QUANTITIES``, in the order of the sentences.
        sweep_dir: folder of the sweep; None uses the environment variable ``CUTMIX_SWEEP_DIR``.
    """
    by_name = {name: differences[differences["quantity"] == name] for name in names}
    folder = frames.folder_of(sweep_dir)
    replication = _replication(folder)
    sentences = [
        line for name, rows in by_name.items() for line in _sentences(rows.drop(columns="quantity"), name, replication)
    ]
    return [*sentences, *describe_values(folder), *missing(differences, names, sweep_dir=folder)]


def missing(differences: pd.DataFrame, names: Sequence[str], *, sweep_dir: Path | str | None = None) -> list[str]:
    """Return the command that confirms arms, or that measures the missing quantities; empty if none is missing."""
    folder = frames.folder_of(sweep_dir)
    if confirmed_winners(folder).empty:
        return [f"No arm is confirmed yet: `{_confirm_command(folder, seeds=10)}` trains winners again on fresh seeds."]
    return _unmeasured([name for name in names if not (differences["quantity"] == name).any()], folder)


def level_verdict(
    tested: pd.DataFrame, names: Sequence[str], *, path: str, baseline: Any, sweep_dir: Path | str | None = None
) -> list[str]:
    """Return sentences that compare the values of a parameter in each quantity, over confirmed configurations.

    Args:
        tested: from :func:`trials_with`.
        names: names in ``QUANTITIES``, in the order of the sentences.
        path: dotted path of the parameter.
        baseline: value that the others are compared with.
        sweep_dir: folder of the sweep; None uses the environment variable ``CUTMIX_SWEEP_DIR``.
    """
    folder = frames.folder_of(sweep_dir)
    sentences: list[str] = []
    for name in names:
        compared = level_differences(tested, path=path, baseline=baseline, value=name)
        sentences += _sentences(compared[compared["n_pairs"] > 0], name, None)
    if not sentences:
        command = f"{_confirm_command(folder, seeds=5)} --configs 10"
        sentences = [
            f"No two values of {word_of(path)} are confirmed: `{command}` confirms ten configurations per search "
            "instead of one."
        ]
    unmeasured = [name for name in names if tested[name].isna().all()] if len(tested) else []
    return [*sentences, *describe_values(folder), *_unmeasured(unmeasured, folder)]


def _confirm_command(folder: Path, *, seeds: int) -> str:
    """Return the command that confirms winners; with one search, only seeds repeat anything, so there are several."""
    study = frames.load(folder).manifest["study"]
    present = (study.get("confirm") or {}).get("seeds", 1)
    n_seeds = max(present, seeds if unit_of(study) == SEED else 1)
    return f"cutmix-sweep confirm {shlex.quote(str(folder))} --seeds {n_seeds}"


def _sentences(differences: pd.DataFrame, name: str, replication: Replication | None) -> list[str]:
    """Return sentences about arms, or with ``None`` about values of a parameter within arms."""
    label = QUANTITIES[name].label
    subjects, units = (replication.subjects, replication.units) if replication else (None, "pairs")
    is_open = differences["verdict"].isin([statistics.UNDECIDED, statistics.TOO_FEW])
    decided, rest = differences[~is_open], differences[is_open]
    sentences = statistics.verdict(decided, metric=label, subjects=subjects, pairs=units)[:-1] if len(decided) else []
    if len(rest):
        n = sorted(rest["n_pairs"].unique())
        counts = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]} to {n[-1]}"
        families = rest[POLICY].astype(str) + ", " if POLICY in rest else ""
        arms = ", ".join(families + rest["arm"].astype(str))
        sentences.append(f"Undecided in {label.name}, against {rest['baseline'].iloc[0]}: {arms} ({counts} {units}).")
    return sentences


def _unmeasured(names: Sequence[str], folder: Path) -> list[str]:
    if not names:
        return []
    axes = ",".join(dict.fromkeys(QUANTITIES[name].axis for name in names))
    labels = ", ".join(QUANTITIES[name].label.name for name in names)
    command = f"cutmix-sweep evaluate {shlex.quote(str(folder))} --axes {axes}"
    return [f"Not measured yet: {labels}. `{command}` measures the axes that are applicable to the data."]
