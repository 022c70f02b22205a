"""Arguments and options of the verbs on sweeps that run as Ray jobs, with their help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweep.terminal.completion import complete_trial
from sweep.terminal.options import check_files
from trainables.errors import UserError
from trainables.storage_url import is_url

_DASHBOARD = "dashboard of the Ray cluster that has the job, for example http://localhost:8265"

Dashboard = Annotated[str, typer.Option("--address", metavar="URL", help=_DASHBOARD)]
JobAddress = Annotated[
    str | None, typer.Option("--address", metavar="URL", help=f"{_DASHBOARD} (default: no job, but a folder)")
]
Storage = Annotated[
    str,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help="folder to write the sweep to, as all nodes of the cluster see it, or an address in an object store, for "
        "example /shared/box or s3://bucket/sweeps/box",
    ),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="send the token and the study unencrypted, in a network that you trust")
]
Target = Annotated[
    Path,
    typer.Argument(
        callback=check_files,
        metavar="DIR|JOB",
        help="folder of a sweep or its address in an object store, or with --address the name of a job, for example "
        "sweeps/box",
    ),
]
LoggedTrial = Annotated[
    str | None,
    typer.Option(
        "--trial",
        autocompletion=complete_trial,
        help="trial to show, for example cutmix-0004 (default: the whole sweep)",
    ),
]
FollowLog = Annotated[bool, typer.Option("--follow", help="show new lines until the sweep ends")]


def place_of(target: Path, address: str | None, *, insecure: bool) -> Path | str:
    """Return the folder or the address of a sweep, which is given itself or by the name of its job.

    Raises:
        UserError: the cluster cannot be reached or has no such job, or its folder is not visible here.
    """
    if address is None:
        return target
    from sweep.jobs import find_job

    job = find_job(str(target), address, insecure=insecure)
    if is_url(job.storage):
        return job.storage
    folder = Path(job.storage)
    if not folder.is_dir():
        raise UserError(f"the folder '{folder}' of job {job.name} is not visible on this machine: run this on a node")
    return folder
