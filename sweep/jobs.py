"""Sweeps as Ray jobs: submitted to a cluster, listed, read and stopped through its dashboard.

The job runs ``cutmix-sweep run`` on the cluster, so it does not end with the terminal that submitted it. Only the study
and the user's own parts are sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shlex
import shutil
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from search_spaces.own_parts import own_parts
from search_spaces.study import Study
from sweep.dashboard import Dashboard, find_dashboard
from sweep.endings import reason_of
from sweep.ray_job import sweep_id
from trainables.errors import UserError, did_you_mean
from trainables.own_part import shipped_paths
from trainables.storage_url import is_url, parse_url
from trainables.store_clients import public_environment

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

STOP_S = 30
"""Time in which a job ends after it was told to, seconds; Ray itself allows 3 s."""

NO_AGENT = "No available agent"
"""Error of a dashboard as long as no process of its node takes jobs."""

AGENT_S, AGENT_PAUSE_S = 60.0, 1.0
"""Longest wait for such a process, and the pause between two attempts, seconds."""

RESTARTS = 3
"""Times in a row that a job starts its driver again without a new epoch."""

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
"""Names of jobs."""

ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
"""Ray's statuses of jobs that have ended."""

RAY_ADDRESSES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
"""Environment variables that Ray prefers to the address that it is given."""


@dataclass(frozen=True)
class Job:
    """A sweep that runs, or has run, as a Ray job.

    Attributes:
        name: name of the job.
        status: ``pending``, ``running``, ``stopped``, ``succeeded`` or ``failed``.
        study: name of the study.
        sweep: name of the sweep.
        storage: folder or address of the sweep, as the cluster sees it.
        arms: names of the arms.
        trials: number of trials when it was submitted.
        version: version of cutmix-sweep that submitted it.
        started_s: start, seconds since the Unix epoch; None before it.
        seconds: time that it has run; None before its start.
        exit_code: exit code of the driver; None as long as it runs, and if Ray does not know it.
    """

    name: str
    status: str
    study: str
    sweep: str
    storage: str
    arms: str
    trials: int
    version: str
    started_s: float | None
    seconds: float | None
    exit_code: int | None


def check_storage(out: str) -> str:
    """Return the folder or the address of a sweep on a cluster; a folder cannot be relative: the job runs elsewhere.

    Raises:
        UserError: it is relative or no valid address, or its last part is no name of a job.

    Examples:
        >>> check_storage("/shared/box"), check_storage("s3://photos/sweeps/box/")
        ('/shared/box', 's3://photos/sweeps/box')
        >>> check_storage("sweeps/box")
        Traceback (most recent call last):
        trainables.errors.UserError: --out 'sweeps/box': give an absolute path that all nodes of the cluster see
    """
    if is_url(out):
        try:
            out = str(parse_url(out))
        except UserError as error:
            raise UserError(f"--out {error}") from None
    elif not out.startswith("/"):
        raise UserError(f"--out '{out}': give an absolute path that all nodes of the cluster see")
    name = PurePosixPath(out).name
    if not re.fullmatch(NAME, name):
        raise UserError(
            f"--out '{out}': the job is named after the last part, which may have letters, digits, '_', '-' and '.', "
            "a letter or a digit first"
        )
    return out.rstrip("/")


def submit(
    study: Study, *, address: str, out: str, options: Sequence[str] = (), insecure: bool = False
) -> tuple[str, Dashboard]:
    """Submit a sweep as a job and return its name, which no other job of the cluster has.

    Args:
        study: the study, with all settings applied.
        address: dashboard of the cluster, for example ``http://localhost:8265``.
        out: folder or address of the sweep, as the cluster sees it.
        options: further options of ``cutmix-sweep run``.
        insecure: whether the token may be sent unencrypted to another machine.

    Raises:
        UserError: the cluster cannot be reached, or the sweep is running there already.
    """
    storage = check_storage(out)
    modules = shipped_paths(own_parts(study))
    dashboard = find_dashboard(address, insecure=insecure)
    with _client(dashboard) as client, tempfile.TemporaryDirectory(prefix="cutmix-sweep-job-") as folder:
        name = _free_name(storage, client)
        file = write_package(study, modules, Path(folder))
        _submit(
            client,
            entrypoint=entrypoint(file, storage, options),
            submission_id=name,
            runtime_env={"working_dir": folder, "env_vars": environment_of(storage)},
            metadata=metadata_of(study, storage),
        )
    return name, dashboard


