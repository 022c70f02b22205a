"""Speed and memory of several trials at the same time, for the terminal."""

from __future__ import annotations

from rich.console import Console

from sweep.formats import format_duration
from sweep.probe import ProbeResult
from sweep.terminal.tables import add_column, add_row, new_table, print_line, print_table
from trainables.units import format_bytes


def print_measured(result: ProbeResult, console: Console, price_per_gpu_hour: float | None = None) -> None:
    """Print one row per arm and number of trials at the same time, then the proposed number with its cost."""
    table = new_table()
    add_column(table, "arm", justify="left")
    for heading in ("trials\nat a time", "images/s\ntogether", "epochs/s\ntogether", "memory\nper trial"):
        add_column(table, heading)
    add_column(table, "images", justify="left")
    for row in result.rows:
        if row.why_not:
            add_row(table, [row.arm, str(row.n_trials), "-", "-", "-", row.why_not])
            continue
        speeds = [f"{row.images_per_s:,.0f}", f"{row.epochs_per_s:.3g}", format_bytes(row.peak_bytes)]
        place = ("streamed" if row.is_streamed else "resident") if result.n_gpus else "on the host"
        add_row(table, [row.arm, str(row.n_trials), *speeds, place])
    print_table(console, table)
    print_line(console, describe_measured(result, price_per_gpu_hour))


def describe_measured(result: ProbeResult, price_per_gpu_hour: float | None = None) -> str:
    """Return the proposed number of trials at the same time, and what the sweep then takes.

    Examples:
        >>> print(describe_measured(ProbeResult("NVIDIA H100", 2, (), trials_per_gpu=4, hours=3.0), 2.5))
        Measured on NVIDIA H100, with the largest trial of each arm and random images.
        Proposal: 4 trials per GPU, the smallest number within 5 % of the best speed; set it by --trials-per-gpu 4.
        Whole sweep, if no trial stops early: at most about 3 h 0 min on 2 GPUs, 6 GPU hours, cost 15.00.
    """
    first = f"Measured on {result.device}, with the largest trial of each arm and random images."
    duration = format_duration(3600 * result.hours)
    smallest = "the smallest number within 5 % of the best speed"
    if not result.n_gpus:
        number = f"{result.trials_per_gpu} trial{'' if result.trials_per_gpu == 1 else 's'} at a time"
        return f"{first}\nBest on these cores: {number}, {smallest}.\nWhole sweep: at most about {duration}."
    number = f"{result.trials_per_gpu} trial{'' if result.trials_per_gpu == 1 else 's'} per GPU"
    gpus = "1 GPU" if result.n_gpus == 1 else f"{result.n_gpus} GPUs"
    cost = "" if price_per_gpu_hour is None else f", cost {result.cost(price_per_gpu_hour):,.2f}"
    return (
        f"{first}\nProposal: {number}, {smallest}; set it by --trials-per-gpu {result.trials_per_gpu}.\n"
        f"Whole sweep, if no trial stops early: at most about {duration} on {gpus}, "
        f"{result.gpu_hours:.3g} GPU hours{cost}."
    )
