"""The verb that computes a table of the paper again: reproduce."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sweep.cli.app import app, check_cluster, command_line, echo, new_console, new_display, print_document
from sweep.endings import Joined
from sweep.terminal import options, reproduce_options
from trainables.errors import UserError

if TYPE_CHECKING:
    from search_spaces.table import TablePart
    from sweep.terminal.display import TerminalDisplay


@app.command()
def reproduce(
    table: reproduce_options.TableName = None,
    plan: reproduce_options.Plan = False,
    show: reproduce_options.Show = False,
    scale: reproduce_options.Scale = "paper",
    set_: reproduce_options.Set = None,
    data: reproduce_options.Data = None,
    download: options.Download = False,
    address: options.Address = None,
    insecure: options.Insecure = False,
    strict_nodes: options.StrictNodes = False,
    max_trials: options.MaxTrials = None,
    start_timeout: options.StartTimeout = None,
    cpus: options.Cpus = None,
    gpus: options.Gpus = None,
    trials_per_gpu: options.TrialsPerGpu = None,
    workers: options.Workers = None,
    seed: options.Seed = None,
    out: reproduce_options.Out = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    json_: options.Json = False,
) -> None:
    """Compute a table of the paper again: train its arms, measure them, and set the published numbers beside them.

    Example: `cutmix-sweep reproduce ablation --scale smoke --out paper`
    """
    from search_spaces.table import load_parts

    if table is None:
        _list(scale, json_=json_)
        return
    if plan and show:
        raise UserError("--plan and --show exclude each other: give one of them")
    if out is None and not plan:
        raise UserError("--out is missing: the folder that gets one sweep per study; or give --plan")
    settings = options.with_shorthands(
        set_, cpus=cpus, gpus=gpus, trials_per_gpu=trials_per_gpu, workers=workers, seed=seed
    )
    parts = load_parts(table, scale=scale, settings=settings, data=data or ())
    display = new_display(quiet=quiet, verbose=verbose, stderr=json_ or plan)
    if out is None or plan:
        _plan(table, parts, scale, display, json_=json_)
        return
    n_failed = 0
    if not show:
        joined = Joined(address, insecure, strict_nodes, max_trials, start_timeout)
        n_failed = _run(parts, out, joined, display, download=download)
    _fill(table, parts, scale, out, display, json_=json_)
    if n_failed:
        again = shlex.join(["cutmix-sweep", "resume", f"{out}/STUDY", "--retry-failed"])
        echo(
            f"{n_failed} trials or measurements failed: run the same command again to repeat the measurements; trials "
            f"are repeated by: {again}",
            err=True,
        )
        raise typer.Exit(1)


def _list(scale: str, *, json_: bool) -> None:
    from search_spaces.table import load_parts, read_table, tables

    read = {name: read_table(name) for name in tables()}
    if json_:
        from sweep.reproduce import PlannedPart
        from sweep.table_documents import reproduce_document

        planned = {name: [PlannedPart(part) for part in load_parts(name, scale=scale)] for name in read}
        print_document(reproduce_document(read, planned, scale=scale))
    else:
        from sweep.terminal.reproduction import print_tables

        print_tables(read, new_console())


def _plan(table: str, parts: Sequence[TablePart], scale: str, display: TerminalDisplay, *, json_: bool) -> None:
    from search_spaces.table import read_table
    from sweep.reproduce import plan_parts
    from sweep.table_documents import reproduce_document
    from sweep.terminal.reproduction import print_reproduction_plan

    with display.show_status("measuring the training speed"):
        planned = plan_parts(parts)
    if json_:
        print_document(reproduce_document({table: read_table(table)}, {table: planned}, scale=scale))
    else:
        print_reproduction_plan(table, read_table(table), planned, new_console())


def _run(parts: Sequence[TablePart], out: Path, joined: Joined, display: TerminalDisplay, *, download: bool) -> int:
    """Train and measure the studies of a table; return how many trials or measurements failed."""
    check_cluster(joined, display=display)
    with display.show_status("loading the libraries"):
        from sweep.reproduce import run_parts
    return run_parts(parts, out, joined=joined, download=download, command=command_line(), display=display)


def _fill(
    table: str, parts: Sequence[TablePart], scale: str, out: Path, display: TerminalDisplay, *, json_: bool
) -> None:
    """Print the table as far as its sweeps have come."""
    from analysis.published import fill_folders, why_not_comparable
    from search_spaces.table import read_table
    from sweep.reproduce import PlannedPart, begun_folders
    from sweep.table_documents import reproduce_document
    from sweep.terminal.reproduction import print_reproduction

    read = read_table(table)
    with begun_folders(parts, out, display=display) as folders:
        rows = fill_folders(folders, **read.published_values())
    if json_:
        planned = [PlannedPart(part) for part in parts]
        print_document(reproduce_document({table: read}, {table: planned}, scale=scale, rows=rows))
    else:
        print_reproduction(table, read, rows, why_not_comparable(rows), new_console())