def _submit(client: JobSubmissionClient, **job: Any) -> None:
    """Submit a job; the agent that starts it may not be up yet on a cluster that has just been started.

    Raises:
        RuntimeError: the dashboard refuses, or no agent has come up in time.
    """
    until_s = time.monotonic() + AGENT_S
    while True:
        try:
            client.submit_job(**job)
        except RuntimeError as error:
            if NO_AGENT not in str(error) or time.monotonic() >= until_s:
                raise
            time.sleep(AGENT_PAUSE_S)
        else:
            return


def entrypoint(file: str, storage: str, options: Sequence[str] = ()) -> str:
    """Return the command of a job; it continues its sweep if it is run again.

    Examples:
        >>> entrypoint("small.yaml", "/shared/box", ["--download"])
        'cutmix-sweep run small.yaml --address auto --out /shared/box --or-resume --restarts 3 --download'
    """
    fixed = ["--address", "auto", "--out", storage, "--or-resume", "--restarts", str(RESTARTS)]
    return shlex.join(["cutmix-sweep", "run", file, *fixed, *options])


def environment_of(storage: str) -> dict[str, str]:
    """Return the environment variables of a job: with an address, also region and endpoint of the store, no key.

    Examples:
        >>> environment_of("/shared/box")
        {'RAY_JOB_STOP_WAIT_TIME_S': '30'}
    """
    return {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S), **(public_environment() if is_url(storage) else {})}


def metadata_of(study: Study, storage: str) -> dict[str, str]:
    """Return what a job says about its sweep; it contains no secret."""
    n_trials = len(study.arms) * (study.trials_per_arm + study.confirming_per_arm)
    return {
        "study": study.name,
        "sweep": PurePosixPath(storage).name,
        "id": sweep_id(storage),
        "storage": storage,
        "arms": ", ".join(study.arms),
        "trials": str(n_trials),
        "version": version("cutmix-sweep"),
    }


def write_package(study: Study, modules: Sequence[Path], folder: Path) -> str:
    """Write what is sent with a job: the study and the user's own parts; return the name of the study's file."""
    file = f"{study.name}.yaml"
    text = yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (folder / file).write_text(text, encoding="utf-8")
    for module in modules:
        if module.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(module, folder / module.name, ignore=ignored)
        else:
            shutil.copy(module, folder / module.name)
    return file


def list_jobs(address: str, *, insecure: bool = False) -> list[Job]:
    """Return the sweeps among the jobs of a cluster, the newest first.

    Raises:
        UserError: the cluster cannot be reached.
    """
    with _client(find_dashboard(address, insecure=insecure)) as client:
        return _jobs(client)


def find_job(name: str, address: str, *, insecure: bool = False) -> Job:
    """Return the job with a name, otherwise the newest job of the sweep with this name.

    Raises:
        UserError: the cluster cannot be reached, or has no such job.
    """
    with _client(find_dashboard(address, insecure=insecure)) as client:
        return _named(name, _jobs(client))


def stop_job(name: str, address: str, *, insecure: bool = False) -> str:
    """End a job in order, as Ctrl-C does; return what that means.

    Raises:
        UserError: the cluster cannot be reached, or has no such job.
    """
    with _client(find_dashboard(address, insecure=insecure)) as client:
        job = _named(name, _jobs(client))
        if job.status.upper() in ENDED or not client.stop_job(job.name):
            return f"job {job.name} has ended already: {job.status}"
        return f"job {job.name} ends within {STOP_S} s; to continue the sweep, submit it again with --out {job.storage}"


