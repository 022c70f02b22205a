"""Result of a check of a sweep's folder, for the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from sweep.check import Problem, SweepCheck, describe_leftover
from sweep.endings import resume_command
from sweep.formats import format_duration
from sweep.records.errors import repair_command
from sweep.terminal.tables import add_column, add_row, new_table, print_line, print_table

MAX_ROWS = 40
"""Largest number of problems, and of leftovers, that are printed; the JSON document has all."""


def print_check(check: SweepCheck, console: Console) -> None:
    """Print what is wrong with a sweep, what was repaired, and what to do next."""
    _print_problems("repaired", check.repaired, check.sweep_dir, console)
    _print_problems("problems", check.problems, check.sweep_dir, console)
    for path in check.leftovers[:MAX_ROWS]:
        print_line(console, f"left alone: {_shown(path, check.sweep_dir)} ({describe_leftover(path)})")
    if len(check.leftovers) > MAX_ROWS:
        print_line(console, f"left alone: {len(check.leftovers) - MAX_ROWS} more files")
    for line in describe_check(check):
        print_line(console, line)


def _print_problems(title: str, problems: tuple[Problem, ...], sweep_dir: Path, console: Console) -> None:
    if not problems:
        return
    table = new_table(title=title)
    add_column(table, "what", justify="left")
    add_column(table, "where", justify="left", wrap=True, min_width=16)
    add_column(table, "problem", justify="left", wrap=True, min_width=16)
    add_column(table, "repair", justify="left", wrap=True, min_width=16)
    add_column(table, "epochs")
    for each in problems[:MAX_ROWS]:
        epochs = str(each.epochs) if each.epochs else "-"
        add_row(table, [each.what, _shown(each.path, sweep_dir), each.problem, each.repair, epochs])
    print_table(console, table)
    if len(problems) > MAX_ROWS:
        print_line(console, f"and {len(problems) - MAX_ROWS} more, which --json lists")


def _shown(path: Path, sweep_dir: Path) -> str:
    return str(path.relative_to(sweep_dir)) if path.is_relative_to(sweep_dir) else str(path)


def describe_check(check: SweepCheck) -> list[str]:
    """Return the result in sentences: whether the sweep is whole, what is lost, what runs again, and the command."""
    lines = []
    if check.is_whole:
        lines.append(f"'{check.sweep_dir}' is whole: all checksums and counts are as they were written.")
    lost = ", ".join(f"{number} of '{table}'" for table, number in check.lost_rows.items() if number)
    if lost:
        lines.append(f"Rows that were lost so far: {lost}. Rows that were recorded again since are among them.")
    if check.to_run is None:
        lines.append(f"What resume would run is not known: {check.unknown}")
    elif not check.is_whole and check.to_run.n_left:
        run = check.to_run
        again = f", of which at most {run.epochs} epochs are repeated" if run.epochs else ""
        time = f" (about {format_duration(run.seconds)} of training)" if run.epochs else ""
        lines.append(f"{run.n_left} of {run.n_trials} trials are left to run{again}{time}.")
    if any(problem.what == "records" for problem in check.problems):
        lines.append(f"Repair the records with: {repair_command(check.sweep_dir)}")
    if not check.is_whole and (check.to_run is None or check.to_run.n_left):
        lines.append(f"Regain what is lost with: {resume_command(check.sweep_dir)}")
    return lines
