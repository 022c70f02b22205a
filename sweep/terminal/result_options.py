"""Arguments and options of the verbs on recorded sweeps, with their help texts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sweep.terminal.completion import (
    AXIS_NAMES,
    complete_arms,
    complete_axes,
    complete_axis_setting,
    complete_states,
    complete_trial,
    complete_trials,
)
from sweep.terminal.options import check_files


class Format(StrEnum):
    """Formats that a sweep is exported to."""

    CSV = "csv"
    PARQUET = "parquet"
    OPTUNA = "optuna"
    TENSORBOARD = "tensorboard"


# status
Why = Annotated[
    str | None,
    typer.Option(
        autocompletion=complete_trial,
        metavar="TRIAL",
        help="trial to explain, with the rungs it passed, for example cutmix-0004 (default: none)",
    ),
]

Follow = Annotated[
    bool, typer.Option("--follow", help="show the progress until the sweep ends; Ctrl-C does not end the sweep")
]

# trials
Arms = Annotated[
    str | None,
    typer.Option(
        "--arm",
        autocompletion=complete_arms,
        help="comma-separated arms to list, for example off,cutmix (default: all arms)",
    ),
]
States = Annotated[
    str | None,
    typer.Option(
        "--state",
        autocompletion=complete_states,
        help="comma-separated states of trials to list: running, paused, completed, stopped, diverged, failed, "
        "cancelled; "
        "for example failed,diverged (default: all states)",
    ),
]
Sort = Annotated[
    str | None,
    typer.Option(
        metavar="[-]COLUMN",
        help="column to sort by, smallest first; with a minus sign: largest first; for example val_nll or "
        "-images_per_s (default: the metric of the study)",
    ),
]
Top = Annotated[int | None, typer.Option(min=1, help="number of trials to list, for example 10 (default: all)")]
Columns = Annotated[
    str | None,
    typer.Option(
        help="comma-separated columns, for example trial,val_nll,optimizer.lr (default: the main columns, and the "
        "sampled parameters that fit)"
    ),
]

# replay
Rule = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RULE,PARAMETER=VALUE,...",
        help="rule to replay, for example asha,grace_period_epochs=2; repeatable "
        "(default: the sweep's own rule, otherwise asha)",
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(help="metric that trials are compared by, for example val_top1_error (default: the study's metric)"),
]
Orders = Annotated[
    int,
    typer.Option(min=2, help="random orders of the trials, for example 50 (default: 200)", show_default=False),
]
Workers = Annotated[
    int, typer.Option(min=1, help="simulated trials at a time, for example 8 (default: 4)", show_default=False)
]
ReplaySeed = Annotated[
    int, typer.Option(min=0, help="seed of all random draws, for example 7 (default: 0)", show_default=False)
]
Csv = Annotated[
    Path | None, typer.Option(help="file to write all numbers to, for example replay.csv (default: no file)")
]

# evaluate
Axes = Annotated[
    str | None,
    typer.Option(
        autocompletion=complete_axes,
        help=f"comma-separated axes of {', '.join(AXIS_NAMES)}, or package.module:Class; for example calibration,ood "
        "(default: all applicable axes except captioning, detection and transfer)",
    ),
]
Trials = Annotated[
    str | None,
    typer.Option(
        autocompletion=complete_trials,
        help="comma-separated trials, or `search` for all completed search trials, "
        "for example cutmix-0004,off-0001 (default: confirmation trials)",
    ),
]
AxisSet = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        autocompletion=complete_axis_setting,
        metavar="AXIS.PATH=VALUE",
        help="value that overrides a setting of an axis, for example ood.n_images=500; repeatable "
        "(default: no override)",
    ),
]
MeasurementCpus = Annotated[
    int | None,
    typer.Option(help="CPU cores and threads per measurement, for example 2 (default: as per trial of the sweep)"),
]
MeasurementGpus = Annotated[
    float | None,
    typer.Option(help="GPUs per measurement, may be a fraction, for example 0.5 (default: as per trial of the sweep)"),
]

# export-model
Trial = Annotated[str, typer.Argument(autocompletion=complete_trial, help="completed trial, for example cutmix-0004")]
Form = Annotated[
    str,
    typer.Option(
        help="weights (state dict and configuration) or program (torch.export, runs without cutmix-sweep); "
        "for example program (default: weights)",
        show_default=False,
    ),
]
ModelOut = Annotated[
    Path | None,
    typer.Option(help="file to write, for example box.pt (default: TRIAL.pt or TRIAL.pt2 in the current folder)"),
]

# export
ExportFormat = Annotated[
    Format, typer.Option("--format", help="format to write, for example parquet (default: csv)", show_default=False)
]
ExportTo = Annotated[
    Path | None,
    typer.Option(
        help="folder to write the files to, for example tables (default: DIR/export; for an address: ./export)"
    ),
]

# report
SweepDirs = Annotated[
    list[Path],
    typer.Argument(
        callback=check_files,
        help="folder of a sweep, or its address in an object store, for example sweeps/box; several are compared in "
        "one report",
    ),
]
ReportTo = Annotated[
    Path | None,
    typer.Option(
        help="folder to write the report to, for example page (default: DIR/report; for several sweeps "
        "or an address: ./report)"
    ),
]
Notebook = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PATH",
        help="notebook of cutmix-sweep, or path of an .ipynb file of your own, for example any_study "
        "(default: the notebook of the sweep's study)",
    ),
]
Open = Annotated[bool, typer.Option("--open", help="open the report in the browser")]
