"""The verbs that check a sweep, the machine, one's own parts and study files: check, doctor, check-part, schema."""

from __future__ import annotations

from pathlib import Path

import typer

from sweep.cli.app import app, echo, new_console, new_display, on_sweep, print_document
from sweep.terminal import options
from trainables.errors import UserError, did_you_mean


@app.command()
@on_sweep(write=True, whole=True)
def check(
    sweep_dir: options.SweepDir,
    repair: options.Repair = False,
    json_: options.Json = False,
) -> None:
    """Verify all files of a sweep that does not run; say what is damaged and what its repair costs.

    Example: `cutmix-sweep check sweeps/box --repair`
    """
    from sweep.check import check_sweep
    from sweep.documents import check_document
    from sweep.terminal.check import print_check

    with new_display(stderr=True).show_status("verifying the files"):
        result = check_sweep(sweep_dir, repair=repair)
    if json_:
        print_document(check_document(result))
    else:
        print_check(result, new_console())
    if not result.is_whole:
        raise typer.Exit(1)


@app.command()
def doctor(
    data: options.DoctorData = "digits",
    out: options.DoctorOut = Path("sweeps"),
    address: options.Address = None,
    insecure: options.Insecure = False,
    json_: options.Json = False,
) -> None:
    """Check Python, torch, GPU, Ray, data, disk and the connection to a cluster; say how to fix each problem.

    Example: `cutmix-sweep doctor --data imagefolder:photos`
    """
    from sweep.doctor import WRONG, diagnose
    from sweep.documents import doctor_document
    from sweep.terminal.study import print_checks

    checks = diagnose(data, out, address=address, insecure=insecure)
    if json_:
        print_document(doctor_document(checks))
    else:
        print_checks(checks, new_console())
    if any(check.state == WRONG for check in checks):
        raise typer.Exit(1)


@app.command("check-part")
def check_part(
    part: options.PartName,
    set_: options.PartSet = None,
) -> None:
    """Check a part of your own against the laws of its kind; print one line per law.

    Example: `cutmix-sweep check-part my_package.masks:Diamond`
    """
    from sweep.check_part import check_laws

    kind, verdicts = check_laws(part, set_ or [])
    echo(f"{kind} {part}")
    n_broken = 0
    for verdict in verdicts:
        n_broken += bool(verdict.reason)
        echo(f"broken  {verdict.law}: {verdict.reason}" if verdict.reason else f"ok      {verdict.law}")
    if n_broken:
        raise typer.Exit(1)


@app.command()
def schema(
    kind: options.SchemaKind = "study",
) -> None:
    """Print the JSON Schema of a study file, for editors, or of what a verb prints with --json.

    Example: `cutmix-sweep schema > study.schema.json`
    """
    from search_spaces.schema import study_schema
    from sweep.document_models import DOCUMENTS, document_schema

    kinds = ("study", *DOCUMENTS)
    if kind not in kinds:
        raise UserError(f"schema '{kind}': unknown kind{did_you_mean(kind, kinds)}")
    print_document(study_schema() if kind == "study" else document_schema(kind))
