"""The verbs that run trials: run, resume, confirm, extend."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sweep.cli.app import app, check_cluster, command_line, echo, new_console, new_display, on_sweep, renamed
from sweep.endings import Joined
from sweep.terminal import options
from trainables.errors import UserError

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
    insecure: options.Insecure = False,
    strict_nodes: options.StrictNodes = False,
    max_trials: options.MaxTrials = None,
    start_timeout: options.StartTimeout = None,
    cpus: options.Cpus = None,
    gpus: options.Gpus = None,
    trials_per_gpu: options.TrialsPerGpu = None,
    workers: options.Workers = None,
    seed: options.Seed = None,
    out: options.SweepOut = None,
    log_to: options.LogTo = None,
    or_resume: options.OrResume = False,
    restarts: options.Restarts = 0,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Search each arm of a study, confirm the winners if the study says so, and write the records to a new folder.

    Example: `cutmix-sweep run quickstart --scale smoke`
    """
    display = new_display(quiet=quiet, verbose=verbose)
    if or_resume and out is None:
        raise UserError("--or-resume needs --out: it resumes the sweep in that folder")
    if restarts:
        _run_again(out, restarts, display, or_resume=or_resume)
    joined = Joined(address, insecure, strict_nodes, max_trials, start_timeout)
    check_cluster(joined, display=display)
    with display.show_status("loading the libraries"):
        from search_spaces.discover import folder_of, load_study
        from sweep.launch import start_sweep
        from sweep.restart import has_begun
        from sweep.storage import opened
    settings = options.with_shorthands(
        set_, data=data, cpus=cpus, gpus=gpus, trials_per_gpu=trials_per_gpu, workers=workers, seed=seed
    )
    loaded = load_study(study, scale=scale, settings=settings)
    place: AbstractContextManager[Opened | None] = nullcontext()
    if out is not None:
        place = opened(out, write=True, new=not or_resume, show_status=display.show_status)
    with place as folder:
        if or_resume and folder is not None and has_begun(loaded, folder.path):
            _resume(
                folder.path,
                None,
                display,
                data=None,
                joined=joined,
                log_to=log_to,
            )
        sweep_dir = start_sweep(
            loaded,
            out=None if folder is None else folder.path,
            joined=joined,
            download=download,
            command=command_line(),
            display=display,
            log_to=log_to or (),
            project=folder_of(study),
        )
        _show_result(sweep_dir)


def _run_again(out: Path | None, restarts: int, display: TerminalDisplay, *, or_resume: bool) -> None:
    """Run this command without ``--restarts`` in a child process, again if it is lost; exit with its code."""
    if out is None or not or_resume:
        raise UserError("--restarts needs --out and --or-resume: the sweep in that folder continues then")
    from sweep.restart import run_again
    from sweep.storage import opened

    place = next(place for place, word in enumerate(sys.argv) if word.startswith("--restarts"))
    is_one_word = "=" in sys.argv[place]
    arguments = [*sys.argv[1:place], *sys.argv[place + (1 if is_one_word else 2) :]]
    with opened(out, read_now=False) as sweep:
        raise typer.Exit(run_again(arguments, sweep.path, restarts, display=display))


