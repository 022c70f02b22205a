"""The verbs on sweeps that run as Ray jobs: submit, jobs, logs."""

from __future__ import annotations

import signal

import typer

from sweep.cli.app import app, echo, echo_output, new_console, new_display
from sweep.signals import exit_code
from sweep.terminal import job_options, options
from sweep.terminal.job_options import place_of


@app.command()
def submit(
    study: options.StudyName,
    address: job_options.Dashboard,
    out: job_options.Storage,
    scale: options.Scale = None,
    set_: options.Set = None,
    data: options.Data = None,
    download: options.Download = False,
    cpus: options.Cpus = None,
    gpus: options.Gpus = None,
    trials_per_gpu: options.TrialsPerGpu = None,
    workers: options.Workers = None,
    seed: options.Seed = None,
    log_to: options.LogTo = None,
    max_trials: options.MaxTrials = None,
    insecure: job_options.Insecure = False,
) -> None:
    """Run a study as a job of a Ray cluster, which does not end with this terminal; only the study is sent.

    Example: `cutmix-sweep submit quickstart --address http://localhost:8265 --out /shared/box`
    """
    from sweep.jobs import submit as submit_job

    display = new_display()
    with display.show_status("loading the study"):
        from search_spaces.discover import load_study

        settings = options.with_shorthands(
            set_, data=data, cpus=cpus, gpus=gpus, trials_per_gpu=trials_per_gpu, workers=workers, seed=seed
        )
        loaded = load_study(study, scale=scale, settings=settings)
    more = ["--download"] if download else []
    more += [] if max_trials is None else ["--max-trials", str(max_trials)]
    more += [f"--log-to={target}" for target in log_to or ()]
    with display.show_status("submitting the job"):
        name, _ = submit_job(loaded, address=address, out=out, options=more, insecure=insecure)
    where = f"--address {address}{' --insecure' if insecure else ''}"
    echo(f"submitted as job {name}: study {loaded.name}, records in {out}")
    echo(f"its output: cutmix-sweep logs {name} {where} --follow")
    echo(f"to stop it: cutmix-sweep stop {name} {where}")


@app.command()
def jobs(
    address: job_options.Dashboard,
    insecure: job_options.Insecure = False,
) -> None:
    """List the sweeps among the jobs of a Ray cluster, the newest first.

    Example: `cutmix-sweep jobs --address http://localhost:8265`
    """
    from sweep.jobs import list_jobs
    from sweep.terminal.jobs import print_jobs

    print_jobs(list_jobs(address, insecure=insecure), new_console())


@app.command()
def logs(
    sweep_dir: job_options.Target,
    trial: job_options.LoggedTrial = None,
    follow: job_options.FollowLog = False,
    address: job_options.JobAddress = None,
    insecure: job_options.Insecure = False,
) -> None:
    """Print the log of a sweep, the log of one of its trials, or the output of a job.

    Example: `cutmix-sweep logs sweeps/box --trial cutmix-0004`
    """
    try:
        if address is not None and trial is None:
            from sweep.jobs import read_logs

            echo_output(read_logs(str(sweep_dir), address, follow=follow, insecure=insecure))
        else:
            from sweep.log_files import read_log
            from sweep.storage import opened

            place, display = place_of(sweep_dir, address, insecure=insecure), new_display(stderr=True)
            with opened(place, show_status=display.show_status) as sweep:
                echo_output(read_log(sweep.path, trial, follow=follow))
    except KeyboardInterrupt:
        raise typer.Exit(exit_code(signal.SIGINT)) from None
