"""Running a sweep's trials on Ray Tune."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from rich.console import Console

from search_spaces.study import Resources
from sweep.conductor import MAX_LOST_WORKERS, Conductor
from sweep.terminal.progress import Progress
from trainables.errors import UserError

if TYPE_CHECKING:
    from ray.tune import Callback

_TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the records take the place of CSV, JSON and TensorBoard files
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # and of Tune's own snapshots
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output engine prints a banner even when told to be silent
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


@contextlib.contextmanager
def locked(sweep_dir: Path) -> Iterator[None]:
    """Hold a sweep's folder: only one driver may write its records.

    Raises:
        UserError: another process holds it.
    """
    lock = FileLock(sweep_dir / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"'{sweep_dir}' is in use by another cutmix-sweep: wait for it or stop it") from None
    try:
        yield
    finally:
        lock.release()


def in_use(sweep_dir: Path) -> bool:
    """Whether a driver is at work on a sweep's folder."""
    try:
        with locked(sweep_dir):
            return False
    except (UserError, OSError):  # held, or in a folder where no lock can be made
        return True


@contextlib.contextmanager
def cluster(resources: Resources, *, address: str | None, console: Console) -> Iterator[int]:
    """Start Ray on this machine, or join the cluster at ``address``; yield the number of trials that fit at once.

    A cluster that is running already in this process is used as it is, and left running.

    Raises:
        UserError: the cluster cannot be reached, or no trial fits on it.
    """
    if address is None:
        check_local(resources)
    for name in ("ray", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ours = not ray.is_initialized()
    if ours:
        try:
            context = ray.init(
                address=address or "local",  # None would join whatever cluster was started here before
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                include_dashboard=None if address else True,
                runtime_env={"env_vars": _for_workers()},
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            if address is None:
                raise UserError(f"Ray does not start on this machine: {error}") from None
            raise UserError(
                f"--address '{address}': cannot reach the cluster: {error}; a cluster that wants a token needs "
                "RAY_AUTH_MODE=token and the token in ~/.ray/auth_token (ray get-auth-token prints it on the head)"
            ) from None
        if context.dashboard_url:
            console.print(
                f"Ray dashboard: http://{context.dashboard_url} (if it asks for a token: ray get-auth-token)",
                highlight=False,
                soft_wrap=True,
            )
    try:
        yield _slots([node["Resources"] for node in ray.nodes() if node["Alive"]], resources)
    finally:
        if ours:
            ray.shutdown()


def check_local(resources: Resources) -> None:
    """Refuse, before Ray starts, trials that are larger than this machine.

    Raises:
        UserError: naming what is asked for and what there is.
    """
    cores = os.cpu_count() or 1
    if resources.cpus > cores:
        raise UserError(f"resources.cpus is {resources.cpus}, but this machine has {cores}")
    if resources.gpus:
        import torch

        if resources.gpus > torch.cuda.device_count():
            raise UserError(f"resources.gpus is {resources.gpus}, but this machine has {torch.cuda.device_count()}")


def local_slots(resources: Resources) -> int:
    """Trials that fit on this machine at once.

    Raises:
        UserError: not even one.
    """
    check_local(resources)
    gpus = 0
    if resources.gpus:
        import torch

        gpus = torch.cuda.device_count()
    return _slots([{"CPU": os.cpu_count() or 1, "GPU": gpus}], resources)


def check_address(address: str | None) -> None:
    """Refuse an address that a sweep cannot be driven through.

    Raises:
        UserError: a Ray client's address: the driver would run elsewhere, away from the records.
    """
    if address is not None and address.startswith("ray://"):
        raise UserError(f"--address '{address}': run on a node of the cluster with --address auto, or give HOST:PORT")


def run_trials(
    sweep_dir: Path,
    conductor: Conductor,
    *,
    slots: int,
    console: Console,
    trainable: type | None = None,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Run all trials that ``conductor`` hands out; return when they have ended or on Ctrl-C.

    Another ``trainable`` than CutMixTrainable must report the same columns. Further ``callbacks`` of Tune hear of
    everything after the conductor.

    Raises:
        OSError: the records can no longer be written, or a trial's state cannot.
    """
    for name, value in _TUNE_SETTINGS.items():
        os.environ[name] = value
    from ray import tune

    from sweep.tune_adapters import ConductorCallback, ConductorScheduler, ConductorSearcher
    from trainables.tune_trainable import CutMixTrainable

    resources = conductor.study.resources
    scheduler = ConductorScheduler(conductor)
    with Progress(conductor, console) as progress, tempfile.TemporaryDirectory() as scratch:
        try:
            tune.run(
                trainable or CutMixTrainable,
                name=sweep_dir.name,
                storage_path=scratch,  # nothing that Tune writes is needed: the records are ours
                search_alg=ConductorSearcher(conductor, sweep_dir, resources),
                scheduler=scheduler,
                callbacks=[ConductorCallback(conductor, progress), *callbacks],
                num_samples=-1,  # the conductor says when no more follow: a paused trial comes again
                max_concurrent_trials=slots,
                resources_per_trial={"cpu": resources.cpus, "gpu": resources.gpus},
                reuse_actors=True,
                max_failures=MAX_LOST_WORKERS,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
                raise_on_failed_trial=False,
                verbose=0,
            )
        except tune.TuneError:
            if scheduler.disk_fault is None:
                raise
            raise scheduler.disk_fault from None
    conductor.flush(force=True)


def _trial_name(trial: object) -> str:
    return str(trial.config["trial"])  # type: ignore[attr-defined]


def _for_workers() -> dict[str, str]:
    """Environment that trials need on every node."""
    from trainables.data.cache_dir import CACHE_VARIABLE

    return {name: os.environ[name] for name in (CACHE_VARIABLE,) if name in os.environ}


def _slots(nodes: Sequence[dict[str, float]], resources: Resources) -> int:
    """Trials that fit at once: a trial lies on one node, and a fraction of a GPU on one GPU."""
    slots = 0
    for node in nodes:
        fitting = int(node.get("CPU", 0) // resources.cpus)
        if resources.gpus:
            fitting = min(fitting, int(node.get("GPU", 0)) * int(1 / resources.gpus))
        slots += fitting
    if not slots:
        available = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise UserError(
            f"no trial fits: each needs {resources.cpus} CPUs and {resources.gpus:g} GPUs, the nodes have {available}"
        )
    return slots
