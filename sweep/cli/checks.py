"""The verbs that check the machine and study files: doctor, schema."""

from __future__ import annotations

from pathlib import Path

import typer

from sweep.cli.app import app, new_console
from sweep.terminal import options


@app.command()
def doctor(
    data: options.DoctorData = "digits",
    out: options.DoctorOut = Path("sweeps"),
) -> None:
    """Check Python, torch, GPU, Ray, data and disk; say how to fix each problem.

    Example: `cutmix-sweep doctor --data imagefolder:photos`
    """
    from sweep.doctor import WRONG, diagnose
    from sweep.terminal.study import print_checks

    checks = diagnose(data, out)
    print_checks(checks, new_console())
    if any(check.state == WRONG for check in checks):
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a study file, for editors.

    Example: `cutmix-sweep schema > study.schema.json`
    """
    import json

    from search_spaces.schema import study_schema

    typer.echo(json.dumps(study_schema(), indent=2))
