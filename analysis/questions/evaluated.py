"""Tables and sentences about what ``cutmix-sweep evaluate`` measured, for any study and any evaluation axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.measurements import QUANTITY
from analysis.plots.style import column_label
from analysis.statistics import HIGHER, LOWER
from sweep.records.schema import CONFIRM, SEARCH

_NETWORKS: Mapping[tuple[str, str], str] = {
    (CONFIRM, "search"): "the winners of each arm's searches, trained again on fresh seeds; `n` counts searches, and "
    "the value of a search is the mean over its seeds",
    (CONFIRM, "seed"): "the winner of each arm, trained again on fresh seeds; `n` counts these seeds",
    (SEARCH, "seed"): "the completed trials of the search; do not select configurations by these values; `n` counts "
    "seeds",
    (SEARCH, "trial"): "the completed trials of the search; do not select configurations by these values; `n` counts "
    "trials, which differ in their parameters as well",
}
"""Networks by phase and unit."""


def describe_networks(means: pd.DataFrame) -> str:
    """Return one sentence per phase: which networks the axes were measured on.

    Args:
        means: from :func:`analysis.data.measurements.measured_means`.
    """
    phases = [(group, rows["axis"].unique()) for group, rows in means.groupby(["phase", "unit"], sort=False)]
    return " ".join(
        f"Networks for {', '.join(axes)}: {_NETWORKS[str(phase), str(unit)]}."
        if len(phases) > 1
        else f"Networks: {_NETWORKS[str(phase), str(unit)]}."
        for (phase, unit), axes in phases
    )


def mean_table(means: pd.DataFrame) -> pd.DataFrame:
    """Return a table to read: one row per quantity, one column per arm, each cell a mean with its interval.

    Args:
        means: from :func:`analysis.data.measurements.measured_means`.
    """
    return _table(means, _mean_cell, n="n")


def difference_table(differences: pd.DataFrame, means: pd.DataFrame) -> pd.DataFrame:
    """Return a table to read: one row per quantity, one column per arm but the baseline, each cell a difference.

    A difference that Holm's correction decides is marked by ``*``.

    Args:
        differences: from :func:`analysis.data.measurements.measured_differences`.
        means: from :func:`analysis.data.measurements.measured_means`; its quantities are shown, in its order.
    """
    shown = means[QUANTITY].drop_duplicates().merge(differences, on=QUANTITY)
    return _table(shown[shown["n_pairs"] > 1], _difference_cell, n="n_pairs", is_difference=True)


def _table(
    rows: pd.DataFrame, cell: Callable[[pd.Series[Any]], str], *, n: str, is_difference: bool = False
) -> pd.DataFrame:
    arms = [str(arm) for arm in rows["arm"].unique()]
    lines = []
    for (axis, split, setting, metric), of_quantity in rows.groupby(QUANTITY, sort=False):
        label = column_label(str(metric))
        unit = label.difference_unit if is_difference else label.unit
        condition = ", ".join(filter(None, [str(setting), "" if split == "test" else f"{split} images"]))
        cells = dict.fromkeys(arms, "") | {str(row["arm"]): cell(row) for _, row in of_quantity.iterrows()}
        line = {"axis": axis, "condition": condition, "quantity": f"{label.name} ({unit})" if unit else label.name}
        lines.append({**line, "n": format_range(of_quantity[n]), **cells})
    columns = ["axis", "condition", "quantity", "n", *arms]
    # named columns are values, here arms: their headers stay as they are
    return pd.DataFrame(lines, columns=columns).rename_axis(columns="arm")


def format_range(numbers: pd.Series[Any]) -> str:
    """Print the range of some whole numbers.

    Example:
        >>> format_range(pd.Series([5, 3, 4]))
        '3 to 5'
    """
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _mean_cell(row: pd.Series[Any]) -> str:
    factor = column_label(row["metric"]).factor
    mean, low, high = (_format(row[end] * factor, factor) for end in ("estimate", "low", "high"))
    return f"{mean} {_interval(low, high)}" if pd.notna(row["low"]) else mean


def _difference_cell(row: pd.Series[Any]) -> str:
    factor = column_label(row["metric"]).factor
    mean, low, high = (_format(row[end] * factor, factor, sign="+") for end in ("estimate", "low", "high"))
    mark = "\u00a0*" if row["verdict"] in (LOWER, HIGHER) else ""
    return f"{mean}{mark} {_interval(low, high)}" if pd.notna(row["low"]) else mean


def _interval(low: str, high: str) -> str:
    """Print an interval with no-break spaces: in a wide table a cell then breaks only before its interval."""
    return f"({low}\u00a0to\u00a0{high})"


def _format(value: float, factor: float, *, sign: str = "") -> str:
    """Print a percentage with two decimals, a large number in powers of ten, any other with three decimals."""
    digits = ".2f" if factor != 1 else ".3g" if np.abs(value) >= 1000 else ".3f"
    return f"{value:{sign}{digits}}"
