"""Run the trials of a sweep on Ray Tune: start Ray, count slots, call Tune."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from search_spaces.resources import Resources
from sweep.conductor import Conductor
from sweep.display import SILENT, Display
from sweep.mirrored import is_any_mirrored, mirror_of
from sweep.mps import Mps, check_mps, mps_of
from sweep.ray_start import joined_ray, local_ray
from sweep.slots import Slots, describe_no_room, workers_on
from sweep.watch import Watch
from sweep.workers import check_running_ray, make_setup_hook
from trainables.cores import describe_cores, usable_cores
from trainables.data.places import Place
from trainables.errors import UserError

if TYPE_CHECKING:
    from ray.tune import Callback

_TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the records replace Tune's CSV, JSON and TensorBoard files
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # the records also replace Tune's snapshots
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output engine prints a banner even when told to be silent
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends a sweep as the other signals do: see sweep.signals
}


@contextlib.contextmanager
def cluster(
    resources: Resources,
    *,
    address: str | None,
    display: Display = SILENT,
    modules: Sequence[Path] = (),
    start_timeout_s: float = 0.0,
) -> Iterator[Slots]:
    """Start Ray on this machine, or join the cluster at ``address``; yield the slots for trials on its nodes.

    If this process has started Ray already, that cluster is used and stays up.

    Trials that share GPUs use MPS if the resources say so. On this machine its daemon runs meanwhile; on the nodes of a
    cluster, their check starts it.

    Args:
        resources: workers per trial, CPU cores and GPUs per worker.
        address: Ray cluster to join, ``auto`` or ``HOST:PORT``; None: start Ray on this machine.
        display: shows the progress.
        modules: files or folders of the user's own code that workers import.
        start_timeout_s: longest wait for the first node of a cluster that was joined, seconds.

    Raises:
        UserError: Ray does not start, the cluster cannot be reached, or no trial fits on it and none is waited for.
    """
    if address is None:
        check_local(resources)
    mps = mps_of(resources)
    for name in ("ray", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with contextlib.ExitStack() as stack:
        if _is_initialized():
            check_running_ray()
            if modules:
                display.show_warning(
                    f"Ray runs in this process already, so its workers do not get '{modules[0]}': they must be able to "
                    "import it themselves, or call ray.shutdown() first"
                )
            if mps is not None:
                display.show_warning(
                    "Ray runs in this process already, so its workers do not use MPS (resources.mps): call "
                    "ray.shutdown() first"
                )
        else:
            if mps is not None and address is None:
                stack.enter_context(mps.running())
            environment = _runtime_env(modules, mps)
            ray_ = local_ray(environment, display) if address is None else joined_ray(address, environment, display)
            dashboard_url = stack.enter_context(ray_)
            if dashboard_url:
                path = os.environ.get("RAY_AUTH_TOKEN_PATH")
                token = f"cat {shlex.quote(path)}" if path else "ray get-auth-token"
                display.show_line(f"Ray dashboard: http://{dashboard_url} (if it asks for a token: {token})")
        from sweep.live_nodes import LiveNodes, grows

        nodes = LiveNodes()
        stack.enter_context(nodes.followed())
        is_elastic = address is not None
        slots = Slots(
            resources,
            nodes,
            is_elastic=is_elastic,
            grows=is_elastic and grows(),
            start_timeout_s=start_timeout_s,
        )
        slots.check_any()
        yield slots


def _is_initialized() -> bool:
    """Return whether this process uses a Ray; Ray is not imported for that."""
    return "ray" in sys.modules and sys.modules["ray"].is_initialized()


def _runtime_env(modules: Sequence[Path], mps: Mps | None) -> dict[str, Any]:
    """Return what the workers of a sweep get beside Ray's own environment."""
    environment: dict[str, Any] = {
        "env_vars": {**_worker_environment(), **(mps.environment() if mps else {})},
        "worker_process_setup_hook": make_setup_hook(),
    }
    if modules:
        environment["py_modules"] = [str(path) for path in modules]
    return environment


def check_local(resources: Resources) -> None:
    """Refuse, before Ray starts, trials that need more than this machine has.

    Raises:
        UserError: with the requested and the existing number.
    """
    if resources.cpus * resources.workers > usable_cores():
        _refuse_resource("cpus", f"{resources.cpus}", describe_cores(), resources.workers)
    if resources.gpus:
        import torch

        if resources.trials_per_gpu and not torch.cuda.device_count():
            raise UserError(
                f"resources.trials_per_gpu is {resources.trials_per_gpu}, but torch finds no GPU on this machine: "
                "leave it out, or join a cluster with GPUs with --address"
            )
        check_mps(resources)
        if resources.gpus * resources.workers > torch.cuda.device_count():
            _refuse_resource("gpus", f"{resources.gpus}", f"{torch.cuda.device_count()} GPUs", resources.workers)


def _refuse_resource(name: str, wanted: str, available: str, n_workers: int) -> NoReturn:
    each, less = ("trial", f"--{name}") if n_workers == 1 else ("worker", f"--workers or --{name}")
    of_group = "" if n_workers == 1 else f" with {n_workers} workers per trial"
    raise UserError(
        f"resources.{name} is {wanted} per {each}{of_group}, but this machine has {available}: lower {less}, or join a "
        "larger cluster with --address"
    )


