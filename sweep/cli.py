"""The command line, ``cutmix-sweep``: thin verbs; a verb imports torch and Ray only if it needs them."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from sweep.terminal import options
from trainables.errors import UserError
from trainables.extras import check_extra

if TYPE_CHECKING:
    from rich.console import Console

    from search_spaces.study import Study

T = TypeVar("T")

app = typer.Typer(
    name="cutmix-sweep",
    help="Run CutMix ablations on Ray: search each arm fairly, then compare the arms on fresh seeds.\n\n"
    "Example: `cutmix-sweep run quickstart --scale smoke`",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""


@app.callback(invoke_without_command=True)
def _root(
    version: options.Version = False,
) -> None:
    if version:
        import importlib.metadata

        typer.echo(f"cutmix-sweep {importlib.metadata.version('cutmix-sweep')}")
        raise typer.Exit


@app.command()
def studies(
    name: options.StudyToShow = None,
) -> None:
    """List the built-in studies, or show one study with its arms, its space and its cost at each scale.

    Example: `cutmix-sweep studies quickstart`
    """
    from search_spaces.discover import built_in_studies, load_study
    from sweep.terminal.study import print_scales, print_studies, print_study

    console = _console()
    if name is None:
        print_studies({study: load_study(study) for study in built_in_studies()}, console)
    else:
        print_study(load_study(name), console)
        print_scales(_at_scales(name), console)


@app.command()
def plan(
    study: options.StudyName,
    scale: options.Scale = None,
    set_: options.Set = None,
    data: options.Data = None,
    cpus: options.Cpus = None,
    gpus: options.Gpus = None,
    seed: options.Seed = None,
    effect: options.Effect = None,
    sd: options.Sd = None,
    sd_from: options.SdFrom = None,
) -> None:
    """Show what a study would run on this machine: arms, trials, epochs, dose and time; start nothing.

    Example: `cutmix-sweep plan mask_shape --effect 0.5`
    """
    from sweep.plan import make_plan
    from sweep.power import describe_power
    from sweep.terminal.study import print_plan

    loaded = _load(study, scale, options.with_shorthands(set_, data=data, cpus=cpus, gpus=gpus, seed=seed))
    # first, so that a mistake in these options is refused before anything is printed
    power = describe_power(loaded, effect_points=effect, sd_points=sd, sd_from=sd_from)
    console = _console()
    with console.status("measuring the training speed and the dose of each arm"):
        planned = make_plan(loaded)
    print_plan(loaded, planned, console)
    if power:
        typer.echo(power)


@app.command()
def preview(
    name: options.StudyOrPreset,
    scale: options.Scale = None,
    set_: options.Set = None,
    data: options.Data = None,
    seed: options.Seed = None,
    samples: options.Samples = 6,
    out: options.PictureOut = None,
) -> None:
    """Write one PNG picture with mixed samples, labels and coverage for each arm.

    Example: `cutmix-sweep preview cutmix --samples 4`
    """
    from sweep.preview import load_previewed, write_preview

    study = load_previewed(name, scale=scale, settings=options.with_shorthands(set_, data=data, seed=seed))
    path = out or Path(f"preview-{study.name}.png")
    with _console().status("mixing the samples"):
        write_preview(study, path, n_samples=samples)
    typer.echo(path)


@app.command()
def run(
    study: options.StudyName,
    scale: options.Scale = None,
    set_: options.Set = None,
    data: options.Data = None,
    download: options.Download = False,
    address: options.Address = None,
    cpus: options.Cpus = None,
    gpus: options.Gpus = None,
    seed: options.Seed = None,
    out: options.SweepOut = None,
    log_to: options.LogTo = None,
) -> None:
    """Search each arm of a study, confirm the winners if the study says so, and write the records to a new folder.

    Example: `cutmix-sweep run quickstart --scale smoke`
    """
    from sweep.launch import start_sweep
    from sweep.terminal.display import TerminalDisplay

    loaded = _load(study, scale, options.with_shorthands(set_, data=data, cpus=cpus, gpus=gpus, seed=seed))
    console = _console()
    sweep_dir = start_sweep(
        loaded,
        out=out,
        address=address,
        download=download,
        command=_command(),
        display=TerminalDisplay(console),
        log_to=log_to or (),
        project=Path(study).parent if study.endswith((".yaml", ".yml")) else None,
    )
    _show_result(sweep_dir, console)


@app.command()
def resume(
    sweep_dir: options.SweepDir,
    address: options.Address = None,
    retry_failed: options.RetryFailed = False,
    log_to: options.LogTo = None,
) -> None:
    """Resume an interrupted sweep; no trial is lost or repeated.

    Example: `cutmix-sweep resume sweeps/box`
    """
    _resume(sweep_dir, None, address=address, retry_failed=retry_failed, log_to=log_to)


@app.command()
def confirm(
    sweep_dir: options.SweepDir,
    seeds: options.Seeds,
    configs: options.Configs = None,
    address: options.Address = None,
    log_to: options.LogTo = None,
) -> None:
    """Train each arm's winners again on fresh seeds and measure them on the test images; complete the search first.

    Example: `cutmix-sweep confirm sweeps/box --seeds 5`
    """
    from search_spaces.extension import confirmed

    _resume(sweep_dir, lambda study: confirmed(study, seeds=seeds, configs=configs), address=address, log_to=log_to)


@app.command()
def extend(
    sweep_dir: options.SweepDir,
    add_trials: options.AddTrials = 0,
    add_seeds: options.AddSeeds = 0,
    add_arms: options.AddArms = None,
    address: options.Address = None,
    log_to: options.LogTo = None,
    trials: options.OldTrials = None,
    seeds: options.OldSeeds = None,
    arms: options.OldArms = None,
) -> None:
    """Add trials, seeds or arms to a finished or interrupted sweep and run them; no trial is repeated.

    Example: `cutmix-sweep extend sweeps/box --add-trials 8`
    """
    from search_spaces.extension import extended, parse_arms

    n_trials = _renamed("trials", trials, add_trials)
    n_seeds = _renamed("seeds", seeds, add_seeds)
    arms_text = _renamed("arms", arms, add_arms)
    new_arms = None if arms_text is None else parse_arms(arms_text)
    _resume(
        sweep_dir,
        lambda study: extended(study, trials=n_trials, seeds=n_seeds, arms=new_arms),
        address=address,
        log_to=log_to,
    )


@app.command()
def status(
    sweep_dir: options.SweepDir,
    why: options.Why = None,
) -> None:
    """Show the progress and the results of a sweep, or explain why one trial ended.

    Example: `cutmix-sweep status sweeps/box --why cutmix-0004`
    """
    if why is None:
        from sweep.terminal.status import print_status

        print_status(sweep_dir, _console())
    else:
        from sweep.terminal.early_stopping import print_why

        print_why(sweep_dir, why, _console())


@app.command()
def replay(
    sweep_dir: options.SweepDir,
    rule: options.Rule = None,
    metric: options.Metric = None,
    orders: options.Orders = 200,
    workers: options.Workers = 4,
    seed: options.ReplaySeed = 0,
    csv: options.Csv = None,
) -> None:
    """Replay early-stopping rules on recorded full curves; report epochs saved and regret.

    Example: `cutmix-sweep replay sweeps/box --rule median`
    """
    from sweep.findings.replay import replay_sweep
    from sweep.terminal.early_stopping import print_replay

    if csv is not None and not csv.absolute().parent.is_dir():
        raise UserError(f"--csv '{csv}': there is no folder '{csv.parent}'")
    console = _console()
    with console.status("replaying"):
        frame = replay_sweep(sweep_dir, rules=rule or (), metric=metric, n_orders=orders, n_workers=workers, seed=seed)
    if csv is not None:
        frame.to_csv(csv, index=False)
    print_replay(frame, console, n_orders=orders, n_workers=workers)


@app.command()
def evaluate(
    sweep_dir: options.SweepDir,
    axes: options.Axes = None,
    trials: options.Trials = None,
    set_: options.AxisSet = None,
    address: options.Address = None,
    cpus: options.MeasurementCpus = None,
    gpus: options.MeasurementGpus = None,
) -> None:
    """Measure trained models on the evaluation axes, record the values and show one table per axis.

    Example: `cutmix-sweep evaluate sweeps/box --axes calibration,ood`
    """
    from sweep.evaluation.evaluate import evaluate_sweep
    from sweep.terminal.display import TerminalDisplay
    from sweep.terminal.evaluation import print_evaluated

    console = _console()
    evaluated = evaluate_sweep(
        sweep_dir,
        axes=_split_names(axes),
        trials=_split_names(trials),
        settings=set_ or [],
        address=address,
        cpus=cpus,
        gpus=gpus,
        command=_command(),
        display=TerminalDisplay(console),
    )
    if print_evaluated(evaluated, console):
        raise typer.Exit(1)


@app.command("export-model")
def export_model(
    sweep_dir: options.SweepDir,
    trial: options.Trial,
    form: options.Form = "weights",
    out: options.ModelOut = None,
) -> None:
    """Write the trained model of one trial to a file, as weights or as a program.

    Example: `cutmix-sweep export-model sweeps/box cutmix-0004 --form program`
    """
    from sweep.models import export_trial

    typer.echo(export_trial(sweep_dir, trial, form=form, out=out))


@app.command()
def export(
    sweep_dir: options.SweepDir,
    format_: options.ExportFormat = options.Format.CSV,
    to: options.ExportTo = None,
) -> None:
    """Write the records of a sweep for other tools and print the paths of the files.

    csv, parquet: one file each for trials, epochs, decisions and test values, with one column per parameter.
    optuna: an SQLite storage with one study per arm; tensorboard: event files with one run per trial.

    Example: `cutmix-sweep export sweeps/box --format parquet`
    """
    from sweep.export.formats import export_sweep

    for path in export_sweep(sweep_dir, to or sweep_dir / "export", format_.value):
        typer.echo(path)


@app.command()
def report(
    sweep_dirs: options.SweepDirs,
    to: options.ReportTo = None,
    study: options.Notebook = None,
    open_: options.Open = False,
) -> None:
    """Write one HTML page with the verdict, figures and tables of a sweep, and each figure and table as a file.

    Example: `cutmix-sweep report sweeps/box --open`
    """
    check_extra("report", needed_by="the command report")
    from analysis.report.write import NotebookFailedError, write_report

    try:
        with _console().status("running the notebook"):
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
    data: options.DoctorData = "digits",
    out: options.DoctorOut = Path("sweeps"),
) -> None:
    """Check Python, torch, GPU, Ray, data and disk; say how to fix each problem.

    Example: `cutmix-sweep doctor --data imagefolder:photos`
    """
    from sweep.doctor import WRONG, diagnose
    from sweep.terminal.study import print_checks

    checks = diagnose(data, out)
    print_checks(checks, _console())
    if any(check.state == WRONG for check in checks):
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a study file, for editors.

    Example: `cutmix-sweep schema > study.schema.json`
    """
    import json

    from search_spaces.schema import study_schema

    typer.echo(json.dumps(study_schema(), indent=2))


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit code 2, never in a traceback."""
    from sweep.endings import EvaluationInterrupted, Interrupted, user_message
    from sweep.records.errors import RecordsError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a study may have letters that the locale has not
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


def _load(study: str, scale: str | None, settings: list[str]) -> Study:
    from search_spaces.discover import load_study

    return load_study(study, scale=scale, settings=settings)


def _at_scales(study: str) -> dict[str, Study | UserError]:
    """Return a study at every scale, or the error of a scale that its file does not allow."""
    from search_spaces.scales import SCALES

    at_scales: dict[str, Study | UserError] = {}
    for scale in SCALES:
        try:
            at_scales[scale] = _load(study, scale, [])
        except UserError as error:
            at_scales[scale] = error
    return at_scales


def _resume(
    sweep_dir: Path,
    change: Callable[[Study], Study] | None,
    *,
    address: str | None,
    retry_failed: bool = False,
    log_to: list[str] | None = None,
) -> None:
    from sweep.launch import resume_sweep
    from sweep.terminal.display import TerminalDisplay

    console = _console()
    resume_sweep(
        sweep_dir,
        address=address,
        retry_failed=retry_failed,
        command=_command(),
        display=TerminalDisplay(console),
        change=change,
        log_to=log_to or (),
    )
    _show_result(sweep_dir, console)


def _show_result(sweep_dir: Path, console: Console) -> None:
    """Print the status of a sweep that has ended; exit with code 1 if a trial failed."""
    from sweep.terminal.status import print_status

    if print_status(sweep_dir, console):
        raise typer.Exit(1)


def _renamed(option: str, old_value: T | None, new_value: T) -> T:
    """Return the value of ``--add-OPTION``, which may be given under its old name ``--OPTION``."""
    if old_value is None:
        return new_value
    if new_value:
        raise UserError(f"--{option} is the old name of --add-{option}: give one of them")
    typer.echo(f"note: --{option} was renamed to --add-{option}", err=True)
    return old_value


def _split_names(text: str | None) -> list[str] | None:
    """Return the names between commas; None without a text."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _command() -> str:
    return shlex.join(["cutmix-sweep", *sys.argv[1:]])


def _console() -> Console:
    from rich.console import Console

    return Console()
