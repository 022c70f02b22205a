"""Arguments and options of the command line with their help texts; an option has one meaning in all verbs."""

from __future__ import annotations

import itertools
import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from sweep.terminal.completion import (
    complete_kind,
    complete_scale,
    complete_setting,
    complete_source,
    complete_study,
    complete_study_or_preset,
)
from trainables.data.sources.registry import source_help
from trainables.errors import UserError, shorten_path

SWEEP_FOLDERS = ("records", "checkpoints", "models", "inbox", "logs")
"""Folders of a sweep from which files are read."""


Dirs = TypeVar("Dirs", Path, list[Path], Path | None)


def check_files(sweep_dirs: Dirs) -> Dirs:
    """Return folders of sweeps, which may contain no pipe and no device: reading one would never end.

    Raises:
        UserError: names the file.
    """
    folders = sweep_dirs if isinstance(sweep_dirs, list) else [sweep_dirs] if sweep_dirs else []
    for path in itertools.chain.from_iterable(map(_sweep_files, folders)):
        try:
            mode = path.stat().st_mode
        except OSError:  # a link that leads nowhere
            continue
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise UserError(f"'{shorten_path(path)}' is no regular file but a pipe, socket or device: remove it")
    return sweep_dirs


def _sweep_files(sweep_dir: Path) -> Iterator[Path]:
    """Yield what is directly in the folder of a sweep, and all files of its own folders."""
    if not os.path.lexists(sweep_dir / "sweep.json"):
        return
    yield from sweep_dir.iterdir()
    for name in SWEEP_FOLDERS:
        for folder, _, files in os.walk(sweep_dir / name):
            yield from (Path(folder, file) for file in files)


# several verbs
StudyName = Annotated[
    str,
    typer.Argument(
        autocompletion=complete_study, help="name of a built-in study, or path of a YAML file, for example quickstart"
    ),
]
SweepDir = Annotated[
    Path,
    typer.Argument(
        callback=check_files,
        help="folder of a sweep, or its address in an object store, for example sweeps/box or s3://bucket/sweeps/box",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        autocompletion=complete_setting,
        metavar="PATH=VALUE",
        help="value that overrides the study, for example budget.trials=8; repeatable (default: no override)",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        autocompletion=complete_source,
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
Insecure = Annotated[
    bool, typer.Option("--insecure", help="join a cluster that asks for no token although other machines can reach it")
]
StrictNodes = Annotated[
    bool,
    typer.Option(
        "--strict-nodes", help="refuse or end the run if one node cannot run trials, in place of leaving it out"
    ),
]
MaxTrials = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="largest number of trials, or measurements, at the same time; a cluster with an autoscaler grows to hold "
        "them, for example 16 (default: as many as fit on the nodes)",
    ),
]
StartTimeout = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="MINUTES",
        help="longest wait for the first node of a cluster, in minutes, for example 30 (default: 10, in a Ray job "
        "no limit)",
    ),
]
Scale = Annotated[
    str | None,
    typer.Option(
        autocompletion=complete_scale,
        help="size of the sweep: smoke, laptop, gpu or paper; for example smoke (default: as in the study)",
    ),
]
Cpus = Annotated[
    int | None,
    typer.Option(
        help="CPU cores and threads per trial, or per worker; shorthand for --set resources.cpus, for example 2 "
        "(default: as in the study)"
    ),
]
Gpus = Annotated[
    float | None,
    typer.Option(
        help="GPUs per trial, may be a fraction, or per worker; shorthand for --set resources.gpus, for example 0.5 "
        "(default: as in the study)"
    ),
]
TrialsPerGpu = Annotated[
    str | None,
    typer.Option(
        metavar="INTEGER|auto",
        help="trials that share a GPU, or auto: measured at the start; in place of --gpus, shorthand for "
        "--set resources.trials_per_gpu, for example 4 (default: as in the study)",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="workers that train each trial together, each with --cpus and --gpus; shorthand for "
        "--set resources.workers, for example 4 (default: as in the study)"
    ),
]
LogTo = Annotated[
    list[str] | None,
    typer.Option(
        "--log-to",
        metavar="LOGGER:TARGET",
        help="live logger, wandb:PROJECT, mlflow:URI, tensorboard:FOLDER or trackio:PROJECT, for example wandb:cutmix; "
        "repeatable (default: none)",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="seed of all random draws; shorthand for --set seed, for example 7 (default: as in the study)"),
]

Measure = Annotated[
    bool,
    typer.Option(
        "--measure",
        help="measurement of 1, 2, 4 and 8 trials at the same time, on one GPU or on the CPU cores; proposes their "
        "number per GPU, and takes about half a minute per arm",
    ),
]
PricePerGpuHour = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="PRICE",
        help="price of one GPU for one hour, in any currency, for example 2.5; prints the cost of the sweep; needs "
        "--measure (default: no cost is printed)",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="print one JSON document; its schema: cutmix-sweep schema, with the verb's name")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="show only warnings, failed trials and the result")]
Verbose = Annotated[bool, typer.Option("--verbose", help="show also one line per trial and epoch")]


# without a verb
Version = Annotated[bool, typer.Option("--version", help="show the version and exit")]