def local_slots(resources: Resources) -> int:
    """Return the number of trials that fit on this machine at once.

    Raises:
        UserError: none fits.
    """
    check_local(resources)
    gpus = 0
    if resources.gpus:
        import torch

        gpus = torch.cuda.device_count()
    machine = {"CPU": usable_cores(), "GPU": gpus}
    if not (slots := workers_on(machine, resources) // resources.workers):
        raise UserError(describe_no_room([machine], resources))
    return slots


def run_trials(
    sweep_dir: Path,
    conductor: Conductor,
    *,
    slots: Slots,
    display: Display = SILENT,
    trainable: type | None = None,
    callbacks: Sequence[Callback] = (),
    watch: Watch | None = None,
    places: Mapping[str, Place] | None = None,
    poll: Callable[[], None] = lambda: None,
) -> None:
    """Run all trials of ``conductor``; return when they have ended, or when ``watch`` ends the run.

    Args:
        sweep_dir: folder of the sweep.
        conductor: next trial, verdicts and records.
        slots: slots for trials, which follow the nodes of the cluster.
        display: shows the progress.
        trainable: class that trains a trial; it reports the same columns as the default, ``CutMixTrainable``, or
            ``GroupTrainable`` if a trial has several workers.
        callbacks: more callbacks of Tune, which are called after the conductor.
        watch: decides when the run ends before its last trial; None: never.
        places: where the images of each data source lie and what they must contain; None: as in the configurations.
        poll: is called after each step of Tune, for example to check nodes that have joined.

    Raises:
        OSError: the records or the state of a trial cannot be written.
        LockLost: another process has taken the sweep over.
    """
    for name, value in _TUNE_SETTINGS.items():
        os.environ[name] = value
    with display.show_status("loading Ray Tune"):
        from sweep.tune_callback import ConductorCallback, EndOfRun, Parked
        from trainables.tune_group import GroupTrainable
        from trainables.tune_trainable import CutMixTrainable

    default = CutMixTrainable if conductor.study.resources.workers == 1 else GroupTrainable
    with display.show_sweep(conductor) as update:
        watch = watch or Watch(conductor, sweep_dir)
        callback = ConductorCallback(conductor, update, watch, slots, poll=poll, show=display.show_line)
        has_next = True
        while has_next and callback.hold():
            try:
                _tune(
                    sweep_dir,
                    conductor,
                    slots=slots,
                    trainable=trainable or default,
                    callbacks=[callback, *callbacks],
                    places=places or {},
                )
            except Parked:
                continue
            except EndOfRun:
                break
            if has_next := conductor.begin_next_turn():
                slots.use(conductor.resources)
            if has_next and conductor.is_turn_of_whole_gpus:
                display.show_line("the trials that do not fit beside others on a GPU continue, each with a whole one")
        callback.close()
    conductor.flush(force=True)
    conductor.drop_checkpoints()


def _tune(
    sweep_dir: Path,
    conductor: Conductor,
    *,
    slots: Slots,
    trainable: type,
    callbacks: Sequence[Callback],
    places: Mapping[str, Place],
) -> None:
    """Run Tune until all trials have ended, or until a callback ends it."""
    from ray import tune

    from sweep.lost_workers import system_errors_as_lost_workers
    from sweep.tune_adapters import (
        ConductorScheduler,
        ConductorSearcher,
        NoReporter,
        NoTrialLines,
        resource_request,
    )

    resources = conductor.resources
    scheduler = ConductorScheduler(conductor, slots, mirror_of(sweep_dir))
    with tempfile.TemporaryDirectory() as scratch, system_errors_as_lost_workers():
        try:
            tune.run(
                trainable,
                name=sweep_dir.name,
                storage_path=scratch,  # no file that Tune writes is needed: we write the records
                search_alg=ConductorSearcher(conductor, sweep_dir, slots, places),
                scheduler=scheduler,
                callbacks=[*callbacks, NoTrialLines()],
                num_samples=-1,  # the conductor ends the search: their number is unknown, because paused trials return
                resources_per_trial=resource_request(resources),
                reuse_actors=True,
                max_failures=-1,  # the conductor ends a trial that loses its worker too often
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
                raise_on_failed_trial=False,
                progress_reporter=NoReporter(),
                verbose=0,
            )
        except tune.TuneError:
            if scheduler.fault is None:
                raise
            raise scheduler.fault from None


def _trial_name(trial: object) -> str:
    return str(trial.config["trial"])  # type: ignore[attr-defined]


def _worker_environment() -> dict[str, str]:
    """Return the environment variables that trials need on every node."""
    from trainables.data.cache_dir import CACHE_VARIABLE
    from trainables.store_clients import public_environment

    cache = {CACHE_VARIABLE: os.environ[CACHE_VARIABLE]} if CACHE_VARIABLE in os.environ else {}
    return {**cache, **(public_environment() if is_any_mirrored() else {})}
