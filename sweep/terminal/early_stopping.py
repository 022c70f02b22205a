"""What early stopping did to a trial, and what other rules would have done, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from sweep.findings.explain import explain
from sweep.findings.replay import MEASURES
from sweep.findings.summary import METRICS
from sweep.records.reader import read_both_phases
from sweep.records.schema import FAILED
from sweep.terminal.tables import add_column, add_row, new_table, print_line, print_table
from trainables.errors import UserError, did_you_mean

RUNGS = {"own": "Rungs: separate for each arm.", "shared": "Rungs: shared by all arms."}
"""Description of each value of the replay's column ``rungs``, with one search per arm."""

RUNGS_OF_SEARCHES = {
    "own": "Rungs: separate for each search of each arm.",
    "shared": "Rungs: for each search, shared by all arms.",
}
"""Description of each value of the replay's column ``rungs``, with several searches per arm."""


def print_why(sweep_dir: Path, trial: str, console: Console) -> None:
    """Print each rung that a trial passed, and one sentence on its end; for a failed trial also the whole error.

    Raises:
        UserError: the sweep has no such trial.
    """
    records, confirm = read_both_phases(sweep_dir)
    rows = [*records.trials.to_dict("records"), *confirm.trials.to_dict("records")]
    trials: dict[str, Any] = {row["trial"]: row for row in rows}
    if trial not in trials:
        raise UserError(f"--why '{trial}': '{sweep_dir}' has no such trial{did_you_mean(trial, trials)}")
    decisions: list[Any] = records.decisions[records.decisions["trial"] == trial].to_dict("records")
    if decisions:
        table = new_table(gap=0)
        for heading in ("epoch", decisions[0]["metric"], "cutoff", "trials", "verdict"):
            add_column(table, heading)
        for row in decisions:
            cutoff = "-" if row["cutoff"] != row["cutoff"] else f"{row['cutoff']:.4g}"
            cells = [str(row["rung_epochs"]), f"{row['value']:.4g}", cutoff, str(row["n_recorded"]), row["verdict"]]
            add_row(table, cells)
        print_table(console, table)
    print_line(console, explain(trials[trial], decisions))
    if trials[trial]["status"] == FAILED and len(trials[trial]["why"].splitlines()) > 1:
        print_line(console, f"\n{trials[trial]['why']}")


def print_replay(frame: pd.DataFrame, console: Console, *, n_orders: int, n_workers: int) -> None:
    """Print what each rule would have saved and cost: one table per rule and kind of rungs.

    Args:
        frame: from ``replay_sweep``.
        console: where to print.
        n_orders: random orders that each mean is computed from.
        n_workers: trials that run at the same time in the simulation.
    """
    n_searches = int(frame["n_searches"].max())
    rungs_text = RUNGS_OF_SEARCHES if n_searches > 1 else RUNGS
    for (rule, rungs), rows in frame.groupby(["rule", "rungs"], sort=False):
        print_line(console, f"{rule}\n{rungs_text[str(rungs)]}")
        print_table(console, _replay_table(rows))
    print_line(
        console,
        f"Means over {n_orders} random orders of the trials, with {n_workers} trials at a time. "
        "The 95 % intervals cover the choice of the order only, not the difference to another sweep.\n"
        "Regret: final value of the best trial kept, minus the final value of the best trial. "
        "If no trial is kept, the first of the two is the last value of the best among the trials that ran longest."
        + (f" Means over the {n_searches} searches per arm, each with its own best trial." if n_searches > 1 else "")
        + _describe_left_out(frame),
    )


def _describe_left_out(frame: pd.DataFrame) -> str:
    number = int(frame["n_cancelled"].max()) if "n_cancelled" in frame else 0
    return f"\nLeft out: {number} trials that a person stopped." if number else ""


def _replay_table(rows: pd.DataFrame) -> Table:
    metric = METRICS[rows["metric"].iloc[0]]
    table = new_table()
    add_column(table, "arm", justify="left")
    regrets = (f"regret\n{metric.difference_unit}", "regret\nerr pts")
    for heading in ("n", "kept\n%", "epochs\nsaved %", *regrets, "winner\nstopped %"):
        add_column(table, heading)
    factors = dict(zip(MEASURES, (100, 100, metric.factor, 100, 100), strict=True))
    for row in rows.to_dict("records"):
        cells = [_with_interval(row, name, factor) for name, factor in factors.items()]
        add_row(table, [row["arm"], str(row["n_curves"]), *cells])
    return table


def _with_interval(row: Mapping[Any, Any], name: str, factor: float) -> str:
    mean, lo, hi = (factor * row[column] for column in (name, f"{name}_lo", f"{name}_hi"))
    if name == "winner_stopped_frac":  # its interval is not symmetric
        return f"{mean:.1f} ({lo:.1f}-{hi:.1f})"
    digits = 1 if factor == 100 else 3
    return f"{mean:.{digits}f} ±{hi - mean:.{digits}f}"