@app.command()
@on_sweep(read_now=False)
def resume(
    sweep_dir: options.SweepDir,
    data: options.MovedData = None,
    address: options.Address = None,
    insecure: options.Insecure = False,
    strict_nodes: options.StrictNodes = False,
    max_trials: options.MaxTrials = None,
    start_timeout: options.StartTimeout = None,
    retry_failed: options.RetryFailed = False,
    no_models: options.NoModels = False,
    set_: options.LimitSet = None,
    log_to: options.LogTo = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Resume an interrupted or paused sweep; no trial is lost or repeated.

    Example: `cutmix-sweep resume sweeps/box`
    """
    display = new_display(quiet=quiet, verbose=verbose)
    joined = Joined(address, insecure, strict_nodes, max_trials, start_timeout)
    check_cluster(joined, display=display)
    from search_spaces.extension import limited

    without_effect = (data, address, max_trials, retry_failed, no_models, set_, log_to)  # on a run that is up
    if not any(without_effect):
        from sweep.control import resume_paused

        if answer := resume_paused(sweep_dir, display=display):
            echo(answer)
            return
    change = (lambda study: limited(study, set_)) if set_ else None
    _resume(
        sweep_dir,
        change,
        display,
        data=data,
        joined=joined,
        retry_failed=retry_failed,
        regain_models=not no_models,
        log_to=log_to,
    )


@app.command()
@on_sweep(read_now=False)
def confirm(
    sweep_dir: options.SweepDir,
    seeds: options.Seeds,
    searches: options.Searches = None,
    configs: options.Configs = None,
    data: options.MovedData = None,
    address: options.Address = None,
    insecure: options.Insecure = False,
    strict_nodes: options.StrictNodes = False,
    max_trials: options.MaxTrials = None,
    start_timeout: options.StartTimeout = None,
    log_to: options.LogTo = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train each search's winners again on fresh seeds and measure them on test images; complete the searches first.

    Example: `cutmix-sweep confirm sweeps/box --seeds 5`
    """
    display = new_display(quiet=quiet, verbose=verbose)
    joined = Joined(address, insecure, strict_nodes, max_trials, start_timeout)
    check_cluster(joined, display=display)
    from search_spaces.extension import confirmed

    change = lambda study: confirmed(study, seeds=seeds, configs=configs, searches=searches)  # noqa: E731
    _resume(
        sweep_dir,
        change,
        display,
        data=data,
        joined=joined,
        regain_models=False,
        log_to=log_to,
    )


@app.command()
@on_sweep(read_now=False)
def extend(
    sweep_dir: options.SweepDir,
    add_trials: options.AddTrials = 0,
    add_searches: options.AddSearches = 0,
    add_seeds: options.AddSeeds = 0,
    add_arms: options.AddArms = None,
    data: options.MovedData = None,
    address: options.Address = None,
    insecure: options.Insecure = False,
    strict_nodes: options.StrictNodes = False,
    max_trials: options.MaxTrials = None,
    start_timeout: options.StartTimeout = None,
    log_to: options.LogTo = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    trials: options.OldTrials = None,
    seeds: options.OldSeeds = None,
    arms: options.OldArms = None,
) -> None:
    """Add trials, searches, seeds or arms to a sweep and run them; a sweep that runs already continues with them.

    Example: `cutmix-sweep extend sweeps/box --add-searches 3`
    """
    display = new_display(quiet=quiet, verbose=verbose)
    joined = Joined(address, insecure, strict_nodes, max_trials, start_timeout)
    check_cluster(joined, display=display)
    from search_spaces.extension import extended, parse_arms

    n_trials = renamed("trials", "add-trials", trials, add_trials)
    n_seeds = renamed("seeds", "add-seeds", seeds, add_seeds)
    arms_text = renamed("arms", "add-arms", arms, add_arms)
    new_arms = None if arms_text is None else parse_arms(arms_text)
    if not (data or address or max_trials or log_to):  # they have no effect on a run that is up
        from sweep.control import extend_running

        additions = {"trials": n_trials, "searches": add_searches, "seeds": n_seeds, "arms": new_arms or {}}
        if answer := extend_running(sweep_dir, additions, display=display):
            echo(answer)
            return
    _resume(
        sweep_dir,
        lambda study: extended(study, trials=n_trials, searches=add_searches, seeds=n_seeds, arms=new_arms),
        display,
        data=data,
        joined=joined,
        regain_models=False,
        log_to=log_to,
    )


def _resume(
    sweep_dir: Path,
    change: Callable[[Study], Study] | None,
    display: TerminalDisplay,
    *,
    data: str | None,
    joined: Joined,
    retry_failed: bool = False,
    regain_models: bool = True,
    log_to: list[str] | None = None,
) -> None:
    with display.show_status("loading the libraries"):
        from sweep.launch import resume_sweep
        from sweep.mirrored import writable
    with writable(sweep_dir, display.show_status) as folder:
        resume_sweep(
            folder,
            data=data,
            joined=joined,
            retry_failed=retry_failed,
            command=command_line(),
            display=display,
            change=change,
            regain_models=regain_models,
            log_to=log_to or (),
        )
        _show_result(folder)


def _show_result(sweep_dir: Path) -> None:
    """Print the status of a sweep that has ended; exit with a code that tells how it ended."""
    from sweep.terminal.status import print_status

    raise typer.Exit(print_status(sweep_dir, new_console()))
