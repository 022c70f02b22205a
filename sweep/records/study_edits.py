"""Whether the study in ``sweep.json`` is still the study that the sweep was run with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweep.records.errors import RecordsError, repair_command
from sweep.records.manifest_file import (
    CHANGES,
    changed_keys,
    has_study_of_last_run,
    manifest_copy,
    read_manifest_file,
)
from sweep.records.part_file import read_study_sha256
from sweep.records.parts import live_parts
from sweep.records.schema import MANIFEST, TABLES
from sweep.records.table_files import table_folder
from trainables.intact import DamagedFile

MAX_KEYS = 8
"""Largest number of changed keys in a message."""


def check_study(sweep_dir: Path) -> None:
    """Check that the study in ``sweep.json`` was not edited since the last run.

    Trials before and after an edit would be compared as if one study had drawn them. Only ``extend``, ``confirm`` and
    ``resume --set`` change the study of a sweep.

    Raises:
        RecordsError: it was edited.
    """
    edit = describe_study_edit(sweep_dir)
    if not edit:
        return
    restore = f"to restore it: {repair_command(sweep_dir)}; " if _read(manifest_copy(sweep_dir)) else ""
    raise RecordsError(
        f"'{sweep_dir / MANIFEST}': {edit}; {restore or 'restore it from a backup; '}to add trials, searches, seeds or "
        "arms to the restored sweep use cutmix-sweep extend; for another study start a new sweep"
    )


def describe_study_edit(sweep_dir: Path) -> str:
    """Return in what the study of ``sweep.json`` differs from the study of its last run; "" if it does not.

    The second copy tells which keys differ. A kill between the writing of the two leaves one run more in the file.
    """
    manifest, copy = _lenient(sweep_dir / MANIFEST), _read(manifest_copy(sweep_dir))
    study = manifest.get("study")
    if not isinstance(study, dict):
        return ""
    keys = changed_keys(copy["study"], study) if copy and isinstance(copy.get("study"), dict) else []
    is_newer = _is_newer(manifest.get("runs"), (copy or {}).get("runs"))
    if has_study_of_last_run(manifest) and (not keys or is_newer):
        return ""
    listed = ", ".join(keys[:MAX_KEYS]) + (f" and {len(keys) - MAX_KEYS} more" if len(keys) > MAX_KEYS else "")
    differing = f"; different: {listed}" if listed else ""
    return f"the study is not the study of its last run{differing}"


def _is_newer(runs: Any, runs_of_copy: Any) -> bool:
    """Return whether a manifest has one more run than its copy, or one more change of the study in the same run."""
    if not isinstance(runs, list) or not isinstance(runs_of_copy, list) or not runs_of_copy:
        return isinstance(runs, list) and runs_of_copy == [] and bool(runs)
    if len(runs) > len(runs_of_copy):
        return runs[: len(runs_of_copy)] == runs_of_copy
    changes, changes_of_copy = (each[-1].get(CHANGES, []) for each in (runs, runs_of_copy))
    is_one_more = changes[:-1] == changes_of_copy and len(changes) == len(changes_of_copy) + 1
    return is_one_more and len(runs) == len(runs_of_copy) and runs[:-1] == runs_of_copy[:-1]


def check_study_of_parts(sweep_dir: Path, manifest: Mapping[str, Any]) -> None:
    """Check that every part of repaired records was written under a study of one of the runs.

    Raises:
        RecordsError: a part has another one: the study and its checksums were replaced.
    """
    studies = [state for run in manifest["runs"] for state in (run, *run.get(CHANGES, []))]
    recorded = {state["study_sha256"] for state in studies if state.get("study_sha256")}
    for table in TABLES.values() if recorded else ():
        for part in live_parts(table_folder(sweep_dir, table)):
            sha256 = read_study_sha256(part.path)
            if sha256 and sha256 not in recorded:
                raise RecordsError(
                    f"'{sweep_dir / MANIFEST}': the study is not the study under which '{part.path.name}' in the "
                    f"table '{table.name}' was recorded: restore sweep.json from a backup, or start a new sweep"
                )


def _read(path: Path) -> dict[str, Any] | None:
    """Return an intact manifest; None if it is damaged or missing."""
    try:
        return read_manifest_file(path)
    except (DamagedFile, RecordsError, OSError):
        return None


def _lenient(path: Path) -> dict[str, Any]:
    """Return a JSON mapping, whatever its checksum; empty if it is none."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
