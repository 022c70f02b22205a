"""Arguments and options of the verb ``cluster-template``, with their help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweep.terminal.completion import complete_study

Kind = Annotated[
    str,
    typer.Argument(
        metavar="KIND",
        help="kind of cluster: kuberay (Kubernetes), aws (ray up), slurm or compose (Docker); for example slurm",
    ),
]
Study = Annotated[
    str,
    typer.Option(
        autocompletion=complete_study,
        help="name of a built-in study, or path of a YAML file, for example alpha_prob (default: quickstart)",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="folder to write the template to, for example cluster (default: none, the main file is printed)",
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER|URL",
        help="folder or URL that all nodes see, in which the sweep's folder is made, for example s3://my-bucket/sweeps "
        "(default: /shared; slurm: ./sweeps; aws needs an S3 URL)",
    ),
]
Image = Annotated[
    str | None,
    typer.Option(
        help="container image of kuberay and compose, for example registry.example.org/me/cutmix-sweep:1 "
        "(default: cutmix-sweep:VERSION)"
    ),
]
GpusPerNode = Annotated[
    int | None,
    typer.Option(
        min=0, max=64, help="GPUs per worker node, for example 8 (default: 1 if trials use GPUs, otherwise 0)"
    ),
]
CpusPerNode = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=4096,
        help="CPU cores per worker node, for example 64 (default: 8; aws: as the instance type has)",
    ),
]
MemoryGb = Annotated[
    int,
    typer.Option(
        min=8,
        max=16384,
        help="memory per worker node in GiB, for example 256 (default: 32)",
        show_default=False,
    ),
]
MaxNodes = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=10000,
        help="largest number of worker nodes, for example 16 (default: 4; slurm: 2; compose: 1)",
    ),
]
