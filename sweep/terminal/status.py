"""How a sweep stands, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweep.engine import in_use
from sweep.findings.confirmed import summarise_confirmed, verdict_confirmed
from sweep.findings.summary import baseline_arm, summarise_arms, verdict
from sweep.records.reader import read_sweep
from sweep.records.schema import COMPLETED, CONFIRM, DIVERGED, FAILED, LIVING, STATUSES
from sweep.terminal.progress import duration, percent


def print_status(sweep_dir: Path, console: Console) -> int:
    """Show how a sweep stands: a row an arm, what was resumed or failed, and a sentence; return the failed trials."""
    records = read_sweep(sweep_dir)
    study, trials = records.manifest["study"], records.trials
    order = {arm: place for place, arm in enumerate(study["arms"])}
    summary = summarise_arms(trials, records.epochs).sort_values("arm", key=lambda arms: arms.map(order))
    console.print(f"[bold]{study['name']}[/bold]: {escape(study['question'])}", highlight=False, soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("arm", no_wrap=True)
    shown = [status for status in STATUSES if status == COMPLETED or (trials["status"] == status).any()]
    words = ["done" if status == COMPLETED else status for status in shown]
    for name in ("trials", *words, "epochs"):  # a narrow terminal folds these words, and never cuts a number
        table.add_column(name, justify="right", overflow="fold")
    for name in ("best\nerror", "median", "NLL", "ECE"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in summary.to_dict("records"):
        counts = [row["n_trials"], *(row[f"n_{status}"] for status in shown), row["epochs"]]
        measures = [
            percent(row["best"]),
            percent(row["median"]),
            _number(row["val_nll"]),
            percent(row["val_ece"]),
        ]
        table.add_row(row["arm"], *(str(count) for count in counts), *measures)
    console.print(table)
    confirm = read_sweep(sweep_dir, CONFIRM)
    all_trials = pd.concat([trials, confirm.trials]) if len(confirm.trials) else trials
    console.print(_fine_print(records.manifest, all_trials), highlight=False, soft_wrap=True)
    failures = all_trials[all_trials["status"] == FAILED]
    for failed in failures.to_dict("records"):
        why = escape(failed["why"].splitlines()[-1])
        console.print(f"failed: {failed['trial']}: {why}", highlight=False, soft_wrap=True)
    for lost in confirm.trials[confirm.trials["status"] == DIVERGED].to_dict("records"):
        console.print(f"without a test value: {lost['trial']}: {lost['why']}", highlight=False, soft_wrap=True)
    if len(failures):
        console.print(f"once mended: cutmix-sweep resume {sweep_dir} --retry-failed", highlight=False, soft_wrap=True)
    unfinished = all_trials["status"].isin(LIVING).any() or len(trials) < _n_planned(study)
    if unfinished and not in_use(sweep_dir):
        console.print(f"not running now; go on with: cutmix-sweep resume {sweep_dir}", highlight=False, soft_wrap=True)
    confirmed = summarise_confirmed(records, confirm)
    if confirmed.empty:
        console.print(verdict(summary), highlight=False, soft_wrap=True)
    else:
        _print_confirmed(confirmed, baseline_arm(study), console)
    return len(failures)


def _n_planned(study: Mapping[str, Any]) -> int:
    """Trials of all arms' searches, of a grid without a number those that are there."""
    return len(study["arms"]) * (study["budget"]["trials"] or 0)


def _print_confirmed(confirmed: pd.DataFrame, baseline: str, console: Console) -> None:
    """Show the test errors of winners on fresh seeds."""
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("winner of", no_wrap=True)
    for name in ("n", "test\nerror", "95 %", f"against {baseline}\n(points)", "NLL", "ECE"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in confirmed.to_dict("records"):
        difference = _points(row["difference"])
        if row["difference_low"] == row["difference_low"]:
            difference += f" ({_points(row['difference_low'])}, {_points(row['difference_high'])})"
        table.add_row(
            row["confirms"],
            str(row["n"]),
            percent(row["top1_error"]),
            f"{100 * row['low']:.2f} .. {100 * row['high']:.2f}" if row["n"] > 1 else "-",
            difference,
            _number(row["nll"]),
            percent(row["ece"]),
        )
    console.print(table)
    console.print(verdict_confirmed(confirmed, baseline=baseline), highlight=False, soft_wrap=True)


def _points(value: float) -> str:
    return "-" if value != value else f"{100 * value:+.2f}"


def _fine_print(manifest: Mapping[str, Any], trials: Any) -> str:
    versions, hardware = manifest["versions"], manifest["hardware"]
    resumed = int((trials["attempts"] > 1).sum())
    gpus = sorted(set(trials["device"].dropna()) - {"cpu"})
    machine = ", ".join(gpus) or f"{hardware['processor']}, {hardware['cores']} cores"
    return (
        "Validation top-1 errors of completed trials after their last epoch; NLL and ECE of the best one.\n"
        "Training took "
        f"{duration(float(trials['seconds'].sum()))} in all trials together, {resumed} of {len(trials)} were resumed. "
        f"{machine}; torch {versions['torch']}, ray {versions['ray']}, "
        f"cutmix-sweep {versions['cutmix-sweep']}."
    )


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
