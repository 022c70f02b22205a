"""Trials of a sweep, for the terminal: one row per trial, as many columns as fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.cells import cell_len
from rich.console import Console

from sweep.driver import find_driver
from sweep.findings.searches import n_searches
from sweep.findings.trials import default_sort, list_trials, sampled_parameters
from sweep.formats import format_decimal, format_duration, format_percent
from sweep.manifest import command_to_resume
from sweep.records.reader import read_manifest
from sweep.records.schema import LIVING
from sweep.terminal.tables import add_column, add_row, new_table, print_line, print_table

COLUMNS = ("trial", "status", "epochs", "val_top1_error", "val_nll")
"""Columns that are always shown unless ``--columns`` names others; sampled parameters follow as far as they fit.

With several searches per arm, ``search`` comes after ``trial``.
"""

HEADING_WIDTH = 10
"""Characters per line of a heading: a longer name is folded after a dot or an underscore."""


def print_trials(
    sweep_dir: Path,
    console: Console,
    *,
    arm: Sequence[str] | None = None,
    state: Sequence[str] | None = None,
    sort: str | None = None,
    top: int | None = None,
    columns: Sequence[str] | None = None,
) -> None:
    """Print the trials that ``list_trials`` returns, and how they are sorted.

    Raises:
        UserError: the sweep has no such arm, status or column.
    """
    every = list_trials(sweep_dir, arm=arm, state=state, sort=sort, columns=columns)
    trials = every if top is None else every.head(top)
    manifest = read_manifest(sweep_dir)
    study = manifest["study"]
    sorted_by = sort or default_sort(study)
    if columns is None:
        first = ["trial", *(["search"] if n_searches(study) > 1 else []), *COLUMNS[1:], sorted_by.removeprefix("-")]
        shown, left_out = _fitting(trials, first, console.width)
    else:
        shown, left_out = list(columns), []
    if len(trials):
        _print_table(trials, shown, console)
    order = "largest" if sorted_by.startswith("-") else "smallest"
    print_line(
        console,
        f"{len(trials)} of {len(every)} trials, sorted by {sorted_by.removeprefix('-')}, {order} first. "
        "Validation values: after the last recorded epoch of each trial.",
    )
    if left_out:
        print_line(console, f"Further parameters, for --columns: {', '.join(left_out)}.")
    if "status" in shown and trials["status"].isin(LIVING).any() and find_driver(sweep_dir) is None:
        print_line(console, f"interrupted; resume with: {command_to_resume(sweep_dir, manifest)}")


def _fitting(trials: pd.DataFrame, first: Sequence[str], width: int) -> tuple[list[str], list[str]]:
    """Return ``first`` and the parameters that fit into ``width`` characters with it, and the other parameters."""
    shown = list(dict.fromkeys(first))
    params = [name for name in sampled_parameters(trials) if name not in shown and trials[name].notna().any()]
    used = sum(_width(trials, name) for name in shown)
    for index, name in enumerate(params):
        used += _width(trials, name)
        if used > width:
            return shown, params[index:]
        shown.append(name)
    return shown, []


def _width(trials: pd.DataFrame, name: str) -> int:
    lines = [*_fold(name).splitlines(), *_cells(trials, name)]
    return max(map(cell_len, lines)) + 2  # the gap and the divider


def _print_table(trials: pd.DataFrame, names: Sequence[str], console: Console) -> None:
    table = new_table(gap=0)
    for name in names:
        is_text = trials[name].map(lambda value: isinstance(value, str)).any()
        add_column(table, _fold(name), justify="left" if is_text else "right")
    for row in zip(*(_cells(trials, name) for name in names), strict=True):
        add_row(table, row)
    print_table(console, table)


def _cells(trials: pd.DataFrame, name: str) -> list[str]:
    if name == "epochs" and "planned_epochs" in trials:
        pairs = zip(trials["epochs"], trials["planned_epochs"], strict=True)
        return [f"{epochs}/{planned:g}" if planned == planned else str(epochs) for epochs, planned in pairs]
    if name == "status" and "fault" in trials:
        pairs = zip(trials["status"], trials["fault"], strict=True)
        return [f"{status} ({fault})" if isinstance(fault, str) else status for status, fault in pairs]
    return [_cell(name, value) for value in trials[name]]


def _cell(name: str, value: Any) -> str:
    """Return a value as the terminal shows it: errors in percent, times with a unit, numbers with few digits."""
    if value is None or value != value:
        return "-"
    if isinstance(value, str):
        return " ".join(value.split())
    if name.endswith(("_error", "_ece")):
        return format_percent(value)
    if name == "seconds":
        return format_duration(value)
    if isinstance(value, float) and not value.is_integer():
        return format_decimal(value) if name.startswith(("val_", "test_")) else f"{value:.4g}"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def _fold(name: str) -> str:
    """Return a name as a heading: lines of at most ``HEADING_WIDTH`` characters where its parts allow it.

    Examples:
        >>> _fold("val_top1_error").splitlines()
        ['val_top1_', 'error']
    """
    lines = [""]
    for part in re.findall(r"[^._]+[._]*", name):
        if lines[-1] and len(lines[-1] + part) > HEADING_WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
