"""Quantities that ``cutmix-sweep evaluate`` measured on the trials of a search, and those that it has not measured yet.

A quantity has the name that :func:`by_axis` gives it: ``adversarial robust_error (pgd20 eps=2/255)``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from analysis import statistics
from analysis.data.frames import Sweep
from sweep.records.schema import COMPLETED


def by_axis(evaluations: pd.DataFrame, *, split: str = "test") -> pd.DataFrame:
    """Return the evaluations with one column per measured quantity.

    Args:
        evaluations: one row per trial, axis, split, setting and metric, with ``arm``, as from ``frames.load``.
        split: images that the quantities were measured on.

    Returns:
        One row per trial: ``trial``, ``arm`` and one column per quantity, NaN where it was not measured. A column is
        named ``axis metric``, followed by the condition in parentheses if the axis has several conditions:
        ``adversarial robust_error (fgsm eps=8/255)``. If a quantity was measured under several settings of its axis,
        the latest value counts.

    Examples:
        >>> columns = ["trial", "arm", "axis", "split", "setting", "metric", "value", "time_s"]
        >>> rows = [
        ...     ("off-0000", "off", "calibration", "test", "raw", "ece", 0.0625, 1.0),
        ...     ("off-0000", "off", "calibration", "test", "temperature scaled", "ece", 0.03125, 1.0),
        ...     ("off-0000", "off", "classification", "test", "last", "top1_error", 0.25, 1.0),
        ... ]
        >>> by_axis(pd.DataFrame(rows, columns=columns)).T
                                                     0
        trial                                 off-0000
        arm                                        off
        calibration ece (raw)                   0.0625
        calibration ece (temperature scaled)   0.03125
        classification top1_error                 0.25
    """
    rows = evaluations[evaluations["split"] == split].sort_values("time_s", kind="stable")
    rows = rows.drop_duplicates(["trial", "axis", "setting", "metric"], keep="last")
    several = rows.groupby("axis")["setting"].transform("nunique") > 1
    named = rows["axis"] + " " + rows["metric"]
    named = named.where(~several | (rows["setting"] == ""), named + " (" + rows["setting"] + ")")
    wide = rows[["trial", "arm"]].drop_duplicates("trial").reset_index(drop=True)
    for quantity, values in rows.set_index("trial")["value"].groupby(named.to_numpy(), sort=False):
        wide[str(quantity)] = wide["trial"].map(values)
    return wide


def values_of(sweep: Sweep, names: Sequence[str]) -> pd.DataFrame:
    """Return measured quantities of completed trials on test images.

    Args:
        sweep: from :func:`analysis.data.frames.load`.
        names: names of quantities.

    Returns:
        One row per completed trial: ``trial``, ``arm``, ``replicate`` and one column per name, NaN where the quantity
        has not been measured.
    """
    done = sweep.trials[sweep.trials["status"] == COMPLETED].reset_index(drop=True)
    measured = by_axis(sweep.evaluations).set_index("trial").reindex(index=done["trial"], columns=list(names))
    return done[["trial", "arm", "replicate"]].assign(
        **{name: measured[name].astype(float).to_numpy() for name in names}
    )


def measured(values: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """List the names of quantities that at least one trial of :func:`values_of` has."""
    return [name for name in names if values[name].notna().any()]


def to_measure(values: pd.DataFrame, names: Sequence[str]) -> str:
    """Return a Markdown text: how many trials have been measured, and the command that measures the others.

    The command leaves out an axis that was measured on no trial, unless this is true of all axes: an axis may not be
    applicable to the images.

    Args:
        values: from :func:`values_of`.
        names: names of the quantities that the notebook shows.
    """
    if values.empty:
        return "No trial has completed yet, so there is nothing to measure."
    wanted = measured(values, names) or list(names)
    lacks = values[wanted].isna().any(axis=1)
    absent = _axes(set(names) - set(wanted))
    note = f" Not measured on any trial: {', '.join(absent)}." if absent else ""
    if not lacks.any():
        return f"All {len(values)} completed trials have been measured.{note}"
    command = f"cutmix-sweep evaluate DIR --axes {','.join(_axes(wanted))} --trials search"
    left = f"{lacks.sum()} of {len(values)} completed trials have not been measured yet"
    return f"{left}. To measure them, run (DIR is the folder of the sweep):{note}\n\n```\n{command}\n```"


def _axes(names: Collection[str]) -> list[str]:
    return sorted({name.partition(" ")[0] for name in names})


def means(values: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Estimate the mean of each quantity and arm with its t interval.

    Args:
        values: from :func:`values_of`.
        names: names of quantities.

    Returns:
        One row per quantity and arm, as from :func:`analysis.statistics.means`: ``quantity``, ``arm``, ``n`` (trials),
        ``estimate``, ``low``, ``high`` and ``confidence``.
    """
    return statistics.means(long(values, names), value="value", by=("quantity", "arm"), metric="quantity")


def long(values: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return one row per trial and quantity: ``trial``, ``arm``, ``replicate``, ``quantity`` and ``value``."""
    return values.melt(["trial", "arm", "replicate"], list(names), var_name="quantity", value_name="value")


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table to read: one row per arm, one column per quantity, each cell a mean with its interval and n.

    Args:
        table: from :func:`means`.

    Returns:
        Text; "" where a quantity was not measured.
    """
    cells = table.assign(cell=[_cell(row) for _, row in table.iterrows()])
    wide = cells.pivot(index="arm", columns="quantity", values="cell")
    return wide.reindex(index=table["arm"].unique(), columns=table["quantity"].unique()).rename_axis(columns="quantity")


def _cell(row: pd.Series[Any]) -> str:
    if not row["n"]:
        return ""
    value, low, high = (f"{row[end]:.3f}" for end in ("estimate", "low", "high"))
    return f"{value} ({low} to {high}), {row['n']}" if pd.notna(row["low"]) else f"{value}, {row['n']}"
