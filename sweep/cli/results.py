"""The verbs on recorded sweeps: status, trials, replay, evaluate, export-model, export, report."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import typer

from sweep.cli.app import (
    app,
    check_cluster,
    command_line,
    echo,
    new_console,
    new_display,
    on_sweep,
    print_document,
    split_names,
)
from sweep.endings import Joined
from sweep.signals import exit_code
from sweep.terminal import options, result_options
from trainables.errors import UserError
from trainables.extras import check_extra


@app.command()
@on_sweep()
def status(
    sweep_dir: options.SweepDir,
    why: result_options.Why = None,
    follow: result_options.Follow = False,
    json_: options.Json = False,
) -> None:
    """Show the progress and the results of a sweep, follow it to its end, or explain why one trial ended.

    Example: `cutmix-sweep status sweeps/box --follow`
    """
    if (why is not None) + follow + json_ > 1:
        raise UserError("--why, --follow and --json exclude each other: give one of them")
    if json_:
        from sweep.documents import status_document

        print_document(status_document(sweep_dir))
    elif follow:
        _follow(sweep_dir)
    elif why is None:
        from sweep.terminal.status import print_status

        print_status(sweep_dir, new_console())
    else:
        from sweep.terminal.early_stopping import print_why

        print_why(sweep_dir, why, new_console())


def _follow(sweep_dir: Path) -> None:
    """Show a running sweep until it ends; exit with the code of the command that ran it."""
    from sweep.terminal.follow import follow_sweep

    try:
        code = follow_sweep(sweep_dir, new_console())
    except KeyboardInterrupt:
        echo("no longer following; the sweep itself was not interrupted", err=True)
        raise typer.Exit(exit_code(signal.SIGINT)) from None
    raise typer.Exit(code)


@app.command()
@on_sweep()
def trials(
    sweep_dir: options.SweepDir,
    arm: result_options.Arms = None,
    state: result_options.States = None,
    sort: result_options.Sort = None,
    top: result_options.Top = None,
    columns: result_options.Columns = None,
    json_: options.Json = False,
) -> None:
    """List the trials of a sweep, search and confirmation, best first.

    Example: `cutmix-sweep trials sweeps/box --state completed --sort val_nll --top 10`
    """
    arms, states, names = split_names(arm), split_names(state), split_names(columns)
    if json_:
        from sweep.documents import trials_document

        print_document(trials_document(sweep_dir, arm=arms, state=states, sort=sort, top=top, columns=names))
    else:
        from sweep.terminal.trials import print_trials

        print_trials(sweep_dir, new_console(), arm=arms, state=states, sort=sort, top=top, columns=names)


@app.command()
@on_sweep()
def replay(
    sweep_dir: options.SweepDir,
    rule: result_options.Rule = None,
    metric: result_options.Metric = None,
    orders: result_options.Orders = 200,
    workers: result_options.Workers = 4,
    seed: result_options.ReplaySeed = 0,
    csv: result_options.Csv = None,
) -> None:
    """Replay early-stopping rules on recorded full curves; report epochs saved and regret.

    Example: `cutmix-sweep replay sweeps/box --rule median`
    """
    from sweep.csv_files import write_csv
    from sweep.findings.replay import replay_sweep
    from sweep.terminal.early_stopping import print_replay

    if csv is not None and not csv.absolute().parent.is_dir():
        raise UserError(f"--csv '{csv}': there is no folder '{csv.parent}'")
    with new_display(stderr=True).show_status("replaying"):
        frame = replay_sweep(sweep_dir, rules=rule or (), metric=metric, n_orders=orders, n_workers=workers, seed=seed)
    if csv is not None:
        write_csv(frame, csv)
    print_replay(frame, new_console(), n_orders=orders, n_workers=workers)


@app.command()
@on_sweep(write=True)
def evaluate(
    sweep_dir: options.SweepDir,
    axes: result_options.Axes = None,
    trials: result_options.Trials = None,
    set_: result_options.AxisSet = None,
    data: options.MovedData = None,
    address: options.Address = None,
    insecure: options.Insecure = False,
    strict_nodes: options.StrictNodes = False,
    max_trials: options.MaxTrials = None,
    start_timeout: options.StartTimeout = None,
    cpus: result_options.MeasurementCpus = None,
    gpus: result_options.MeasurementGpus = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    json_: options.Json = False,
) -> None:
    """Measure trained models on the evaluation axes, record the values and show one table per axis.

    Example: `cutmix-sweep evaluate sweeps/box --axes calibration,ood`
    """
    display = new_display(quiet=quiet, verbose=verbose, stderr=json_)
    joined = Joined(address, insecure, strict_nodes, max_trials, start_timeout)
    check_cluster(joined, display=display)
    with display.show_status("loading the libraries"):
        from sweep.documents import evaluate_document
        from sweep.evaluation.evaluate import evaluate_sweep
        from sweep.terminal.evaluation import print_evaluated
    evaluated = evaluate_sweep(
        sweep_dir,
        axes=split_names(axes),
        trials=split_names(trials),
        settings=set_ or [],
        data=data,
        joined=joined,
        cpus=cpus,
        gpus=gpus,
        command=command_line(),
        display=display,
    )
    if json_:
        print_document(evaluate_document(sweep_dir, evaluated))
    else:
        print_evaluated(evaluated, new_console())
    if len(evaluated.failures) or evaluated.damaged:
        raise typer.Exit(1)


@app.command("export-model")
@on_sweep()
def export_model(
    sweep_dir: options.SweepDir,
    trial: result_options.Trial,
    form: result_options.Form = "weights",
    out: result_options.ModelOut = None,
) -> None:
    """Write the trained model of one trial to a file, as weights or as a program.

    Example: `cutmix-sweep export-model sweeps/box cutmix-0004 --form program`
    """
    from sweep.models import export_trial

    echo(export_trial(sweep_dir, trial, form=form, out=out))


@app.command()
@on_sweep()
def export(
    sweep_dir: options.SweepDir,
    format_: result_options.ExportFormat = result_options.Format.CSV,
    to: result_options.ExportTo = None,
) -> None:
    """Write the records of a sweep for other tools and print the paths of the files.

    csv, parquet: one file each for trials, epochs, decisions and test values, with one column per parameter.
    optuna: an SQLite storage with one study per arm; tensorboard: event files with one run per trial.

    Example: `cutmix-sweep export sweeps/box --format parquet`
    """
    from sweep.export.formats import export_sweep
    from sweep.export.recorded import EXPORT
    from sweep.output_folder import output_folder

    for path in export_sweep(sweep_dir, to or output_folder(sweep_dir, EXPORT), format_.value):
        echo(path)


@app.command()
def report(
    sweep_dirs: result_options.SweepDirs,
    to: result_options.ReportTo = None,
    notebook: result_options.Notebook = None,
    open_: result_options.Open = False,
) -> None:
    """Write one HTML page with the verdict, figures and tables of a sweep, and each figure and table as a file.

    Example: `cutmix-sweep report sweeps/box --open`
    """
    check_extra("report", needed_by="the command report")
    from analysis.report.write import REPORT, NotebookFailedError, write_report
    from sweep.mirrored import mirror_of
    from sweep.status import describe_unfinished
    from sweep.storage import opened

    display = new_display(stderr=True)
    try:
        with contextlib.ExitStack() as stack, display.show_status("running the notebook"):
            sweeps = [stack.enter_context(opened(place, show_status=display.show_status)) for place in sweep_dirs]
            # a folder that came with a sweep may contain links: there, the report chooses its folder itself
            folder = to or (None if mirror_of(sweeps[0].path) is None else Path(REPORT))
            folders = [sweep.path for sweep in sweeps]
            path = write_report(folders, to=folder, notebook=notebook, unfinished=describe_unfinished)
    except NotebookFailedError as error:
        echo(f"error: {error}; no report was written", err=True)
        raise typer.Exit(1) from None
    echo(path)
    if open_:
        import webbrowser

        webbrowser.open(path.absolute().as_uri())
