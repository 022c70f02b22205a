"""The verbs on recorded sweeps: status, trials, replay, evaluate, export-model, export, report."""

from __future__ import annotations

import typer

from sweep.cli.app import app, command_line, new_console, split_names
from sweep.terminal import options
from trainables.errors import UserError
from trainables.extras import check_extra


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

        print_status(sweep_dir, new_console())
    else:
        from sweep.terminal.early_stopping import print_why

        print_why(sweep_dir, why, new_console())


@app.command()
def trials(
    sweep_dir: options.SweepDir,
    arm: options.Arms = None,
    state: options.States = None,
    sort: options.Sort = None,
    top: options.Top = None,
    columns: options.Columns = None,
) -> None:
    """List the trials of a sweep, search and confirmation, best first.

    Example: `cutmix-sweep trials sweeps/box --state completed --sort val_nll --top 10`
    """
    from sweep.terminal.trials import print_trials

    print_trials(
        sweep_dir,
        new_console(),
        arm=split_names(arm),
        state=split_names(state),
        sort=sort,
        top=top,
        columns=split_names(columns),
    )


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
    console = new_console()
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

    console = new_console()
    evaluated = evaluate_sweep(
        sweep_dir,
        axes=split_names(axes),
        trials=split_names(trials),
        settings=set_ or [],
        address=address,
        cpus=cpus,
        gpus=gpus,
        command=command_line(),
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
        with new_console().status("running the notebook"):
            path = write_report(sweep_dirs, to=to, study=study)
    except NotebookFailedError as error:
        typer.echo(f"error: {error}; no report was written", err=True)
        raise typer.Exit(1) from None
    typer.echo(path)
    if open_:
        import webbrowser

        webbrowser.open(path.absolute().as_uri())
