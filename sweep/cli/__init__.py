"""The command line, ``cutmix-sweep``: thin verbs; a verb imports torch and Ray only if it needs them."""

from __future__ import annotations

import contextlib
import io
import signal
import sys

# the order in which the help lists the verbs
from sweep.cli import studies, sweeps, reproduce, jobs, steering, results, serving, cluster, monitor, checks  # isort: skip
from sweep.cli.app import app, echo
from sweep.terminal.completion import completion_for_bash
from trainables.errors import UserError, shorten_message

__all__ = [
    "app",
    "checks",
    "cluster",
    "jobs",
    "main",
    "monitor",
    "reproduce",
    "results",
    "serving",
    "steering",
    "studies",
    "sweeps",
]


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit code 2, never in a traceback."""
    from sweep.signals import catch_signals, exit_at_once, exit_code
    from trainables.cores import limit_threads

    limit_threads()  # before NumPy and torch are imported
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a study may have letters that the locale has not
    with catch_signals(is_program=True) as signals:
        try:
            _run_verb()
        except BaseException as error:
            if signals.signum is None or (isinstance(error, SystemExit) and not error.code):
                raise
            # typer ends with code 1 after Ctrl-C, and a terminal that has closed raises where something is printed
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            if signals.signum == signal.SIGHUP:
                exit_at_once(signals.signum)  # Python would end with another code, because it cannot flush stdout
            sys.exit(exit_code(signals.signum))


def _run_verb() -> None:
    from sweep.endings import DiskFault, EndedEarly, user_message
    from sweep.records.errors import RecordsError
    from sweep.signals import current_signals

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
    except DiskFault as error:
        _refuse(str(error))
    except EndedEarly as error:
        if not current_signals().announced:
            echo(str(error), err=True)
        sys.exit(error.exit_code)


def _refuse(message: str) -> None:
    for line in shorten_message(message).splitlines():
        echo(f"error: {line}", err=True)
    sys.exit(2)
