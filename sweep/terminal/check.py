"""Result of a check of a sweep's folder, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from sweep.check import NO_MANIFEST, Problem, SweepCheck, describe_leftover
from sweep.endings import resume_command
from sweep.formats import format_duration
from sweep.lost import describe_trials
from sweep.records.errors import repair_command
from sweep.terminal.tables import print_line

MAX_ROWS = 40
"""Largest number of problems, and of leftovers, that are printed; the JSON document has all."""


def print_check(check: SweepCheck, console: Console) -> None:
    """Print what is wrong with a sweep, what was repaired, and what to do next."""
    _print_problems("repaired", "done", check.repaired, check.sweep_dir, console)
    _print_problems("problem", "repair", check.problems, check.sweep_dir, console)
    for path in check.leftovers[:MAX_ROWS]:
        print_line(console, f"left alone: {_shown(path, check.sweep_dir)} ({describe_leftover(path)})")
    if len(check.leftovers) > MAX_ROWS:
        print_line(console, f"left alone: {len(check.leftovers) - MAX_ROWS} more files")
    for line in describe_check(check):
        print_line(console, line)


def _print_problems(title: str, remedy: str, problems: tuple[Problem, ...], sweep_dir: Path, console: Console) -> None:
    """Print three lines per problem: the path alone, so that it can be copied, what is wrong, and the repair."""
    for each in problems[:MAX_ROWS]:
        print_line(console, f"{title}: {_shown(each.path, sweep_dir)}", style="bold")
        print_line(console, f"  {each.problem}")
        cost = f": {_describe_cost(each.epochs, each.seconds)}" if each.epochs else ""
        print_line(console, f"  {remedy}: {each.repair}{cost}")
    if len(problems) > MAX_ROWS:
        print_line(console, f"and {len(problems) - MAX_ROWS} more, which --json lists")


def _describe_cost(n_epochs: int, seconds: float) -> str:
    """Return how many epochs are repeated and how long they took: ``at most 4 repeated epochs (3 s of training)``."""
    time = "" if math.isnan(seconds) else f" ({format_duration(seconds)} of training)"
    return f"at most {n_epochs} repeated {'epoch' if n_epochs == 1 else 'epochs'}{time}"


def _shown(path: Path, sweep_dir: Path) -> str:
    return str(path.relative_to(sweep_dir)) if path.is_relative_to(sweep_dir) else str(path)


def describe_check(check: SweepCheck) -> list[str]:
    """Return the result in sentences: whether the sweep is whole, what is lost, what runs again, and the command."""
    lines = [*_describe_state(check), *_describe_unverified(check)]
    lost = ", ".join(f"{number} of the table '{table}'" for table, number in check.lost_rows.items() if number)
    if lost:
        lines.append(f"Lost rows: {lost}. Rows that were recorded again since are among them.")
    run = check.to_run
    if run is None:
        lines.append(f"What resume would run is not known: {check.unknown}")
    elif run.n_left:
        again = f"; {_describe_cost(run.epochs, run.seconds)}" if run.epochs else ""
        lines.append(f"{run.n_left} of {run.n_trials} trials {'is' if run.n_left == 1 else 'are'} left to run{again}.")
    if check.unknown == NO_MANIFEST:
        return lines
    if any(problem.what == "records" for problem in check.problems):
        lines.append(f"Repair the records with: {repair_command(check.sweep_dir)}")
    if run is None or run.n_left:
        verb = "Resume" if check.is_whole else "Regain what is lost"
        lines.append(f"{verb} with: {resume_command(check.sweep_dir)}")
    return lines


def _describe_state(check: SweepCheck) -> Iterator[str]:
    if check.n_upgraded:
        yield f"{check.n_upgraded} record files of an older version now have checksums and copies."
    if not check.is_whole:
        return
    if check.unverified.n_parts:
        yield f"'{check.sweep_dir}': no damage was found."
    else:
        yield f"'{check.sweep_dir}' is whole: all checksums and counts are as they were written."


def _describe_unverified(check: SweepCheck) -> Iterator[str]:
    n_parts, trials = check.unverified.n_parts, check.unverified.trials
    if n_parts:
        yield (
            f"{n_parts} record files of an older version have no checksum: a changed value in them is not noticed. "
            f"To write checksums and copies: {repair_command(check.sweep_dir)}"
        )
    if trials:
        names = describe_trials(list(trials))
        yield f"Without a model, and without a recorded checksum of one: {names}. resume leaves this as it is."
