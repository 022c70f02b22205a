"""What early stopping did, and what it would have done, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sweep.findings.explain import explain
from sweep.findings.replay import MEASURES
from sweep.findings.summary import METRICS
from sweep.records.reader import read_sweep
from sweep.records.schema import CONFIRM
from trainables.errors import UserError, did_you_mean


def print_why(sweep_dir: Path, trial: str, console: Console) -> None:
    """Show each rung that a trial passed, and say why it ended.

    Raises:
        UserError: the sweep has no such trial.
    """
    records = read_sweep(sweep_dir)
    rows = [*records.trials.to_dict("records"), *read_sweep(sweep_dir, CONFIRM).trials.to_dict("records")]
    trials: dict[str, Any] = {row["trial"]: row for row in rows}
    if trial not in trials:
        raise UserError(f"--why '{trial}': '{sweep_dir}' has no such trial{did_you_mean(trial, trials)}")
    decisions: list[Any] = records.decisions[records.decisions["trial"] == trial].to_dict("records")
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    for name in ("epoch", decisions[0]["metric"] if decisions else "value", "cutoff", "trials", "verdict"):
        table.add_column(name, justify="right")
    for row in decisions:
        values = [str(row["rung_epochs"]), f"{row['value']:.4g}", _cutoff(row["cutoff"]), str(row["n_recorded"])]
        table.add_row(*values, row["verdict"])
    if decisions:
        console.print(table)
    console.print(explain(trials[trial], decisions), highlight=False, markup=False, soft_wrap=True)


def print_replay(frame: pd.DataFrame, console: Console, *, n_orders: int, n_workers: int) -> None:
    """Show what rules would have saved and cost, from ``replay_sweep``: a table for each rule and its rungs."""
    titles = {"own": "each arm with rungs of its own", "shared": "one set of rungs shared by all arms"}
    for (rule, rungs), rows in frame.groupby(["rule", "rungs"], sort=False):
        console.print(f"{rule}\n{titles[str(rungs)]}:", highlight=False, markup=False, soft_wrap=True)
        console.print(_replay_table(rows))
    console.print(
        f"Means over {n_orders} random orders of arrival, {n_workers} trials at a time, with 95 % intervals: how far "
        "the order matters, not how far another sweep would differ. Regret: final value of the best trial kept minus "
        "that of the best of all (where none is kept: the value at which the best was left).",
        highlight=False,
        soft_wrap=True,
    )


def _replay_table(rows: pd.DataFrame) -> Table:
    metric = METRICS[rows["metric"].iloc[0]]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("arm", overflow="fold")
    regrets = (f"regret\n{metric.difference_unit}", "regret\nerr pts")
    for name in ("n", "kept\n%", "epochs\nsaved %", *regrets, "winner\nstopped %"):
        table.add_column(name, justify="right", no_wrap=True)
    factors = dict(zip(MEASURES, (100, 100, metric.factor, 100, 100), strict=True))
    for row in rows.to_dict("records"):
        cells = [_with_interval(row, name, factor) for name, factor in factors.items()]
        table.add_row(row["arm"], str(row["n_curves"]), *cells)
    return table


def _with_interval(row: Mapping[Any, Any], name: str, factor: float) -> str:
    mean, lo, hi = (factor * row[column] for column in (name, f"{name}_lo", f"{name}_hi"))
    if name == "winner_stopped_frac":  # its interval is not symmetric
        return f"{mean:.1f} ({lo:.1f}-{hi:.1f})"
    digits = 1 if factor == 100 else 3
    return f"{mean:.{digits}f} ±{hi - mean:.{digits}f}"


def _cutoff(value: float) -> str:
    return "-" if value != value else f"{value:.4g}"