def read_logs(name: str, address: str, *, follow: bool = False, insecure: bool = False) -> Iterator[str]:
    """Yield the output of a job; with ``follow`` until it ends.

    Raises:
        UserError: the cluster cannot be reached, or has no such job.
    """
    with _client(find_dashboard(address, insecure=insecure)) as client:
        job = _named(name, _jobs(client))
        if follow and job.status.upper() not in ENDED:
            yield from _tail(client.tail_job_logs(job.name))
        else:
            yield client.get_job_logs(job.name)


def _tail(chunks: AsyncIterator[str]) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    try:
        while (chunk := loop.run_until_complete(_next(chunks))) is not None:
            yield chunk
    finally:
        with contextlib.suppress(Exception):
            loop.run_until_complete(chunks.aclose())  # type: ignore[attr-defined]
        loop.close()


async def _next(chunks: AsyncIterator[str]) -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray passes an argument that aiohttp has renamed
        return await anext(chunks, None)


@contextlib.contextmanager
def _client(dashboard: Dashboard) -> Iterator[JobSubmissionClient]:
    """Yield Ray's client of a dashboard; an error of Ray becomes a message."""
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for module in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{module}").setLevel(logging.CRITICAL)  # they set their own level
    hidden = {name: os.environ.pop(name) for name in RAY_ADDRESSES if name in os.environ}
    try:
        client = JobSubmissionClient(dashboard.url, headers=dict(dashboard.headers))
    except (RuntimeError, OSError, AuthenticationError) as error:
        raise UserError(f"the dashboard at {dashboard.url} does not take jobs: {reason_of(error)}") from None
    finally:
        os.environ.update(hidden)
    try:
        yield client
    except (RuntimeError, OSError, AuthenticationError) as error:
        raise UserError(f"the dashboard at {dashboard.url} answers: {reason_of(error)}") from None


def _jobs(client: JobSubmissionClient) -> list[Job]:
    found = [job for details in client.list_jobs() if (job := _job_of(details)) is not None]
    return sorted(found, key=lambda job: job.started_s or 0.0, reverse=True)


def _job_of(details: JobDetails) -> Job | None:
    """Return a job if it is a sweep; others on the cluster have other metadata."""
    facts: dict[str, Any] = details.metadata or {}
    if details.submission_id is None or not {"study", "sweep", "storage"} <= facts.keys():
        return None
    started_s = None if details.start_time is None else details.start_time / 1000
    ended_s = time.time() if details.end_time is None else details.end_time / 1000
    trials = str(facts.get("trials", ""))
    return Job(
        name=details.submission_id,
        status=str(details.status.value).lower(),
        study=facts["study"],
        sweep=facts["sweep"],
        storage=facts["storage"],
        arms=str(facts.get("arms", "")),
        trials=int(trials) if trials.isdecimal() else 0,
        version=str(facts.get("version", "?")),
        started_s=started_s,
        seconds=None if started_s is None else max(0.0, ended_s - started_s),
        exit_code=details.driver_exit_code,
    )


def _named(name: str, jobs: Sequence[Job]) -> Job:
    for job in jobs:
        if job.name == name:
            return job
    for job in jobs:  # the newest first
        if job.sweep == name:
            return job
    raise UserError(f"'{name}': the cluster has no such job{did_you_mean(name, [job.name for job in jobs])}")


def _free_name(storage: str, client: JobSubmissionClient) -> str:
    """Return a name that no job has: Ray does not take a name twice.

    Raises:
        UserError: a job runs this sweep.
    """
    details = client.list_jobs()
    for job in filter(None, map(_job_of, details)):
        if job.storage == storage and job.status.upper() not in ENDED:
            raise UserError(
                f"--out '{storage}': job {job.name} runs this sweep already: stop it first, or choose another folder"
            )
    name, taken = PurePosixPath(storage).name, {each.submission_id for each in details}
    return next(each for n in range(1, len(taken) + 2) if (each := name if n == 1 else f"{name}-{n}") not in taken)
