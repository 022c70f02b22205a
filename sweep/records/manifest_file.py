"""The file ``sweep.json``: JSON with a checksum and a second copy, and what every reader needs from it."""

from __future__ import annotations

import datetime
import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sweep.lock import check_held
from sweep.mirrored import save
from sweep.records.counts import are_expected, start_counts
from sweep.records.errors import DamagedRecords, RecordsError, repair_command, warn_once
from sweep.records.names import check_names
from sweep.records.schema import MANIFEST, RECORDS, SCHEMA_VERSION
from trainables.errors import format_value, shorten
from trainables.intact import DamagedFile, read_checked_json, write_checked_json
from trainables.renames import with_present_keys

_SEVERAL_SEARCHES = 3
"""First schema version in which an arm may have several searches."""

CHECKED = 4
"""First schema version in which the files have checksums."""


NAMED = 3
"""Number of sweeps in a folder that a message names."""
CHANGES = "changes"
"""Key of a run: the changes of the study while it ran, each with the checksum of the study before it."""

NO_COPY = "there is no intact copy: restore the file from a backup"


class _Recorded(BaseModel):
    """Keys that readers need; newer programs may add others."""

    model_config = ConfigDict(strict=True, frozen=True)


class _RecordedStudy(_Recorded):
    name: str
    question: str
    arms: dict[str, dict[str, Any]] = Field(min_length=1)
    metric: str
    budget: dict[str, Any]
    space: dict[str, Any] = {}
    base: dict[str, Any] = {}
    reference: str | None = None
    confirm: dict[str, Any] | None = None


class _RecordedRun(_Recorded):
    started_at: str
    command: str
    versions: dict[str, str]
    study_sha256: str | None = None

    @field_validator("started_at")
    @classmethod
    def _is_time(cls, text: str) -> str:
        datetime.datetime.fromisoformat(text)
        return text


class _RecordedSweep(_Recorded):
    study: _RecordedStudy
    data: dict[str, str | dict[str, str]]
    versions: dict[str, str]
    hardware: dict[str, Any]
    runs: list[_RecordedRun]
    parts: list[dict[str, Any]] = []
    headlines: dict[str, list[Any]] = {}


def manifest_copy(sweep_dir: Path) -> Path:
    """Return the second copy of ``sweep.json``."""
    return sweep_dir / RECORDS / MANIFEST


