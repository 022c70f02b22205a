"""The verbs that check the machine and study files: doctor, schema."""

from __future__ import annotations

from pathlib import Path

import typer

from sweep.cli.app import app, new_console, print_document
from sweep.terminal import options
from trainables.errors import UserError, did_you_mean


@app.command()
def doctor(
    data: options.DoctorData = "digits",
    out: options.DoctorOut = Path("sweeps"),
    json_: options.Json = False,
) -> None:
    """Check Python, torch, GPU, Ray, data and disk; say how to fix each problem.

    Example: `cutmix-sweep doctor --data imagefolder:photos`
    """
    from sweep.doctor import WRONG, diagnose
    from sweep.documents import doctor_document
    from sweep.terminal.study import print_checks

    checks = diagnose(data, out)
    if json_:
        print_document(doctor_document(checks))
    else:
        print_checks(checks, new_console())
    if any(check.state == WRONG for check in checks):
        raise typer.Exit(1)


@app.command()
def schema(
    kind: options.SchemaKind = "study",
) -> None:
    """Print the JSON Schema of a study file, for editors, or of what a verb prints with --json.

    Example: `cutmix-sweep schema > study.schema.json`
    """
    import json

    from search_spaces.schema import study_schema
    from sweep.document_models import DOCUMENTS, document_schema

    kinds = ("study", *DOCUMENTS)
    if kind not in kinds:
        raise UserError(f"schema '{kind}': unknown kind{did_you_mean(kind, kinds)}")
    typer.echo(json.dumps(study_schema() if kind == "study" else document_schema(kind), indent=2))
