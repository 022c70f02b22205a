"""The command line, ``cutmix-sweep``: thin verbs; torch and Ray are imported only by those that need them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainables.errors import UserError
from trainables.extras import check_extra

if TYPE_CHECKING:
    from rich.console import Console

    from search_spaces.study import Study

app = typer.Typer(
    name="cutmix-sweep",
    help="CutMix ablations on Ray: declare a question, search each arm fairly, read an honest answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

StudyArgument = Annotated[str, typer.Argument(help="name of a built-in study, or path of a YAML file")]
DirArgument = Annotated[Path, typer.Argument(help="folder of a sweep")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="value laid over the study, as in budget.trials=8; repeatable"),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="digits, cifar10, cifar100, imagefolder:PATH, tiny-imagenet:PATH, cub:PATH or imagenet:PATH; "
        "short for base.data.source"
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(help="Ray cluster to join: auto or HOST:PORT; default: start Ray on this machine"),
]
ScaleOption = Annotated[
    str | None,
    typer.Option(help="how much to spend: smoke, laptop, gpu or paper; default: as the study's file says"),
]
CpusOption = Annotated[int | None, typer.Option(help="cores and threads a trial; short for resources.cpus")]
GpusOption = Annotated[float | None, typer.Option(help="GPUs a trial, fractions too; short for resources.gpus")]
LogToOption = Annotated[
    list[str] | None,
    typer.Option("--log-to", metavar="LOGGER:TARGET", help="also log live to wandb:PROJECT or mlflow:URI; repeatable"),
]
SeedOption = Annotated[int | None, typer.Option(help="seed of everything drawn; short for seed")]


class Format(StrEnum):
    """What a sweep is exported as."""

    CSV = "csv"
    PARQUET = "parquet"
    OPTUNA = "optuna"
    TENSORBOARD = "tensorboard"


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="show the version and exit")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"cutmix-sweep {installed('cutmix-sweep')}")
        raise typer.Exit


@app.command()
def studies(
    name: Annotated[str | None, typer.Argument(help="study to show; without it all are listed")] = None,
) -> None:
    """List the built-in studies, or show one with its arms and space."""
    from search_spaces.discover import built_in_studies, load_study
    from sweep.terminal.study import print_scales, print_studies, print_study

    if name is None:
        print_studies({study: load_study(study) for study in built_in_studies()}, _console())
    else:
        console = _console()
        print_study(load_study(name), console)
        print_scales(_at_scales(name), console)


@app.command()
def plan(
    study: StudyArgument,
    scale: ScaleOption = None,
    set_: SetOption = None,
    data: DataOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    seed: SeedOption = None,
    effect: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="difference in top-1 error to be seen, percentage points: asks for seeds"),
    ] = None,
    sd: Annotated[float | None, typer.Option(metavar="POINTS", help="SD of top-1 errors over seeds")] = None,
    sd_from: Annotated[Path | None, typer.Option(metavar="DIR", help="sweep whose seeds show that SD")] = None,
) -> None:
    """Show what a study would run and about how long it takes on this machine; nothing is started."""
    from sweep.plan import make_plan
    from sweep.power import describe_power
    from sweep.terminal.study import print_plan

    loaded = _load(study, scale, set_, data=data, cpus=cpus, gpus=gpus, seed=seed)
    power = describe_power(
        loaded, effect_points=effect, sd_points=sd, sd_from=sd_from
    )  # refused before anything is shown
    print_plan(loaded, make_plan(loaded), _console())
    if power:
        typer.echo(power)


@app.command()
def preview(
    name: Annotated[str, typer.Argument(metavar="STUDY|PRESET", help="a study, its file, or a policy by name")],
    scale: ScaleOption = None,
    set_: SetOption = None,
    data: DataOption = None,
    seed: SeedOption = None,
    samples: Annotated[int, typer.Option(min=1, max=12, help="images shown")] = 6,
    out: Annotated[Path | None, typer.Option(help="PNG file; default: preview-NAME.png")] = None,
) -> None:
    """Draw what each arm does to real images, with labels and coverage, as one picture."""
    from sweep.preview import load_previewed, write_preview

    study = load_previewed(name, scale=scale, settings=_settings(set_, data=data, seed=seed))
    path = out or Path(f"preview-{study.name}.png")
    write_preview(study, path, n_samples=samples)
    typer.echo(path)


@app.command()
def run(
    study: StudyArgument,
    scale: ScaleOption = None,
    set_: SetOption = None,
    data: DataOption = None,
    download: Annotated[bool, typer.Option("--download", help="fetch the data set if it is not there")] = False,
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    seed: SeedOption = None,
    out: Annotated[Path | None, typer.Option(help="new folder of the sweep; default: sweeps/STUDY-TIME")] = None,
    log_to: LogToOption = None,
) -> None:
    """Run a study: search every arm, with early stopping, a live table and records that survive a kill."""
    from sweep.launch import start_sweep
    from sweep.terminal.status import print_status

    loaded = _load(study, scale, set_, data=data, cpus=cpus, gpus=gpus, seed=seed)
    console = _console()
    sweep_dir = start_sweep(
        loaded,
        out=out,
        address=address,
        download=download,
        command=_command(),
        console=console,
        log_to=log_to or (),
    )
    if print_status(sweep_dir, console):
        raise typer.Exit(1)


@app.command()
def resume(
    sweep_dir: DirArgument,
    address: AddressOption = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="take up failed trials again as well")] = False,
    log_to: LogToOption = None,
) -> None:
    """Go on with a sweep after any interruption: no trial is lost or run twice."""
    _go_on(sweep_dir, None, address=address, retry_failed=retry_failed, log_to=log_to)


@app.command()
def confirm(
    sweep_dir: DirArgument,
    seeds: Annotated[int, typer.Option(min=2, help="seeds of each configuration, those confirmed already among them")],
    configs: Annotated[
        int | None, typer.Option(min=1, help="best configurations of each arm; default: what the study has, or 1")
    ] = None,
    address: AddressOption = None,
    log_to: LogToOption = None,
) -> None:
    """Train each arm's winners again on fresh seeds and read the test images; finishes the search first."""
    from search_spaces.extension import confirmed

    _go_on(sweep_dir, lambda study: confirmed(study, seeds=seeds, configs=configs), address=address, log_to=log_to)


