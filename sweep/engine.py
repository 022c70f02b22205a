"""Run the trials of a sweep on Ray Tune: start Ray, count slots, call Tune."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from search_spaces.study import Resources
from sweep.conductor import MAX_LOST_WORKERS, Conductor
from sweep.display import SILENT, Display
from sweep.mirrored import is_any_mirrored, mirror_of
from sweep.ray_start import joined_ray, local_ray
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
    resources: Resources, *, address: str | None, display: Display = SILENT, modules: Sequence[Path] = ()
) -> Iterator[int]:
    """Start Ray on this machine, or join the cluster at ``address``; yield the number of trials that fit at once.

    If this process has started Ray already, that cluster is used and stays up.

    Args:
        resources: CPU cores and GPUs per trial.
        address: Ray cluster to join, ``auto`` or ``HOST:PORT``; None: start Ray on this machine.
        display: shows the progress.
        modules: files or folders of the user's own code that workers import.

    Raises:
        UserError: Ray does not start, the cluster cannot be reached, or no trial fits on it.
    """
    if address is None:
        check_local(resources)
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
        else:
            environment = _runtime_env(modules)
            ray_ = local_ray(environment, display) if address is None else joined_ray(address, environment, display)
            dashboard_url = stack.enter_context(ray_)
            if dashboard_url:
                path = os.environ.get("RAY_AUTH_TOKEN_PATH")
                token = f"cat {shlex.quote(path)}" if path else "ray get-auth-token"
                display.show_line(f"Ray dashboard: http://{dashboard_url} (if it asks for a token: {token})")
        import ray

        yield _slots([node["Resources"] for node in ray.nodes() if node["Alive"]], resources)


def slots_on(resources: Resources, node_ids: Collection[str]) -> int:
    """Return the number of trials that fit at once on some nodes of the cluster that is up.

    Raises:
        UserError: none fits.
    """
    import ray

    return _slots([node["Resources"] for node in ray.nodes() if node["NodeID"] in node_ids], resources)


def _is_initialized() -> bool:
    """Return whether this process uses a Ray; Ray is not imported for that."""
    return "ray" in sys.modules and sys.modules["ray"].is_initialized()


def _runtime_env(modules: Sequence[Path]) -> dict[str, Any]:
    """Return what the workers of a sweep get beside Ray's own environment."""
    environment: dict[str, Any] = {
        "env_vars": _worker_environment(),
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
    if resources.cpus > usable_cores():
        _refuse_resource("cpus", f"{resources.cpus}", describe_cores())
    if resources.gpus:
        import torch

        if resources.gpus > torch.cuda.device_count():
            _refuse_resource("gpus", f"{resources.gpus}", f"{torch.cuda.device_count()} GPUs")


def _refuse_resource(name: str, wanted: str, available: str) -> NoReturn:
    raise UserError(
        f"resources.{name} is {wanted} per trial, but this machine has {available}: lower --{name}, or join a larger "
        "cluster with --address"
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
    return _slots([{"CPU": usable_cores(), "GPU": gpus}], resources)


def run_trials(
    sweep_dir: Path,
    conductor: Conductor,
    *,
    slots: int,
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
        slots: trials at a time.
        display: shows the progress.
        trainable: class that trains a trial; it reports the same columns as the default, ``CutMixTrainable``.
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
        from sweep.tune_adapters import ConductorCallback, EndOfRun, Parked
        from trainables.tune_trainable import CutMixTrainable

    with display.show_sweep(conductor) as update:
        callback = ConductorCallback(conductor, update, watch or Watch(conductor, sweep_dir), poll)
        is_parked = True
        while is_parked and callback.hold():
            is_parked = False
            try:
                _tune(
                    sweep_dir,
                    conductor,
                    slots=slots,
                    trainable=trainable or CutMixTrainable,
                    callbacks=[callback, *callbacks],
                    places=places or {},
                )
            except Parked:
                is_parked = True
            except EndOfRun:
                pass
    conductor.flush(force=True)


def _tune(
    sweep_dir: Path,
    conductor: Conductor,
    *,
    slots: int,
    trainable: type,
    callbacks: Sequence[Callback],
    places: Mapping[str, Place],
) -> None:
    """Run Tune until all trials have ended, or until a callback ends it."""
    from ray import tune

    from sweep.tune_adapters import ConductorScheduler, ConductorSearcher, NoReporter, system_errors_as_lost_workers

    resources = conductor.study.resources
    scheduler = ConductorScheduler(conductor, mirror_of(sweep_dir))
    with tempfile.TemporaryDirectory() as scratch, system_errors_as_lost_workers():
        try:
            tune.run(
                trainable,
                name=sweep_dir.name,
                storage_path=scratch,  # no file that Tune writes is needed: we write the records
                search_alg=ConductorSearcher(conductor, sweep_dir, resources, places),
                scheduler=scheduler,
                callbacks=list(callbacks),
                num_samples=-1,  # the conductor ends the search: their number is unknown, because paused trials return
                max_concurrent_trials=slots,
                resources_per_trial={"cpu": resources.cpus, "gpu": resources.gpus},
                reuse_actors=True,
                max_failures=MAX_LOST_WORKERS,
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
    from trainables.store_clients import PUBLIC_VARIABLES

    names = (CACHE_VARIABLE, *(PUBLIC_VARIABLES if is_any_mirrored() else ()))
    values = {name: os.environ[name] for name in names if name in os.environ}
    return {name: value for name, value in values.items() if name == CACHE_VARIABLE or "@" not in value}  # no password


def _slots(nodes: Sequence[dict[str, float]], resources: Resources) -> int:
    """Return the number of trials that fit at once: a trial uses one node, and a fraction of a GPU uses one GPU."""
    slots = 0
    for node in nodes:
        fitting = int(node.get("CPU", 0) // resources.cpus)
        if resources.gpus:
            fitting = min(fitting, int(node.get("GPU", 0)) * int(1 / resources.gpus))
        slots += fitting
    if not slots:
        kinds = Counter(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
        available = "; ".join(f"{count} x {kind}" for kind, count in kinds.most_common(5))
        raise UserError(
            f"no trial fits on a node: each trial needs {resources.cpus} CPUs and {resources.gpus:g} GPUs, the nodes "
            f"have: {available}"
        )
    return slots