# studies
StudyToShow = Annotated[
    str | None,
    typer.Argument(
        autocompletion=complete_study,
        help="built-in study, or path of a YAML file, for example quickstart (default: list the built-in studies)",
    ),
]

# plan
Effect = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS",
        help="smallest difference in top-1 error to detect, in percentage points; prints the searches or seeds needed, "
        "for example 0.5 (default: no difference)",
    ),
]
Sd = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS",
        help="SD of an arm's top-1 errors over searches, or over seeds if the study counts seeds, in percentage "
        "points, for example 0.4 (default: from --sd-from, otherwise a typical SD)",
    ),
]
SdFrom = Annotated[
    Path | None,
    typer.Option(
        callback=check_files,
        metavar="DIR",
        help="sweep from which to estimate the SD, for example sweeps/box (default: no sweep)",
    ),
]

# preview
StudyOrPreset = Annotated[
    str,
    typer.Argument(
        autocompletion=complete_study_or_preset,
        metavar="STUDY|PRESET",
        help="study, study file or preset to preview, for example cutmix",
    ),
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
        help="folder to write the sweep to, new or empty, or an address in an object store (s3://, gs://, abfs://), "
        "for example sweeps/box or s3://bucket/sweeps/box (default: sweeps/STUDY-TIME)"
    ),
]

OrResume = Annotated[
    bool, typer.Option("--or-resume", help="resume the sweep if the folder has one of this study already")
]
Restarts = Annotated[
    int,
    typer.Option(
        min=0,
        help="times in a row to start the driver again after it was lost, for example 3 (default: 0)",
        show_default=False,
    ),
]

# resume
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="also restart failed trials")]
NoModels = Annotated[
    bool, typer.Option("--no-models", help="leave completed trials as they are whose model is damaged or missing")
]
LimitSet = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="value that overrides the study, here only a limit of the sweep, for example "
        "budget.limits.gpu_hours=8; repeatable (default: no override)",
    ),
]

# resume, confirm, extend, evaluate
MovedData = Annotated[
    str | None,
    typer.Option(
        "--data",
        autocompletion=complete_source,
        metavar="SOURCE",
        help="data source, where the sweep's images are now if they were moved; the images must be the same; "
        "for example imagefolder:photos (default: where the last run read them)",
    ),
]

# confirm
Seeds = Annotated[
    int,
    typer.Option(min=1, help="total seeds per configuration, including those already confirmed, for example 5"),
]
Configs = Annotated[
    int | None,
    typer.Option(
        min=1, help="best configurations per search to confirm, for example 2 (default: as in the study, otherwise 1)"
    ),
]
Searches = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="independent searches per arm to divide the trials of an unconfirmed sweep into, for example 5 "
        "(default: as in the study, otherwise 1)",
    ),
]

# extend
AddTrials = Annotated[
    int, typer.Option(min=0, help="trials to add to each search, for example 4 (default: 0)", show_default=False)
]
AddSearches = Annotated[
    int,
    typer.Option(min=0, help="independent searches to add per arm, for example 3 (default: 0)", show_default=False),
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

# check
Repair = Annotated[
    bool,
    typer.Option(
        "--repair", help="restore damaged records from their copies and give up what has none; nothing is deleted"
    ),
]

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
        autocompletion=complete_source,
        metavar="SOURCE",
        help=f"data source: {source_help()}; for example imagefolder:photos (default: digits)",
        show_default=False,
    ),
]
DoctorOut = Annotated[
    Path,
    typer.Option(
        help="folder to write sweeps to, or an address in an object store, for example /data/sweeps or "
        "s3://bucket/sweeps (default: sweeps)",
        show_default=False,
    ),
]

# schema
SchemaKind = Annotated[
    str,
    typer.Argument(
        autocompletion=complete_kind,
        help="kind of document: study, status, trials, plan, studies, doctor, evaluate, check or reproduce; "
        "for example status (default: study)",
        show_default=False,
    ),
]


def with_shorthands(
    settings: Sequence[str] | None,
    *,
    data: str | None = None,
    cpus: int | None = None,
    gpus: float | None = None,
    trials_per_gpu: str | None = None,
    workers: int | None = None,
    seed: int | None = None,
) -> list[str]:
    """Return the options that are shorthands as settings, followed by ``settings``, which override them.

    Raises:
        UserError: both ``gpus`` and ``trials_per_gpu`` are given.

    Examples:
        >>> with_shorthands(["budget.trials=8"], data="imagefolder:photos #2", cpus=2)
        ['base.data.source="imagefolder:photos #2"', 'resources.cpus=2', 'budget.trials=8']
    """
    from search_spaces.resources import check_one_share  # it loads pydantic, which no help text needs

    check_one_share(gpus, trials_per_gpu)
    shared_by = int(trials_per_gpu) if trials_per_gpu and trials_per_gpu.isdecimal() else trials_per_gpu
    values = {
        "base.data.source": data,
        "resources.cpus": cpus,
        "resources.gpus": gpus,
        "resources.trials_per_gpu": shared_by,
        "resources.workers": workers,
        "seed": seed,
    }
    # quoted: YAML would read ': ' and ' #' in a path as syntax
    shorthands = [
        f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in values.items() if value is not None
    ]
    return [*shorthands, *(settings or [])]