@app.command()
def extend(
    sweep_dir: DirArgument,
    trials: Annotated[int, typer.Option(min=0, help="more trials of each arm's search")] = 0,
    seeds: Annotated[int, typer.Option(min=0, help="more seeds of each confirmed configuration")] = 0,
    arms: Annotated[
        str | None, typer.Option(help="more arms: presets, as in fmix,gridmix, or {name: {mix: ...}, ...}")
    ] = None,
    address: AddressOption = None,
    log_to: LogToOption = None,
) -> None:
    """Add to a finished or interrupted sweep; nothing is run twice."""
    from search_spaces.extension import extended, parse_arms

    more = None if arms is None else parse_arms(arms)
    _go_on(
        sweep_dir,
        lambda study: extended(study, trials=trials, seeds=seeds, arms=more),
        address=address,
        log_to=log_to,
    )


@app.command()
def status(
    sweep_dir: DirArgument,
    why: Annotated[
        str | None, typer.Option(metavar="TRIAL", help="explain one trial: each rung it passed and why it ended")
    ] = None,
) -> None:
    """Show how a sweep stands, while it runs or after."""
    if why is None:
        from sweep.terminal.status import print_status

        print_status(sweep_dir, _console())
    else:
        from sweep.terminal.early_stopping import print_why

        print_why(sweep_dir, why, _console())


