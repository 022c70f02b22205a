"""Arguments and options of the verb ``reproduce``, with their help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweep.terminal.completion import complete_scale, complete_setting, complete_source, complete_table
from trainables.data.sources.registry import source_help

TableName = Annotated[
    str | None,
    typer.Argument(
        autocompletion=complete_table,
        help="table of the paper to compute again, for example ablation (default: list the tables)",
    ),
]
Plan = Annotated[
    bool, typer.Option("--plan", help="show arms, trials, epochs and time of each study of the table; start nothing")
]
Show = Annotated[
    bool, typer.Option("--show", help="show the table as far as the sweeps in --out have come; start nothing")
]
Scale = Annotated[
    str,
    typer.Option(
        autocompletion=complete_scale,
        help="size of the sweep: smoke, laptop, gpu or paper, of which only paper is comparable with the published "
        "numbers; for example smoke (default: paper)",
        show_default=False,
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        autocompletion=complete_source,
        metavar="SOURCE",
        help=f"data source: {source_help()}; or a class of your own, package.module:Class; it replaces the source of "
        "the same name, or all sources if the table has none of this name; for example imagenet:/data/imagenet; "
        "repeatable (default: as in the table)",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        autocompletion=complete_setting,
        metavar="PATH=VALUE",
        help="value that overrides the study, here all studies of the table, for example replicates=5; a path that "
        "begins with the name of a study changes this study alone, and one that begins with an axis a setting of the "
        "axis, for example ood.n_images=500; repeatable (default: no override)",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="folder to write the sweeps to, one folder per study, or an address in an object store; what is there "
        "continues; for example paper or s3://bucket/paper (default: none, which --plan alone allows)",
    ),
]
