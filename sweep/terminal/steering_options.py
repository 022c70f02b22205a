"""Arguments and options of the verbs that steer a sweep while it runs, with their help texts."""

from __future__ import annotations

from typing import Annotated

import typer

from sweep.terminal.completion import complete_arm, complete_trial, complete_value

StoppedTrial = Annotated[
    str | None,
    typer.Option(
        "--trial",
        autocompletion=complete_trial,
        help="trial to stop, for example cutmix-0004 (default: the whole sweep)",
    ),
]
StoppedArm = Annotated[
    str | None,
    typer.Option(
        "--arm",
        autocompletion=complete_arm,
        help="arm to stop with all its trials, for example cutout (default: the whole sweep)",
    ),
]
Reason = Annotated[
    str | None,
    typer.Option(help="reason to record and to show, for example 'its loss jumps' (default: none)"),
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="do not wait for the answer of the process that runs the sweep")
]
Setting = Annotated[
    str,
    typer.Argument(
        autocompletion=complete_value,
        metavar="NAME=VALUE",
        help="value to change: max_trials (null: no bound) or budget.limits.NAME, for example max_trials=4",
    ),
]
