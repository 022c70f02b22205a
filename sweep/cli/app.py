"""The application that the verbs register with, and what several verbs need."""

from __future__ import annotations

import functools
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import typer

from sweep.endings import Joined
from sweep.formats import printable
from sweep.mirrored import shown
from sweep.terminal import options
from trainables.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from sweep.terminal.display import TerminalDisplay

T = TypeVar("T")
Verb = TypeVar("Verb", bound=Callable[..., Any])

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

        echo(f"cutmix-sweep {importlib.metadata.version('cutmix-sweep')}")
        raise typer.Exit


def on_sweep(*, write: bool = False, whole: bool = False, read_now: bool = True) -> Callable[[Verb], Verb]:
    """Return the decorator of a verb on a sweep: the verb gets the folder of a sweep that is anywhere.

    Args:
        write: whether the verb writes the sweep.
        whole: whether it reads models and checkpoints too.
        read_now: whether the records are read at once; otherwise by ``mirrored.refresh``, if they are needed.
    """

    def decorate(verb: Verb) -> Verb:
        @functools.wraps(verb)
        def on_folder(*, sweep_dir: Path, **options: Any) -> Any:
            from sweep.storage import opened

            show_status = new_display(quiet=options.get("quiet", False), stderr=True).show_status
            with opened(sweep_dir, write=write, whole=whole, read_now=read_now, show_status=show_status) as sweep:
                return verb(sweep_dir=sweep.path, **options)

        return cast(Verb, on_folder)

    return decorate


def echo(text: object, *, err: bool = False) -> None:
    """Print one text; a terminal gets no control characters, another program gets a path as it is."""
    stream = sys.stderr if err else sys.stdout
    typer.echo(printable(str(text)) if err or stream.isatty() else shown(str(text)), err=err)


def echo_output(texts: Iterable[str]) -> None:
    """Print the output of another process as it comes; a terminal gets no control characters but ends of lines."""
    for text in texts:
        shown_text = "\n".join(map(printable, text.split("\n"))) if sys.stdout.isatty() else text
        typer.echo(shown_text, nl=False)


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


def check_cluster(joined: Joined, *, display: TerminalDisplay) -> None:
    """Check the connection to a cluster, before the libraries are loaded: on a busy machine that takes many seconds.

    Raises:
        UserError: the cluster cannot be joined.
    """
    if joined.address is None:
        return
    with display.show_status(f"looking for the Ray cluster at {joined.address}"):
        from sweep.connection import check_connection

        check_connection(joined.address, insecure=joined.insecure)


def print_document(document: Mapping[str, Any]) -> None:
    """Print one JSON document; control characters are written as escapes, which a program reads as the characters."""
    text = shown(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
    typer.echo(re.sub(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069]", lambda match: f"\\u{ord(match[0]):04x}", text))


def split_names(text: str | None) -> list[str] | None:
    """Return the names between commas; None without a text."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def renamed(old_option: str, option: str, old_value: T | None, value: T) -> T:
    """Return the value of an option that may be given under its old name.

    Raises:
        UserError: it is given under both names.
    """
    if old_value is None:
        return value
    if value:
        raise UserError(f"--{old_option} is the old name of --{option}: give one of them")
    echo(f"note: --{old_option} was renamed to --{option}", err=True)
    return old_value
