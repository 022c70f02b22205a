"""The application that the verbs register with, and what several verbs need."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from sweep.terminal import options
from trainables.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from sweep.terminal.display import TerminalDisplay

app = typer.Typer(
    name="cutmix-sweep",
    help="Run CutMix ablations on Ray: search each arm fairly, then compare the arms on fresh seeds.\n\n"
    "Example: `cutmix-sweep run quickstart --scale smoke`",
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback(invoke_without_command=True)
def _root(
    version: options.Version = False,
) -> None:
    if version:
        import importlib.metadata

        typer.echo(f"cutmix-sweep {importlib.metadata.version('cutmix-sweep')}")
        raise typer.Exit


def command_line() -> str:
    """Return the command with which the program was started, as it is recorded."""
    return shlex.join(["cutmix-sweep", *sys.argv[1:]])


def new_display(*, quiet: bool = False, verbose: bool = False, stderr: bool = False) -> TerminalDisplay:
    """Return what shows the course of a command; on ``stderr`` if other programs may read the output.

    Raises:
        UserError: ``quiet`` and ``verbose`` are both given.
    """
    from sweep.terminal.display import TerminalDisplay

    if quiet and verbose:
        raise UserError("--quiet and --verbose exclude each other: give one of them")
    return TerminalDisplay(new_console(stderr=stderr), quiet=quiet, verbose=verbose)


def new_console(*, stderr: bool = False) -> Console:
    """Return a console that prints to standard output or, beside a JSON document, to standard error."""
    from rich.console import Console

    return Console(stderr=stderr)


def print_document(document: Mapping[str, Any]) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def split_names(text: str | None) -> list[str] | None:
    """Return the names between commas; None without a text."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
