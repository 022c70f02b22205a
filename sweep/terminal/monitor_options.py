"""Options of the verb ``monitor``, with their help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FOLDER = Path("cutmix-monitor")
"""Default folder of the files."""

To = Annotated[
    Path,
    typer.Option(
        help="folder to write the files to, for example monitor (default: cutmix-monitor)",
        show_default=False,
    ),
]
RayDir = Annotated[
    Path | None,
    typer.Option(
        help="folder of Ray's files, for example the --temp-dir of ray start (default: those of ray start and of run)"
    ),
]
PrometheusPort = Annotated[
    int,
    typer.Option(
        min=1,
        max=65535,
        help="port of Prometheus on this machine, for example 9091 (default: 9090)",
        show_default=False,
    ),
]
GrafanaPort = Annotated[
    int,
    typer.Option(
        min=1,
        max=65535,
        help="port of Grafana on this machine, for example 3001 (default: 3000)",
        show_default=False,
    ),
]
Start = Annotated[bool, typer.Option("--start", help="start both programs where they are installed, until Ctrl-C")]
