"""What an evaluation found, for the terminal: a table an axis, a row an arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweep.evaluation.evaluate import Evaluated
from sweep.findings.evaluated import summarise_evaluations


def print_evaluated(evaluated: Evaluated, console: Console) -> int:
    """Show means over seeds with half the width of their 95 % intervals; return how many measurements failed."""
    summary = summarise_evaluations(evaluated.trials, evaluated.evaluations)
    for name, axis in evaluated.axes.items():
        rows = summary[summary["axis"] == name]
        quantities = zip(rows["setting"], rows["metric"], strict=True)
        shown = [not axis.headline or quantity in axis.headline for quantity in quantities]
        if any(shown):
            console.print(_table(name, rows[shown]))
    for failed in evaluated.failures.to_dict("records"):
        why = escape(str(failed["why"]).splitlines()[-1])
        console.print(f"failed: {failed['axis']} of {failed['trial']}: {why}", highlight=False, soft_wrap=True)
    if len(evaluated.failures):
        console.print("the same command measures what failed again", highlight=False, soft_wrap=True)
    for path in evaluated.pictures:
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    return len(evaluated.failures)


def _table(axis: str, rows: pd.DataFrame) -> Table:
    table = Table(title=axis, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("arm", no_wrap=True)
    table.add_column("seeds", justify="right")
    for (split, setting, metric), of_quantity in rows.groupby(["split", "setting", "metric"], sort=False):
        where = [] if split == "test" else [str(split)]
        words = [*where, str(setting), str(metric).replace("_", " ")]
        heading = f"{' '.join(filter(None, words))}\nn {of_quantity['n'].min()}"
        table.add_column(heading, justify="right", overflow="fold")
    for arm, of_arm in rows.groupby("arm", sort=False):
        cells = {(row["split"], row["setting"], row["metric"]): _cell(row) for row in of_arm.to_dict("records")}
        quantities = rows[["split", "setting", "metric"]].drop_duplicates().itertuples(index=False, name=None)
        table.add_row(escape(str(arm)), str(of_arm["seeds"].max()), *(cells.get(key, "-") for key in quantities))
    return table


def _cell(row: Mapping[Any, Any]) -> str:
    mean, half = row["mean"], (row["high"] - row["low"]) / 2
    return f"{_number(mean)}\n± {_number(half)}" if half > 0 else _number(mean)  # nan for a single seed


def _number(value: float) -> str:
    """Write large numbers in powers of ten, others with three digits after the point."""
    return f"{value:.3g}" if abs(value) >= 1000 else f"{value:.3f}"