@app.command()
def replay(
    sweep_dir: DirArgument,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE,PARAMETER=VALUE,...",
            help="as in asha,grace_period_epochs=2; repeatable; default: the sweep's own, else asha",
        ),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="what trials are compared by; default: the study's metric")] = None,
    orders: Annotated[int, typer.Option(min=2, help="random orders of arrival")] = 200,
    workers: Annotated[int, typer.Option(min=1, help="simulated trials at a time")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="seed of the orders")] = 0,
    csv: Annotated[Path | None, typer.Option(help="file for all figures")] = None,
) -> None:
    """Play early-stopping rules over a sweep's full curves: what they would have saved, and what it would have cost."""
    from sweep.findings.replay import replay_sweep
    from sweep.terminal.early_stopping import print_replay

    if csv is not None and not csv.absolute().parent.is_dir():
        raise UserError(f"--csv '{csv}': no folder '{csv.parent}'")
    frame = replay_sweep(sweep_dir, rules=rule or (), metric=metric, n_orders=orders, n_workers=workers, seed=seed)
    if csv is not None:
        frame.to_csv(csv, index=False)
    print_replay(frame, _console(), n_orders=orders, n_workers=workers)


@app.command()
def evaluate(
    sweep_dir: DirArgument,
    axes: Annotated[
        str | None, typer.Option(help="axes, as in calibration,ood; default: all that suit the data and are quick")
    ] = None,
    trials: Annotated[
        str | None,
        typer.Option(
            help="as in cutmix-0004,off-0001, or search: its completed ones; default: those of a confirmation"
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="AXIS.PATH=VALUE", help="setting of an axis, as in ood.n_images=500; repeatable"),
    ] = None,
    address: AddressOption = None,
    cpus: Annotated[int | None, typer.Option(help="cores and threads a measurement; default: the sweep's")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs a measurement; default: the sweep's")] = None,
) -> None:
    """Measure trained models beyond their error: calibration, attacks, other images, localization, cost, ..."""
    from sweep.evaluation.evaluate import evaluate_sweep
    from sweep.terminal.evaluation import print_evaluated

    console = _console()
    evaluated = evaluate_sweep(
        sweep_dir,
        axes=_names(axes),
        trials=_names(trials),
        settings=set_ or [],
        address=address,
        cpus=cpus,
        gpus=gpus,
        command=_command(),
        console=console,
    )
    if print_evaluated(evaluated, console):
        raise typer.Exit(1)


@app.command("export-model")
def export_model(
    sweep_dir: DirArgument,
    trial: Annotated[str, typer.Argument(help="completed trial, as status and the records name it")],
    form: Annotated[
        str, typer.Option(help="weights (state dict and configuration) or program (torch.export, runs without us)")
    ] = "weights",
    out: Annotated[Path | None, typer.Option(help="file; default: TRIAL.pt or TRIAL.pt2 in this folder")] = None,
) -> None:
    """Write a trial's model to a file that can be used elsewhere."""
    from sweep.models import export_trial

    typer.echo(export_trial(sweep_dir, trial, form=form, out=out))


@app.command()
def export(
    sweep_dir: DirArgument,
    format_: Annotated[Format, typer.Option("--format", help="what to write")] = Format.CSV,
    to: Annotated[Path | None, typer.Option(help="folder for the files; default: DIR/export")] = None,
) -> None:
    """Hand a sweep on to other tools.

    csv, parquet: trials, epochs, decisions and test values, a file each, every parameter in a column of its own;
    optuna: an SQLite storage, a study an arm; tensorboard: event files, a run a trial.
    """
    from sweep.export.formats import export_sweep

    for path in export_sweep(sweep_dir, to or sweep_dir / "export", format_.value):
        typer.echo(path)


@app.command()
def report(
    sweep_dirs: Annotated[list[Path], typer.Argument(help="folder of a sweep; several are compared in one report")],
    to: Annotated[
        Path | None, typer.Option(help="folder for the report; default: DIR/report, of several sweeps ./report")
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="notebook to run, or an .ipynb file; default: that of the sweep's study"),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="show it in the browser")] = False,
) -> None:
    """Write what a sweep says as one HTML page, verdict first, with every figure and table as files beside it."""
    check_extra("report", needed_by="the command report")
    from analysis.report.write import NotebookFailedError, write_report

    try:
        path = write_report(sweep_dirs, to=to, study=study)
    except NotebookFailedError as error:
        typer.echo(f"error: {error}; no report was written", err=True)
        raise typer.Exit(1) from None
    typer.echo(path)
    if open_:
        import webbrowser

        webbrowser.open(path.absolute().as_uri())


