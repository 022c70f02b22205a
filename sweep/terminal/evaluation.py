"""Results of an evaluation, for the terminal: one table per axis, one row per arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from sweep.evaluation.evaluate import Evaluated
from sweep.findings.bounds import bounds_of
from sweep.findings.evaluated import summarise_evaluations
from sweep.formats import format_decimal, reason_in_one_line
from sweep.terminal.tables import add_column, add_row, new_table, print_line, print_table


def print_evaluated(evaluated: Evaluated, console: Console) -> int:
    """Print means over searches or over seeds, with their 95 % intervals.

    Returns:
        Number of failed measurements.
    """
    summary = summarise_evaluations(evaluated.trials, evaluated.evaluations)
    for name, axis in evaluated.axes.items():
        rows = summary[summary["axis"] == name]
        quantities = zip(rows["setting"], rows["metric"], strict=True)
        shown = [not axis.headline or quantity in axis.headline for quantity in quantities]
        if any(shown):
            print_table(console, _table(name, rows[shown]))
    if _has_cut_interval(summary):
        print_line(console, "Intervals are cut at the bounds of their metric, for example at 0 and 1 for a rate.")
    for failed in evaluated.failures.to_dict("records"):
        print_line(console, f"failed: {failed['axis']} of {failed['trial']}: {reason_in_one_line(failed['why'])}")
    if len(evaluated.failures):
        print_line(console, "run the same command again to repeat the failed measurements")
    for path in evaluated.pictures:
        print_line(console, str(path))
    return len(evaluated.failures)


def _has_cut_interval(summary: pd.DataFrame) -> bool:
    """Return whether an interval ends at a bound of its metric."""
    rows = summary[["metric", "low", "high"]].itertuples(index=False, name=None)
    return any(low == least or high == most for metric, low, high in rows for least, most in (bounds_of(metric),))


def _table(axis: str, rows: pd.DataFrame) -> Table:
    table = new_table(title=axis)
    add_column(table, "arm", justify="left")
    add_column(table, "searches" if "search" in set(rows["unit"]) else "seeds")
    quantities = list(rows.groupby(["split", "setting", "metric"], sort=False))
    for (split, setting, metric), of_quantity in quantities:
        labels = [] if split == "test" else [str(split)]
        labels += [str(setting), str(metric).replace("_", " ")]
        heading = f"{' '.join(filter(None, labels))}\nn = {of_quantity['n'].min()}"
        lines = [line for row in of_quantity.to_dict("records") for line in _cell(row).splitlines()]
        add_column(table, heading, wrap=True, min_width=max(map(len, lines)))
    for arm, of_arm in rows.groupby("arm", sort=False):
        cells: dict[Any, str] = {
            (row["split"], row["setting"], row["metric"]): _cell(row) for row in of_arm.to_dict("records")
        }
        add_row(table, [str(arm), str(of_arm["n_units"].max()), *(cells.get(key, "-") for key, _ in quantities)])
    return table


def _cell(row: Mapping[Any, Any]) -> str:
    mean, low, high = (format_decimal(row[name]) for name in ("mean", "low", "high"))
    return f"{mean}\n{low} .. {high}" if row["low"] < row["high"] else mean  # nan: one value
