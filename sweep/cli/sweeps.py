"""The verbs that run trials: run, resume, confirm, extend."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sweep.cli.app import app, command_line, new_console, new_display, on_sweep, renamed
from sweep.terminal import options

if TYPE_CHECKING:
    from search_spaces.study import Study
    from sweep.storage import Opened
    from sweep.terminal.display import TerminalDisplay


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
    workers: options.Workers = None,
    seed: options.Seed = None,
    out: options.SweepOut = None,
    log_to: options.LogTo = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Search each arm of a study, confirm the winners if the study says so, and write the records to a new folder.

    Example: `cutmix-sweep run quickstart --scale smoke`
    """
    display = new_display(quiet=quiet, verbose=verbose)
    with display.show_status("loading the libraries"):
        from search_spaces.discover import folder_of, load_study
        from sweep.launch import start_sweep
        from sweep.storage import opened
    settings = options.with_shorthands(set_, data=data, cpus=cpus, gpus=gpus, workers=workers, seed=seed)
    loaded = load_study(study, scale=scale, settings=settings)
    place: AbstractContextManager[Opened | None]
    place = nullcontext() if out is None else opened(out, write=True, new=True, show_status=display.show_status)
    with place as folder:
        sweep_dir = start_sweep(
            loaded,
            out=folder and folder.path,
            address=address,
            download=download,
            command=command_line(),
            display=display,
            log_to=log_to or (),
            project=folder_of(study),
        )
        _show_result(sweep_dir)


@app.command()
@on_sweep(write=True)
def resume(
    sweep_dir: options.SweepDir,
    data: options.MovedData = None,
    address: options.Address = None,
    retry_failed: options.RetryFailed = False,
    no_models: options.NoModels = False,
    set_: options.LimitSet = None,
    log_to: options.LogTo = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Resume an interrupted sweep; no trial is lost or repeated.

    Example: `cutmix-sweep resume sweeps/box`
    """
    from search_spaces.extension import limited

    change = (lambda study: limited(study, set_)) if set_ else None
    display = new_display(quiet=quiet, verbose=verbose)
    _resume(
        sweep_dir,
        change,
        display,
        data=data,
        address=address,
        retry_failed=retry_failed,
        regain_models=not no_models,
        log_to=log_to,
    )


@app.command()
@on_sweep(write=True)
def confirm(
    sweep_dir: options.SweepDir,
    seeds: options.Seeds,
    searches: options.Searches = None,
    configs: options.Configs = None,
    data: options.MovedData = None,
    address: options.Address = None,
    log_to: options.LogTo = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train each search's winners again on fresh seeds and measure them on test images; complete the searches first.

    Example: `cutmix-sweep confirm sweeps/box --seeds 5`
    """
    from search_spaces.extension import confirmed

    display = new_display(quiet=quiet, verbose=verbose)
    change = lambda study: confirmed(study, seeds=seeds, configs=configs, searches=searches)  # noqa: E731
    _resume(sweep_dir, change, display, data=data, address=address, regain_models=False, log_to=log_to)


@app.command()
@on_sweep(write=True)
def extend(
    sweep_dir: options.SweepDir,
    add_trials: options.AddTrials = 0,
    add_searches: options.AddSearches = 0,
    add_seeds: options.AddSeeds = 0,
    add_arms: options.AddArms = None,
    data: options.MovedData = None,
    address: options.Address = None,
    log_to: options.LogTo = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    trials: options.OldTrials = None,
    seeds: options.OldSeeds = None,
    arms: options.OldArms = None,
) -> None:
    """Add trials, searches, seeds or arms to a finished or interrupted sweep and run them; no trial is repeated.

    Example: `cutmix-sweep extend sweeps/box --add-searches 3`
    """
    from search_spaces.extension import extended, parse_arms

    n_trials = renamed("trials", "add-trials", trials, add_trials)
    n_seeds = renamed("seeds", "add-seeds", seeds, add_seeds)
    arms_text = renamed("arms", "add-arms", arms, add_arms)
    new_arms = None if arms_text is None else parse_arms(arms_text)
    _resume(
        sweep_dir,
        lambda study: extended(study, trials=n_trials, searches=add_searches, seeds=n_seeds, arms=new_arms),
        new_display(quiet=quiet, verbose=verbose),
        data=data,
        address=address,
        regain_models=False,
        log_to=log_to,
    )


def _resume(
    sweep_dir: Path,
    change: Callable[[Study], Study] | None,
    display: TerminalDisplay,
    *,
    data: str | None,
    address: str | None,
    retry_failed: bool = False,
    regain_models: bool = True,
    log_to: list[str] | None = None,
) -> None:
    with display.show_status("loading the libraries"):
        from sweep.launch import resume_sweep
    resume_sweep(
        sweep_dir,
        data=data,
        address=address,
        retry_failed=retry_failed,
        command=command_line(),
        display=display,
        change=change,
        regain_models=regain_models,
        log_to=log_to or (),
    )
    _show_result(sweep_dir)


def _show_result(sweep_dir: Path) -> None:
    """Print the status of a sweep that has ended; exit with a code that tells how it ended."""
    from sweep.terminal.status import print_status

    raise typer.Exit(print_status(sweep_dir, new_console()))
