"""The verbs that steer a sweep while another process runs it: stop, pause, set."""

from __future__ import annotations

from sweep.cli.app import app, echo, new_display, on_sweep
from sweep.terminal import job_options, options, steering_options
from trainables.errors import UserError


@app.command()
def stop(
    sweep_dir: job_options.Target,
    trial: steering_options.StoppedTrial = None,
    arm: steering_options.StoppedArm = None,
    reason: steering_options.Reason = None,
    no_wait: steering_options.NoWait = False,
    address: job_options.JobAddress = None,
    insecure: job_options.Insecure = False,
) -> None:
    """Stop a sweep or job that runs, one of its trials, or an arm; stopped trials are left out of the results.

    Example: `cutmix-sweep stop sweeps/box --trial cutmix-0004`
    """
    if trial is not None and arm is not None:
        raise UserError("--trial and --arm exclude each other: give one of them")
    if address is not None and trial is None and arm is None:
        from sweep.jobs import stop_job

        echo(stop_job(str(sweep_dir), address, insecure=insecure))
        return
    from sweep.control import stop_sweep, stop_trials
    from sweep.storage import opened

    place, display = job_options.place_of(sweep_dir, address, insecure=insecure), new_display()
    with opened(place, read_now=False, show_status=display.show_status) as sweep:
        if trial is None and arm is None:
            echo(stop_sweep(sweep.path, reason=reason or "", wait=not no_wait, display=display))
            return
        echo(stop_trials(sweep.path, trial=trial, arm=arm, reason=reason or "", wait=not no_wait, display=display))


@app.command()
@on_sweep(read_now=False)
def pause(
    sweep_dir: options.SweepDir,
    reason: steering_options.Reason = None,
    no_wait: steering_options.NoWait = False,
) -> None:
    """Pause a sweep: running trials end at their next epoch, and no other starts; `resume` continues it.

    Example: `cutmix-sweep pause sweeps/box`
    """
    from sweep.control import pause_sweep

    echo(pause_sweep(sweep_dir, reason=reason or "", wait=not no_wait, display=new_display()))


@app.command("set")
@on_sweep(read_now=False)
def set_(
    sweep_dir: options.SweepDir,
    setting: steering_options.Setting,
    reason: steering_options.Reason = None,
    no_wait: steering_options.NoWait = False,
) -> None:
    """Change a value of a sweep while it runs: the number of trials at the same time, or a limit.

    Example: `cutmix-sweep set sweeps/box max_trials=4`
    """
    from sweep.control import set_value

    echo(set_value(sweep_dir, setting, reason=reason or "", wait=not no_wait, display=new_display()))
