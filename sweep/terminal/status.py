"""Progress and results of a sweep, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from sweep.endings import resume_command
from sweep.engine import in_use
from sweep.findings.confirmed import has_cut_interval, summarise_confirmed, verdict_confirmed
from sweep.findings.summary import baseline_arm, summarise_arms, verdict
from sweep.records.reader import SweepRecords, read_sweep
from sweep.records.schema import COMPLETED, CONFIRM, DIVERGED, FAILED, STATUSES
from sweep.remaining import Remaining, read_remaining
from sweep.terminal.formats import format_decimal, format_duration, format_percent, format_points
from sweep.terminal.progress import LABELS
from sweep.terminal.tables import add_column, add_row, new_table, print_heading, print_line, print_table


def print_status(sweep_dir: Path, console: Console) -> int:
    """Print the progress and the results of a sweep.

    Returns:
        Number of failed trials.
    """
    search, confirm = read_sweep(sweep_dir), read_sweep(sweep_dir, CONFIRM)
    study = search.manifest["study"]
    print_heading(console, study["name"], study["question"])
    order = {arm: place for place, arm in enumerate(study["arms"])}
    summary = summarise_arms(search.trials, search.epochs).sort_values("arm", key=lambda arms: arms.map(order))
    _print_arms(summary, console)
    trials = pd.concat([search.trials, confirm.trials]) if len(confirm.trials) else search.trials
    seconds = float(search.epochs["seconds"].sum() + confirm.epochs["seconds"].sum())
    print_line(console, _describe_training(search.manifest, trials, seconds))
    remaining = read_remaining(sweep_dir, search.manifest)
    for line in _describe_problems(sweep_dir, search, confirm, remaining):
        print_line(console, line)
    confirmed = summarise_confirmed(search, confirm)
    if confirmed.empty:
        print_line(console, verdict(summary, unfinished=remaining.n_left > 0))
    else:
        _print_confirmed(confirmed, baseline_arm(study), console)
    return int((trials["status"] == FAILED).sum())


def _print_arms(summary: pd.DataFrame, console: Console) -> None:
    statuses = [status for status in STATUSES if status == COMPLETED or summary[f"n_{status}"].any()]
    table = new_table(gap=0)
    add_column(table, "arm", justify="left")
    for heading in ("trials", *(LABELS[status] for status in statuses), "epochs"):
        add_column(table, heading, wrap=True, min_width=4)  # 80 columns fold a heading, never a number
    for heading in ("best\nerror", "median", "NLL", "ECE"):
        add_column(table, heading)
    for row in summary.to_dict("records"):
        counts = [row["n_trials"], *(row[f"n_{status}"] for status in statuses), row["epochs"]]
        errors = [format_percent(row["best"]), format_percent(row["median"])]
        others = [format_decimal(row["val_nll"]), format_percent(row["val_ece"])]
        add_row(table, [row["arm"], *map(str, counts), *errors, *others])
    print_table(console, table)


def _describe_training(manifest: Mapping[str, Any], trials: pd.DataFrame, seconds: float) -> str:
    """Return what the errors are, how long training took so far, and on which hardware and versions."""
    versions, hardware = manifest["versions"], manifest["hardware"]
    n_resumed = int((trials["attempts"] > 1).sum())
    gpus = sorted(set(trials["device"].dropna()) - {"cpu"})
    machine = ", ".join(gpus) or f"{hardware['processor']}, {hardware['cores']} cores"
    return (
        "Validation top-1 error of completed trials after their last epoch; NLL and ECE of the best of these trials.\n"
        f"Training time so far: {format_duration(seconds)} in {len(trials)} trials; {n_resumed} of them were resumed. "
        f"{machine}; torch {versions['torch']}, ray {versions['ray']}, cutmix-sweep {versions['cutmix-sweep']}."
    )


def _describe_problems(
    sweep_dir: Path, search: SweepRecords, confirm: SweepRecords, remaining: Remaining
) -> Iterator[str]:
    """Yield one line for each failed or lost trial, each arm without a result, and the command to resume."""
    failures = [trial for phase in (search, confirm) for trial in phase.trials.to_dict("records")]
    failures = [trial for trial in failures if trial["status"] == FAILED]
    for failed in failures:
        yield f"failed: {failed['trial']}: {failed['why'].splitlines()[-1]}"
    for diverged in confirm.trials[confirm.trials["status"] == DIVERGED].to_dict("records"):
        yield f"no test value: {diverged['trial']}: {diverged['why']}"
    if failures:
        yield f"after fixing the cause, run: {resume_command(sweep_dir, None, '--retry-failed')}"
    if not remaining.n_left:
        yield from _describe_arms_without_result(search)
    elif not in_use(sweep_dir):
        left = f"{remaining.n_left} of {remaining.n_trials} trials are left"
        yield f"not running, {left}; resume with: {resume_command(sweep_dir)}"


def _describe_arms_without_result(search: SweepRecords) -> Iterator[str]:
    """Yield one line for each arm of a finished sweep of which no search trial completed."""
    confirms = search.manifest["study"].get("confirm") is not None
    for arm in search.manifest["study"]["arms"]:
        trials = search.trials[search.trials["arm"] == arm]
        if trials.empty or (trials["status"] == COMPLETED).any():
            continue
        counts = ", ".join(f"{count} {status}" for status, count in trials["status"].value_counts().items())
        line = f"{arm}: the search is over and no trial completed ({counts})"
        yield f"{line}, so nothing of it is confirmed" if confirms else line
    rates = search.trials.loc[search.trials["status"] == DIVERGED, "config.optimizer.lr"].astype(float)
    if len(rates) and not (search.trials["status"] == COMPLETED).any():
        values = f"{rates.min():.4g}" if rates.min() == rates.max() else f"{rates.min():.4g} to {rates.max():.4g}"
        yield f"lower optimizer.lr in a new sweep: it was {values} in the diverged trials"


def _print_confirmed(confirmed: pd.DataFrame, baseline: str, console: Console) -> None:
    """Print the test errors of the winners on fresh seeds."""
    table = new_table(gap=0)
    add_column(table, "winner", justify="left")
    for heading in ("n", "test\nerror", "95 %", "minus baseline\n(points)", "NLL", "ECE"):
        add_column(table, heading)
    for row in confirmed.to_dict("records"):
        difference = format_points(row["difference"])
        if row["difference_low"] == row["difference_low"]:
            difference += f" ({format_points(row['difference_low'])}, {format_points(row['difference_high'])})"
        cells = [
            row["confirms"],
            str(row["n"]),
            format_percent(row["top1_error"]),
            f"{100 * row['low']:.2f} .. {100 * row['high']:.2f}" if row["n"] > 1 else "-",
            difference,
            format_decimal(row["nll"]),
            format_percent(row["ece"]),
        ]
        add_row(table, cells)
    print_table(console, table)
    print_line(
        console,
        f"Baseline: {baseline}. Differences are paired by seed. "
        "Their 95 % intervals hold for all comparisons together.",
    )
    if has_cut_interval(confirmed):
        print_line(
            console,
            "Intervals are cut at 0 and 100 %, differences at -100 and +100 points: with so few seeds the spread is "
            "hardly known.",
        )
    print_line(console, verdict_confirmed(confirmed, baseline=baseline))
