"""Running a sweep on Ray Tune, and the folder that it leaves."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from search_spaces.study import Resources, Study
from sweep.conductor import Conductor
from sweep.progress import Progress
from trainables.errors import UserError

MAX_LOST_WORKERS = 3
"""How often a trial may lose its worker (a dead node, memory run out) before it counts as failed."""

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
                address=address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                include_dashboard=None if address else True,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"--address '{address}': cannot reach the cluster: {error}") from None
        if context.dashboard_url:
            console.print(f"Ray dashboard: http://{context.dashboard_url}", highlight=False)
    try:
        yield _slots(ray.cluster_resources(), resources)
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


def run_trials(study: Study, sweep_dir: Path, conductor: Conductor, *, slots: int, console: Console) -> None:
    """Run all trials that ``conductor`` hands out; return when they have ended or on Ctrl-C."""
    for name, value in _TUNE_SETTINGS.items():
        os.environ[name] = value
    from ray import tune

    from sweep.tune_adapters import ConductorCallback, ConductorScheduler, ConductorSearcher
    from trainables.tune_trainable import CutMixTrainable

    resources = study.resources
    with Progress(conductor, console) as progress, tempfile.TemporaryDirectory() as scratch:
        tune.run(
            CutMixTrainable,
            name=sweep_dir.name,
            storage_path=scratch,  # nothing that Tune writes is needed: the records are ours
            search_alg=ConductorSearcher(conductor, sweep_dir, resources),
            scheduler=ConductorScheduler(conductor),
            callbacks=[ConductorCallback(conductor, progress)],
            num_samples=conductor.n_left,
            max_concurrent_trials=slots,
            resources_per_trial={"cpu": resources.cpus, "gpu": resources.gpus},
            reuse_actors=True,
            max_failures=MAX_LOST_WORKERS,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
            raise_on_failed_trial=False,
            verbose=0,
        )
    conductor.flush(force=True)


def _trial_name(trial: object) -> str:
    return str(trial.config["trial"])  # type: ignore[attr-defined]


def _slots(available: dict[str, float], resources: Resources) -> int:
    slots = int(available.get("CPU", 0) // resources.cpus)
    if resources.gpus:
        gpus = available.get("GPU", 0)
        slots = min(slots, int(gpus * int(1 / resources.gpus) if resources.gpus < 1 else gpus // resources.gpus))
    if slots < 1:
        raise UserError(
            f"no trial fits: each needs {resources.cpus} CPUs and {resources.gpus} GPUs, the cluster has "
            f"{available.get('CPU', 0):g} and {available.get('GPU', 0):g}"
        )
    return slots
