"""Arguments and options of the command line with their help texts; an option has one meaning in all verbs."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import trainables
from trainables.data.sources.registry import source_help

# several verbs
StudyName = Annotated[
    str, typer.Argument(help="name of a built-in study, or path of a YAML file, for example quickstart")
]
SweepDir = Annotated[Path, typer.Argument(help="folder of a sweep, for example sweeps/box")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="value that overrides the study, for example budget.trials=8; repeatable (default: no override)",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help=f"data source: {source_help()}; or a class of your own, package.module:Class; "
        "shorthand for --set base.data.source, for example imagefolder:photos "
        "(default: as in the study)",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster to join, auto or HOST:PORT, for example 10.0.0.5:6379 (default: start Ray on this machine)"
    ),
]
Scale = Annotated[
    str | None,
    typer.Option(help="size of the sweep: smoke, laptop, gpu or paper; for example smoke (default: as in the study)"),
]
Cpus = Annotated[
    int | None,
    typer.Option(
        help="CPU cores and threads per trial; shorthand for --set resources.cpus, for example 2 "
        "(default: as in the study)"
    ),
]
Gpus = Annotated[
    float | None,
    typer.Option(
        help="GPUs per trial, may be a fraction; shorthand for --set resources.gpus, for example 0.5 "
        "(default: as in the study)"
    ),
]
LogTo = Annotated[
    list[str] | None,
    typer.Option(
        "--log-to",
        metavar="LOGGER:TARGET",
        help="live logger, wandb:PROJECT or mlflow:URI, for example wandb:cutmix; repeatable (default: none)",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="seed of all random draws; shorthand for --set seed, for example 7 (default: as in the study)"),
]


class Format(StrEnum):
    """Formats that a sweep is exported to."""

    CSV = "csv"
    PARQUET = "parquet"
    OPTUNA = "optuna"
    TENSORBOARD = "tensorboard"


# without a verb
Version = Annotated[bool, typer.Option("--version", help="show the version and exit")]

# studies
StudyToShow = Annotated[
    str | None,
    typer.Argument(
        help="built-in study, or path of a YAML file, for example quickstart (default: list the built-in studies)"
    ),
]

# plan
Effect = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS",
        help="smallest difference in top-1 error to detect, in percentage points; prints the seeds needed, "
        "for example 0.5 (default: no number of seeds)",
    ),
]
Sd = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS",
        help="SD of top-1 errors over seeds, in percentage points, for example 0.4 "
        "(default: from --sd-from, otherwise 0.4)",
    ),
]
SdFrom = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="sweep from which to estimate the SD, for example sweeps/box (default: no sweep)"),
]

# preview
StudyOrPreset = Annotated[
    str, typer.Argument(metavar="STUDY|PRESET", help="study, study file or preset to preview, for example cutmix")
]
Samples = Annotated[
    int,
    typer.Option(min=1, max=12, help="images per arm, for example 8 (default: 6)", show_default=False),
]
PictureOut = Annotated[
    Path | None, typer.Option(help="PNG file to write, for example box.png (default: preview-NAME.png)")
]

# run
Download = Annotated[bool, typer.Option("--download", help="download the data set if it is missing")]
SweepOut = Annotated[
    Path | None,
    typer.Option(
        help="folder to write the sweep to, new or empty, for example sweeps/box (default: sweeps/STUDY-TIME)"
    ),
]

# resume
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="also restart failed trials")]

# confirm
Seeds = Annotated[
    int,
    typer.Option(min=2, help="total seeds per configuration, including those already confirmed, for example 5"),
]
Configs = Annotated[
    int | None,
    typer.Option(
        min=1, help="best configurations per arm to confirm, for example 2 (default: as in the study, otherwise 1)"
    ),
]

# extend
AddTrials = Annotated[
    int, typer.Option(min=0, help="search trials to add per arm, for example 8 (default: 0)", show_default=False)
]
AddSeeds = Annotated[
    int,
    typer.Option(
        min=0, help="seeds to add per confirmed configuration, for example 2 (default: 0)", show_default=False
    ),
]
AddArms = Annotated[
    str | None,
    typer.Option(
        help="arms to add: comma-separated presets, or arms as in a study file, {NAME: {mix: ...}}; "
        "for example fmix,gridmix (default: none)"
    ),
]
OldTrials = Annotated[int | None, typer.Option(min=0, hidden=True, help="old name of --add-trials")]
OldSeeds = Annotated[int | None, typer.Option(min=0, hidden=True, help="old name of --add-seeds")]
OldArms = Annotated[str | None, typer.Option(hidden=True, help="old name of --add-arms")]

# status
Why = Annotated[
    str | None,
    typer.Option(
        metavar="TRIAL", help="trial to explain, with the rungs it passed, for example cutmix-0004 (default: none)"
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
AXIS_NAMES = sorted(module.name for module in pkgutil.iter_modules([f"{trainables.__path__[0]}/evaluation/axes"]))
"""Names of the evaluation axes, from their files: importing an axis would load torch."""

Axes = Annotated[
    str | None,
    typer.Option(
        help=f"comma-separated axes of {', '.join(AXIS_NAMES)}, or package.module:Class; for example calibration,ood "
        "(default: all applicable axes except transfer)"
    ),
]
Trials = Annotated[
    str | None,
    typer.Option(
        help="comma-separated trials, or `search` for all completed search trials, "
        "for example cutmix-0004,off-0001 (default: confirmation trials)"
    ),
]
AxisSet = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
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
Trial = Annotated[str, typer.Argument(help="completed trial, for example cutmix-0004")]
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
    Path | None, typer.Option(help="folder to write the files to, for example tables (default: DIR/export)")
]

# report
SweepDirs = Annotated[
    list[Path],
    typer.Argument(help="folder of a sweep, for example sweeps/box; several are compared in one report"),
]
ReportTo = Annotated[
    Path | None,
    typer.Option(
        help="folder to write the report to, for example page (default: DIR/report, for several sweeps ./report)"
    ),
]
Notebook = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="notebook to run, or path of an .ipynb file, for example any_study "
        "(default: the notebook of the sweep's study)",
    ),
]
Open = Annotated[bool, typer.Option("--open", help="open the report in the browser")]

# check-part
PartName = Annotated[
    str,
    typer.Argument(
        metavar="PART",
        help="package.module:Class of a mask, data source, network, evaluation axis or early-stopping rule; a source "
        "that reads files with its path, for example shapes.data:Shapes:photos",
    ),
]
PartSet = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PARAMETER=VALUE",
        help="parameter of the part, for example width=2; repeatable (default: the part's own values)",
    ),
]

# doctor
DoctorData = Annotated[
    str,
    typer.Option(
        metavar="SOURCE",
        help=f"data source: {source_help()}; for example imagefolder:photos (default: digits)",
        show_default=False,
    ),
]
DoctorOut = Annotated[
    Path,
    typer.Option(help="folder to write sweeps to, for example /data/sweeps (default: sweeps)", show_default=False),
]


def with_shorthands(
    settings: Sequence[str] | None,
    *,
    data: str | None = None,
    cpus: int | None = None,
    gpus: float | None = None,
    seed: int | None = None,
) -> list[str]:
    """Return the options that are shorthands as settings, followed by ``settings``, which override them.

    Examples:
        >>> with_shorthands(["budget.trials=8"], data="imagefolder:photos #2", cpus=2)
        ['base.data.source="imagefolder:photos #2"', 'resources.cpus=2', 'budget.trials=8']
    """
    values = {"base.data.source": data, "resources.cpus": cpus, "resources.gpus": gpus, "seed": seed}
    # quoted: YAML would read ': ' and ' #' in a path as syntax
    shorthands = [
        f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in values.items() if value is not None
    ]
    return [*shorthands, *(settings or [])]
