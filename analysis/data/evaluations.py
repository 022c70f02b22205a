"""Quantities that evaluation adds to the trials of a search, and what of them is still to be measured.

They are called as :func:`by_axis` calls them: ``adversarial robust_error (pgd20 eps=2/255)``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from analysis import statistics
from analysis.data.frames import Sweep
from sweep.records.schema import COMPLETED


def by_axis(evaluations: pd.DataFrame, *, split: str = "test") -> pd.DataFrame:
    """Spread the evaluations over columns, one a measured quantity.

    Args:
        evaluations: one row a trial, axis, split, setting and metric, with ``arm``, from ``frames.load``.
        split: images that were measured on.

    Returns:
        One row a trial: ``trial``, ``arm`` and a column a quantity, called ``axis metric``, with the setting in
        parentheses where the axis has several: ``adversarial robust_error (fgsm eps=8/255)``. Of one that was
        measured again under other settings of its axis the latest counts.
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
    """Gather what was measured on the test images of completed trials.

    Args:
        sweep: from :func:`analysis.data.frames.load`.
        names: of the quantities.

    Returns:
        One row a completed trial: ``trial``, ``arm``, ``replicate`` and a column a name, nan where it has not been
        measured.
    """
    done = sweep.trials[sweep.trials["status"] == COMPLETED].reset_index(drop=True)
    measured = by_axis(sweep.evaluations).set_index("trial").reindex(index=done["trial"], columns=list(names))
    return done[["trial", "arm", "replicate"]].assign(
        **{name: measured[name].astype(float).to_numpy() for name in names}
    )


def measured(values: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """List those of the names that any trial of :func:`values_of` has."""
    return [name for name in names if values[name].notna().any()]


def to_measure(values: pd.DataFrame, names: Sequence[str]) -> str:
    """Say in Markdown how many trials have been measured, and by which command the others are.

    An axis that no trial has is asked for only where none has any: it may not suit the images.

    Args:
        values: from :func:`values_of`.
        names: of the quantities that are wanted.
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
    return f"{left}; this measures them, DIR being the sweep's folder:{note}\n\n```\n{command}\n```"


def _axes(names: Collection[str]) -> list[str]:
    return sorted({name.partition(" ")[0] for name in names})


def means(values: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Average quantities arm by arm.

    Args:
        values: from :func:`values_of`.
        names: of the quantities.

    Returns:
        One row a quantity and arm, as from :func:`analysis.statistics.means`: ``quantity``, ``arm``, ``n`` (trials),
        ``estimate``, ``low``, ``high`` and ``confidence``.
    """
    return statistics.means(long(values, names), value="value", by=("quantity", "arm"))


def long(values: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return a row a trial and quantity: ``trial``, ``arm``, ``replicate``, ``quantity`` and ``value``."""
    return values.melt(["trial", "arm", "replicate"], list(names), var_name="quantity", value_name="value")


def side_by_side(found: pd.DataFrame) -> pd.DataFrame:
    """Return a table to read: a row an arm, a column a quantity, each cell a mean with its interval and n.

    Args:
        found: from :func:`means`.
    """
    cells = found.assign(cell=[_cell(row) for _, row in found.iterrows()])
    wide = cells.pivot(index="arm", columns="quantity", values="cell")
    return wide.reindex(index=found["arm"].unique(), columns=found["quantity"].unique()).rename_axis(columns="quantity")


def _cell(row: pd.Series[Any]) -> str:
    if not row["n"]:
        return ""
    value, low, high = (f"{row[end]:.3f}" for end in ("estimate", "low", "high"))
    return f"{value} ({low} to {high}), {row['n']}" if pd.notna(row["low"]) else f"{value}, {row['n']}"
