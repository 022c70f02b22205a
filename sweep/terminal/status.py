"""Progress and results of a sweep, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from sweep.endings import resume_command
from sweep.findings.confirmed import has_cut_interval
from sweep.findings.gpu_memory import describe_gpu_memory
from sweep.findings.searches import n_searches, unit_of
from sweep.findings.wording import describe_trials
from sweep.formats import format_decimal, format_duration, format_percent, format_points, reason_in_one_line
from sweep.manifest import command_to_resume
from sweep.node_record import left_out_nodes
from sweep.records.reader import SweepRecords
from sweep.records.schema import COMPLETED, DIVERGED, FAILED, STATUSES
from sweep.status import ENDED, INTERRUPTED, SweepStatus, read_status
from sweep.terminal.live_table import HEADS
from sweep.terminal.tables import Column, print_columns, print_heading, print_line

DISPENSABLE = ("ECE", "NLL", "epochs", "trials")
"""Columns that a narrow terminal lacks, the first one first."""


def print_status(sweep_dir: Path, console: Console) -> int:
    """Print the progress and the results of a sweep.

    Returns:
        Exit code of the command that ran the sweep, once it has ended.
    """
    status = read_status(sweep_dir)
    manifest = status.search.manifest
    print_heading(console, manifest["study"]["name"], manifest["study"]["question"])
    _print_arms(status.arms, console)
    print_line(console, _describe_training(manifest, status.trials, status.training_s))
    if status.remaining.problem:
        print_line(console, f"the number of trials left is not known: {status.remaining.problem}", style="yellow")
    for line in _describe_problems(sweep_dir, status):
        print_line(console, line)
    if not status.confirmed.empty:
        _print_confirmed(status, console)
    print_line(console, status.verdict)
    return status.exit_code


def _print_arms(summary: pd.DataFrame, console: Console) -> None:
    statuses = [status for status in STATUSES if status == COMPLETED or summary[f"n_{status}"].any()]
    columns: list[tuple[str, Iterable[str]]] = [
        ("arm", summary["arm"]),
        ("trials", map(str, summary["n_trials"])),
        *((HEADS[status], map(str, summary[f"n_{status}"])) for status in statuses),
        ("epochs", map(str, summary["epochs"])),
        ("best\nerror", map(format_percent, summary["best"])),
        ("median", map(format_percent, summary["median"])),
        ("NLL", map(format_decimal, summary["val_nll"])),
        ("ECE", map(format_percent, summary["val_ece"])),
    ]
    print_columns(console, _aligned(columns), without=DISPENSABLE)


def _aligned(columns: Iterable[tuple[str, Iterable[str]]]) -> list[Column]:
    """Return columns of which the first one, with names, is aligned to the left."""
    return [Column(head, tuple(cells), "right" if place else "left") for place, (head, cells) in enumerate(columns)]


def _describe_training(manifest: Mapping[str, Any], trials: pd.DataFrame, seconds: float) -> str:
    """Return what the errors are, how long training took, and on which hardware and versions."""
    versions, hardware = manifest["versions"], manifest["hardware"]
    n_resumed = int((trials["attempts"] > 1).sum())
    gpus = sorted(set(trials["device"].dropna()) - {"cpu"})
    machine = ", ".join(gpus) or f"{hardware.get('processor', '?')}, {hardware.get('cores', '?')} cores"
    resources = manifest["study"].get("resources", {})
    if (n_workers := resources.get("workers", 1)) > 1:
        machine += f", {n_workers} workers per trial"
    if number := resources.get("trials_per_gpu"):
        machine += f", {number} trials per GPU"
    programs = ", ".join(f"{name} {versions.get(name, '?')}" for name in ("torch", "ray", "cutmix-sweep"))
    n = n_searches(manifest["study"])
    searches = f" in the {n} searches of each arm" if n > 1 else ""
    resumed = f"; {n_resumed} of them {'was' if n_resumed == 1 else 'were'} resumed" if n_resumed else ""
    return (
        f"Validation top-1 error of completed trials{searches} after their last epoch; NLL and ECE of the best of "
        "these trials.\n"
        f"Training time: {format_duration(seconds)} in {len(trials)} trials{resumed}. "
        f"{machine}; {programs}."
    )


def _describe_problems(sweep_dir: Path, status: SweepStatus) -> Iterator[str]:
    """Yield one line per failed trial, node without trials and arm without a result, and the command to resume."""
    for trial in status.failures:
        kind = "failed" if trial["status"] == FAILED else "no test value"
        fault = f" ({trial['fault']})" if isinstance(trial["fault"], str) else ""
        yield f"{kind}: {trial['trial']}{fault}: {reason_in_one_line(trial['why'])}"
    if sentence := describe_gpu_memory(status.trials):
        yield sentence
    for node in left_out_nodes(status.search.manifest):
        yield f"left out: node '{node['node']}': {node['why']}"
    if any(trial["status"] == FAILED for trial in status.failures):
        yield f"after fixing the cause, run: {command_to_resume(sweep_dir, status.search.manifest, '--retry-failed')}"
    if status.state == ENDED:
        yield from _describe_arms_without_result(status.search, status.remaining.dropped)
    elif status.state == INTERRUPTED:
        left = f"{status.remaining.n_left} of {status.remaining.n_trials} trials are left"
        yield f"interrupted, {left}; resume with: {command_to_resume(sweep_dir, status.search.manifest)}"
    elif status.driver is not None:
        yield f"running: {status.driver.describe()}"
        if status.driver.trials:
            yield f"trials: {status.driver.trials}"
        if status.driver.paused:
            yield f"paused {status.driver.paused}; resume with: {resume_command(sweep_dir)}"
        if status.driver.stalled:
            yield "; ".join(filter(None, (f"stalled: {status.driver.stalled}", status.driver.advice)))


def _describe_arms_without_result(search: SweepRecords, dropped: Mapping[str, int]) -> Iterator[str]:
    """Yield one line for each arm of a finished sweep of which no search trial completed, or too few to confirm.

    Args:
        search: records of the search.
        dropped: number of confirmation trials, by arm, that cannot run.
    """
    for arm in search.manifest["study"]["arms"]:
        trials = search.trials[search.trials["arm"] == arm]
        left_out = _describe_dropped(dropped.get(arm, 0))
        if trials.empty or (trials["status"] == COMPLETED).any():
            if left_out:
                yield f"{arm}: too few search trials completed; {left_out}"
            continue
        counts = ", ".join(f"{count} {status}" for status, count in trials["status"].value_counts().items())
        line = f"{arm}: the search is over and no trial completed ({counts})"
        yield f"{line}; {left_out}" if left_out else line
    rates = search.trials.loc[search.trials["status"] == DIVERGED, "config.optimizer.lr"].astype(float)
    if len(rates) and not (search.trials["status"] == COMPLETED).any():
        values = f"{rates.min():.4g}" if rates.min() == rates.max() else f"{rates.min():.4g} to {rates.max():.4g}"
        yield f"lower optimizer.lr in a new sweep: it was {values} in the diverged trials"


def _describe_dropped(number: int) -> str:
    if not number:
        return ""
    return f"{number} confirmation {'trial is' if number == 1 else 'trials are'} left out"


def _print_confirmed(status: SweepStatus, console: Console) -> None:
    """Print the test errors on fresh seeds, per configuration of one search or per arm over its searches."""
    study = status.search.manifest["study"]
    several = unit_of(study) == "search"
    # a former winner, replaced after more trials, is not a second value of its arm
    confirmed = status.confirmed[status.confirmed["rank"] == 1] if several else status.confirmed
    rows = confirmed.to_dict("records")
    columns: list[tuple[str, Iterable[str]]] = [
        ("arm", confirmed["arm"]) if several else ("winner", confirmed["winners"]),
        ("n", map(str, confirmed["n"])),
        ("test\nerror", map(format_percent, confirmed["top1_error"])),
        ("95 %", (f"{100 * row['low']:.2f} .. {100 * row['high']:.2f}" if row["n"] > 1 else "-" for row in rows)),
        ("minus baseline\n(points)", map(_format_difference, rows)),
        ("NLL", map(format_decimal, confirmed["nll"])),
        ("ECE", map(format_percent, confirmed["ece"])),
    ]
    print_columns(console, _aligned(columns), without=DISPENSABLE)
    unit, units = ("search", "searches") if several else ("seed", "seeds")
    print_line(console, _describe_unit(study, several=several, unfinished=status.state != ENDED))
    print_line(
        console,
        f"Baseline: {status.baseline}. Differences are paired by {unit}. "
        "Their 95 % intervals hold for all comparisons together.",
    )
    if has_cut_interval(confirmed):
        print_line(
            console,
            f"Intervals are cut at 0 and 100 %, differences at -100 and +100 points: with so few {units} the spread is "
            "hardly known.",
        )
    if several:
        _print_winners(status, console)


def _describe_unit(study: Mapping[str, Any], *, several: bool, unfinished: bool) -> str:
    """Return what n counts in the table of test errors."""
    if not several:
        return "n: fresh seeds of the configuration of the named search trial."
    trials = describe_trials(study, unfinished=unfinished)
    return f"n: independent searches of {trials} each; the winner of each search is trained again on fresh seeds."


def _print_winners(status: SweepStatus, console: Console) -> None:
    """Print one row per arm with the test error of each search's winner, and which searches are left out."""
    searches = range(n_searches(status.search.manifest["study"]))
    # a former winner, replaced after more trials, has a higher rank: `trials` and the JSON document list it
    winners = status.winners[status.winners["rank"] == 1]
    errors = {(row["arm"], row["search"]): f"{100 * row['top1_error']:.2f}" for row in winners.to_dict("records")}
    arms = list(winners["arm"].unique())
    rows = ([errors.get((arm, search), "-") for search in searches] for arm in arms)
    print_columns(
        console,
        _aligned([("arm", arms), ("test error of the winner of each search (%)", map(_in_lines, rows))]),
        without=(),
    )
    missing = "; -: not measured" if len(errors) < len(arms) * len(searches) else ""
    print_line(console, f"In the order of the searches, 0 to {searches[-1]}{missing}.")
    if status.state == ENDED and status.unconfirmed:
        left_out = ", ".join(f"{arm} {search}" for arm, search in status.unconfirmed)
        print_line(console, f"Searches that are left out, because no confirmation trial has completed: {left_out}.")


def _in_lines(values: Sequence[str]) -> str:
    """Return values of equal width, ten per line."""
    cells = [f"{value:>5}" for value in values]
    return "\n".join(" ".join(cells[start : start + 10]) for start in range(0, len(cells), 10))


def _format_difference(row: Mapping[Any, Any]) -> str:
    difference = format_points(row["difference"])
    if row["difference_low"] == row["difference_low"]:
        difference += f" ({format_points(row['difference_low'])}, {format_points(row['difference_high'])})"
    return difference