@app.command()
def doctor(
    data: DataOption = None,
    out: Annotated[Path, typer.Option(help="folder that sweeps are to be written to")] = Path("sweeps"),
) -> None:
    """Check Python, torch, GPU, Ray, data and disk; say how to mend what is wrong."""
    from sweep.doctor import WRONG, diagnose
    from sweep.terminal.study import print_checks

    checks = diagnose(data or "digits", out)
    print_checks(checks, _console())
    if any(check.state == WRONG for check in checks):
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a study file, for editors."""
    import json

    from search_spaces.schema import study_schema

    typer.echo(json.dumps(study_schema(), indent=2))


def _names(text: str | None) -> list[str] | None:
    """Split names at commas; None where none are given."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _go_on(
    sweep_dir: Path,
    change: Callable[[Study], Study] | None,
    *,
    address: str | None,
    retry_failed: bool = False,
    log_to: list[str] | None = None,
) -> None:
    from sweep.launch import resume_sweep
    from sweep.terminal.status import print_status

    console = _console()
    resume_sweep(
        sweep_dir,
        address=address,
        retry_failed=retry_failed,
        command=_command(),
        console=console,
        change=change,
        log_to=log_to or (),
    )
    if print_status(sweep_dir, console):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; a user's mistake ends in one message and status 2, never in a traceback."""
    from sweep.endings import EvaluationInterrupted, Interrupted, user_message
    from sweep.records.errors import RecordsError

    try:
        app()
    except (UserError, RecordsError) as error:
        _refuse(str(error))
    except OSError as error:
        message = user_message(error)
        if message is None:
            raise
        _refuse(message)
    except (Interrupted, EvaluationInterrupted) as error:
        typer.echo(str(error), err=True)
        sys.exit(INTERRUPTED)


def _refuse(message: str) -> None:
    for line in message.splitlines():
        typer.echo(f"error: {line}", err=True)
    sys.exit(2)


def _load(
    study: str,
    scale: str | None,
    settings: list[str] | None,
    *,
    data: str | None,
    cpus: int | None,
    gpus: float | None,
    seed: int | None,
) -> Study:
    from search_spaces.discover import load_study

    given = _settings(settings, data=data, cpus=cpus, gpus=gpus, seed=seed)
    return load_study(study, scale=scale, settings=given)


def _at_scales(study: str) -> dict[str, Study | UserError]:
    """Load a study at every scale; what one's own file does not allow is told, not raised."""
    from search_spaces.discover import load_study
    from search_spaces.scales import SCALES

    found: dict[str, Study | UserError] = {}
    for scale in SCALES:
        try:
            found[scale] = load_study(study, scale=scale)
        except UserError as error:
            found[scale] = error
    return found


def _settings(
    settings: list[str] | None,
    *,
    data: str | None,
    seed: int | None,
    cpus: int | None = None,
    gpus: float | None = None,
) -> list[str]:
    """Spell the short options out as settings; those given by ``--set`` come after them and win."""
    import json

    shorthands = {"base.data.source": data, "resources.cpus": cpus, "resources.gpus": gpus, "seed": seed}
    # quoted, so that a path with ': ' or ' #' in it is still the text that was given
    given = [
        f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in shorthands.items() if value is not None
    ]
    return [*given, *(settings or [])]


def _command() -> str:
    return shlex.join(["cutmix-sweep", *sys.argv[1:]])


def _console() -> Console:
    from rich.console import Console

    return Console()
