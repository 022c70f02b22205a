"""Arguments and options of the verb serve, with their help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweep.terminal.options import check_files

SweepDirs = Annotated[
    list[Path],
    typer.Argument(
        callback=check_files,
        help="folders of sweeps, or their addresses in an object store, for example sweeps/box s3://bucket/sweeps/box",
    ),
]
Host = Annotated[
    str,
    typer.Option(
        help="address to listen at, for example 0.0.0.0 for all networks of this machine; any other than a loopback "
        "address lets other machines read the sweeps without a password (default: 127.0.0.1)",
        show_default=False,
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=65535,
        help="port to listen at, for example 9000 (default: 8080, or a free port if 8080 is in use)",
    ),
]
