"""The command line, ``cutmix-sweep``: thin verbs; a verb imports torch and Ray only if it needs them."""

from __future__ import annotations

import sys

import typer

# the order in which the help lists the verbs
from sweep.cli import studies, sweeps, results, checks  # isort: skip
from sweep.cli.app import INTERRUPTED, app
from sweep.terminal.completion import completion_for_bash
from trainables.errors import UserError

__all__ = ["app", "checks", "main", "results", "studies", "sweeps"]


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit code 2, never in a traceback."""
    from sweep.endings import EvaluationInterrupted, Interrupted, user_message
    from sweep.records.errors import RecordsError

    try:
        with completion_for_bash():
            app(prog_name="cutmix-sweep")
    except (UserError, RecordsError) as error:
        _refuse(str(error))
    except OSError as error:
        message = user_message(error)
        if message is None:
            raise
        _refuse(message)
    except (Interrupted, EvaluationInterrupted) as error:
        typer.echo(str(error), err=True)
        sys.exit(INTERRUPTED)


def _refuse(message: str) -> None:
    for line in message.splitlines():
        typer.echo(f"error: {line}", err=True)
    sys.exit(2)