def write_manifest(sweep_dir: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``sweep.json`` and its second copy: a reader sees the old content or the new content.

    Raises:
        OSError: a file cannot be written.
        LockLost: another process has taken the sweep over; nothing is written.
    """
    check_held(sweep_dir)
    if not are_expected(sweep_dir):
        start_counts(sweep_dir)  # first: a sweep of this version without counts has lost them
    write_checked_json(sweep_dir / MANIFEST, manifest)
    write_checked_json(manifest_copy(sweep_dir), manifest, parents=False, durable=False)
    save(sweep_dir, wait=True)  # before any part that was written under its study


def read_manifest(sweep_dir: Path) -> dict[str, Any]:
    """Read ``sweep.json``; its study has every renamed key under its present name, and its number of searches.

    If the file is damaged or missing, its intact copy is read, and a warning says so.

    Raises:
        RecordsError: the file is missing, damaged or lacks a key, or a newer program wrote it.
    """
    path = sweep_dir / MANIFEST
    try:
        manifest = read_manifest_file(path)
    except (DamagedFile, FileNotFoundError, NotADirectoryError) as error:
        manifest = _read_copy(sweep_dir, error)
    _check_keys(manifest, path)
    check_names([manifest["study"]["name"]], kind="study", where=path)
    check_names(manifest["study"]["arms"], kind="arm", where=path)
    return {**manifest, "study": present_study(manifest)}


def present_study(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the study of a manifest of any version as this version writes it: present names, number of searches.

    Examples:
        >>> present_study({"schema_version": 2, "study": {"confirm": {"seeds": 5}}})["confirm"]
        {'searches': 1, 'seeds': 5}
    """
    study: dict[str, Any] = with_present_keys(manifest["study"])
    if manifest["schema_version"] < _SEVERAL_SEARCHES and study.get("confirm") is not None:
        study = {**study, "confirm": {"searches": 1, **study["confirm"]}}
    return study


def no_sweep(sweep_dir: Path) -> RecordsError:
    """Return the error that a folder has no sweep; it names the sweeps that may be meant.

    Examples:
        >>> print(no_sweep(Path("no-such-sweep")))
        no sweep in 'no-such-sweep': there is no such folder
    """
    if sweep_dir.exists():
        inside = [f"'{sweep_dir / name}'" for name in _sweeps_in(sweep_dir)]
        few = "" if len(inside) <= NAMED else ", for example"
        among = f"; folders with a sweep in it{few}: {', '.join(inside[:NAMED])}" if inside else ""
        return RecordsError(f"no sweep in '{sweep_dir}': the folder has no {MANIFEST}{among}")
    near = difflib.get_close_matches(sweep_dir.name, _sweeps_in(sweep_dir.parent), n=1)
    meant = f"; did you mean '{sweep_dir.parent / near[0]}'?" if near else ""
    return RecordsError(f"no sweep in '{sweep_dir}': there is no such folder{meant}")


def _sweeps_in(folder: Path) -> list[str]:
    """Return the names of the folders with a sweep in a folder."""
    try:
        return sorted(path.name for path in folder.iterdir() if (path / MANIFEST).is_file())
    except OSError:
        return []


def _read_copy(sweep_dir: Path, error: DamagedFile | OSError) -> dict[str, Any]:
    """Return the content of the copy, because of an error of the file itself."""
    path = sweep_dir / MANIFEST
    try:
        manifest = read_manifest_file(manifest_copy(sweep_dir))
    except (DamagedFile, FileNotFoundError, NotADirectoryError) as error_of_copy:
        if isinstance(error, DamagedFile) or isinstance(error_of_copy, DamagedFile):
            reason = error.reason if isinstance(error, DamagedFile) else "the file is missing"
            raise DamagedRecords(path, reason, NO_COPY) from None
        raise no_sweep(sweep_dir) from None
    problem = str(error) if isinstance(error, DamagedFile) else f"'{path}' is missing"
    warn_once(f"{problem}; its copy is read instead; to restore it: {repair_command(sweep_dir)}")
    return manifest


def read_manifest_file(path: Path) -> dict[str, Any]:
    """Read ``sweep.json`` or its copy, and check its version and its checksum.

    Raises:
        DamagedFile: the content is not a JSON mapping, differs from its checksum, is no manifest, or its study is not
            that of its last run.
        RecordsError: a newer program wrote it.
        FileNotFoundError: there is no such file.
    """
    manifest = read_checked_json(path, require_checksum=False)
    version = manifest.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise DamagedFile(path, "it has no schema_version: it is not the manifest of a sweep")
    if version > SCHEMA_VERSION:
        raise RecordsError(
            f"'{path}' was written by a newer cutmix-sweep: its schema version is {version}, and this program reads "
            f"versions up to {SCHEMA_VERSION}: update cutmix-sweep"
        )
    if version < CHECKED:
        return manifest
    manifest = read_checked_json(path)
    if not has_study_of_last_run(manifest):
        raise DamagedFile(path, "its study is not the study of its last run")
    return manifest


def has_study_of_last_run(manifest: Mapping[str, Any]) -> bool:
    """Return whether the study is the study of the last run, as far as the manifest says so."""
    match manifest:
        case {"study": dict(study), "runs": [*_, {"study_sha256": str(recorded)}]}:
            return study_sha256(study) == recorded
    return True


def _check_keys(manifest: Mapping[str, Any], path: Path) -> None:
    """Check that every key that readers need is there, with a value of its type."""
    try:
        _RecordedSweep.model_validate(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        got = "" if first["type"] == "missing" else f", got {format_value(first['input'])}"
        raise RecordsError(
            f"'{path}' is not the manifest of a sweep: '{shorten(key)}': {first['msg'].lower()}{got}; "
            "restore the file from a backup"
        ) from None


def study_sha256(study: Mapping[str, Any]) -> str:
    """Return the checksum of a recorded study; the order of its arms counts, because the first one is the baseline.

    Examples:
        >>> study_sha256({"arms": {"off": {}, "cutmix": {}}}) == study_sha256({"arms": {"cutmix": {}, "off": {}}})
        False
    """
    return hashlib.sha256(json.dumps(study, separators=(",", ":")).encode()).hexdigest()


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted paths of the values that differ between two studies.

    Examples:
        >>> changed_keys({"seed": 0, "budget": {"trials": 4}}, {"seed": 0, "budget": {"trials": 8}})
        ['budget.trials']
    """
    changed = []
    for key in dict.fromkeys([*old, *new]):
        first, second = old.get(key), new.get(key)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            changed += changed_keys(first, second, f"{prefix}{key}.")
            if list(first) != list(second) and set(first) == set(second):
                changed.append(f"{prefix}{key} (order)")
        elif first != second:
            changed.append(f"{prefix}{key}")
    return changed
