"""Tables of the paper, for the terminal: the list, the plan, and own values beside the published ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Console

from search_spaces.table import Table
from sweep.formats import format_duration
from sweep.network_sizes import describe_flops
from sweep.reproduce import PlannedPart
from sweep.terminal.tables import (
    Column,
    add_column,
    add_row,
    new_table,
    print_columns,
    print_heading,
    print_line,
    print_table,
)

PLAN_HEADS = (
    *("study", "data", "network", "arms", "trials", "epochs\nper trial", "epochs\nin total", "measure-\nments"),
    *("GPUs", "work per\ntrial", "time"),
)
"""Columns of a plan."""

NARROW = ("95 % interval\nof change", "n", "95 % interval")
"""Columns that a narrow terminal lacks, in this order."""


def print_tables(tables: Mapping[str, Table], console: Console) -> None:
    """Print one row per table: its studies, its arms, and what it compares."""
    table = new_table()
    add_column(table, "table", justify="left")
    for heading in ("published\ntables", "sweeps", "arms"):
        add_column(table, heading)
    add_column(table, "what it compares", justify="left", wrap=True)
    for name, each in tables.items():
        n_arms = sum(len(study.arms) for study in each.studies.values())
        add_row(table, [name, ", ".join(each.tables), str(len(each.studies)), str(n_arms), each.title])
    print_table(console, table)


def print_reproduction_plan(name: str, table: Table, planned: Sequence[PlannedPart], console: Console) -> None:
    """Print what each study of a table would run and measure, and how long it would take on this machine."""
    print_heading(console, name, f"{table.title} ({table.source})")
    print_columns(console, _plan_columns(planned), without=("epochs\nin total", "data", "measure-\nments", "GPUs"))
    print_line(console, _describe_total(planned))
    for each in planned:
        if each.why:
            print_line(console, f"{each.part.name}: {each.why}", style="yellow")
        for room in each.disk:
            print_line(console, f"{each.part.name}: {room.describe()}")
    for each in planned:
        axes = ", ".join(each.part.axes)
        print_line(console, f"{each.part.name}: arms {', '.join(each.part.study.arms)}; measured: {axes}.")
    for text in table.differs:
        print_line(console, f"Differs from the paper: {text}")


def _plan_columns(planned: Sequence[PlannedPart]) -> list[Column]:
    rows = []
    for each in planned:
        study, config = each.part.study, each.config
        source, network = config.data.source.partition(":")[0], config.model.name
        work = "-" if each.flops is None else describe_flops((each.flops, each.flops))
        time = "-" if each.seconds is None else format_duration(each.seconds)
        numbers = (len(study.arms), each.n_trials, study.budget.max_epochs, each.n_epochs, each.part.n_measurements)
        rows.append((each.part.name, source, network, *map(str, numbers), f"{study.resources.gpus:g}", work, time))
    columns = zip(PLAN_HEADS, zip(*rows, strict=True), strict=True)
    return [Column(head, cells, "left" if head in PLAN_HEADS[:3] else "right") for head, cells in columns]


def _describe_total(planned: Sequence[PlannedPart]) -> str:
    n_trials, n_epochs = (sum(getattr(each, name) for each in planned) for name in ("n_trials", "n_epochs"))
    n_measurements = sum(each.part.n_measurements for each in planned)
    text = f"In total: {n_trials} trials, {n_epochs:,} epochs, {n_measurements} measurements"
    if any(each.flops is None for each in planned):
        return f"{text}."
    flops = sum(each.n_trials * (each.flops or 0) for each in planned)
    text = f"{text}; {describe_flops((flops, flops))} for training"
    if any(each.seconds is None for each in planned):
        return f"{text}; the time is not known here."
    seconds = sum(each.seconds or 0 for each in planned)
    return f"{text}; training takes about {format_duration(seconds)} on this machine. Measurements come on top."


def print_reproduction(
    name: str, table: Table, rows: pd.DataFrame, not_comparable: Sequence[str], console: Console
) -> None:
    """Print own values beside the published ones, what differs, and what was not run.

    Args:
        name: name of the table.
        table: its file.
        rows: from ``analysis.published.fill_table``.
        not_comparable: from ``analysis.published.why_not_comparable``.
        console: where to print.
    """
    print_heading(console, name, f"{table.title} ({table.source})")
    if not_comparable:
        print_line(console, f"NOT COMPARABLE with the paper: {'; '.join(not_comparable)}.", style="bold yellow")
    is_run = rows["study"] != ""
    for key, group in rows[is_run].groupby(["study", "metric"], sort=False):
        study, metric = map(str, key)
        print_line(console, f"\n{study}: {describe_metric(metric)}, %", style="bold")
        print_columns(console, _columns(group), without=NARROW)
    print_line(console, "\nOwn: mean of the trials after the last epoch, with a 95 % t interval. Change: from off.")
    for line in _notes(table, rows[is_run]):
        print_line(console, line)
    for line in describe_not_run(rows[~is_run].to_dict("records")):
        print_line(console, line)


def _notes(table: Table, rows: pd.DataFrame) -> Iterator[str]:
    """Yield what differs from the published training, first for each study, and why values are missing."""
    for name, group in rows.groupby("study", sort=False):
        if texts := describe_differences(group.to_dict("records")):
            yield f"{name}: {'; '.join(texts)}."
        yield from (f"{name}: {text}." for text in dict.fromkeys(group["why"]) if text)
    yield from (f"Differs from the paper: {text}" for text in table.differs)


def describe_metric(metric: str) -> str:
    """Return a metric in words.

    Examples:
        >>> describe_metric("fgsm_top1_accuracy")
        'fgsm top-1 accuracy'
    """
    return metric.replace("top1", "top-1").replace("top5", "top-5").replace("_", " ")


def _columns(rows: pd.DataFrame) -> list[Column]:
    records = rows.to_dict("records")

    def column(head: str, cells: Iterable[str], *, left: bool = False) -> Column:
        return Column(head, tuple(cells), "left" if left else "right")

    return [
        column("arm", (row["arm"] for row in records), left=True),
        column("own", (_number(row["own"]) for row in records)),
        column("95 % interval", (_interval(row["low"], row["high"]) for row in records)),
        column("n", (_count(row["n"]) for row in records)),
        column("published", (_number(row["published"]) for row in records)),
        column("own\nchange", (_signed(row["own_change"], row["arm"]) for row in records)),
        column("95 % interval\nof change", (_change_interval(row) for row in records)),
        column("published\nchange", (_signed(row["published_change"], row["arm"]) for row in records)),
    ]


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _count(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"


def _signed(value: float, arm: str) -> str:
    return "" if arm == "off" else "-" if math.isnan(value) else f"{value:+.2f}"


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{low:.2f} .. {high:.2f}"


def _change_interval(row: Mapping[Any, Any]) -> str:
    if row["arm"] == "off" or math.isnan(row["change_low"]):
        return ""
    return f"{row['change_low']:+.2f} .. {row['change_high']:+.2f}"


def describe_differences(rows: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Return what differs from the published training, each text once; with its arms if it is not true of all.

    Examples:
        >>> rows = [{"arm": "off", "differs": ["2 seeds"]}, {"arm": "cutmix", "differs": ["2 seeds", "a note"]}]
        >>> describe_differences(rows)
        ['2 seeds', 'cutmix: a note']
    """
    arms: dict[str, list[str]] = {}
    for row in rows:
        for text in row["differs"]:
            arms.setdefault(text, []).append(row["arm"])
    every = {row["arm"] for row in rows if row["differs"]}
    return [
        text if set(names) == every else f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in arms.items()
    ]


def describe_not_run(rows: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Return one line per network and reason, with the published numbers that are not computed again.

    Examples:
        >>> row = {"dataset": "imagenet", "model": "resnet152", "arm": "off", "why": "the paper copied it"}
        >>> describe_not_run([row | {"metric": "top1_error", "published": 21.69}])
        ['Not run: resnet152: the paper copied it. Published: off 21.69 (top-1 error, imagenet).']
    """
    numbers: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        about = f"{describe_metric(row['metric'])}, {row['dataset']}"
        numbers.setdefault((row["model"], row["why"]), []).append(f"{row['arm']} {row['published']:g} ({about})")
    return [f"Not run: {model}: {why}. Published: {', '.join(each)}." for (model, why), each in numbers.items()]
