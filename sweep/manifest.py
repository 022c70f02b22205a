"""Content of ``sweep.json``: study, command, versions, hardware, and every start and resumption of the sweep."""

from __future__ import annotations

import datetime
import os
import platform
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from search_spaces.own_parts import own_parts
from search_spaces.study import Study
from sweep.endings import HERE, Joined, resume_command
from sweep.gpus import gpu_names
from sweep.images import Fingerprints
from sweep.provenance import code_versions, git_state, installed_packages
from sweep.records.manifest_file import CHANGES, study_sha256
from sweep.records.schema import MANIFEST, SCHEMA_VERSION
from trainables.cores import usable_cores
from trainables.errors import UserError
from trainables.own_part import OwnPart
from trainables.parts import add_folder
from trainables.strict import parse

PACKAGES = ("cutmix-sweep", "torch", "torchvision", "ray", "optuna", "numpy", "pandas")


def new_manifest(study: Study, sweep_dir: Path, command: str, data: Fingerprints) -> dict[str, Any]:
    """Return the manifest of a new sweep; ``data`` has the fingerprint of each split by data source and split."""
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "sweep": sweep_dir.name,
        "study": study.model_dump(mode="json"),
        "seed": study.seed,
        "data": {source: dict(splits) for source, splits in data.items()},
        "parts": [],
        "command": command,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "hardware": hardware(),
        "runs": [],
    }
    return with_parts(manifest, own_parts(study))


def with_run(
    manifest: dict[str, Any],
    command: str,
    *,
    project: Path | None = None,
    images: Mapping[str, str] | None = None,
    joined: Joined = HERE,
) -> dict[str, Any]:
    """Return a manifest with one more run of this program on the sweep, which writes the present schema.

    Args:
        manifest: manifest so far.
        command: how the run was started.
        project: folder of the user's project; None: the folder of the first run if it is still there, otherwise the
            working directory.
        images: where the images of each data source are, as ``--data`` spells it; None: where the last run had them.
        joined: cluster of the run.
    """
    before = manifest["runs"][-1].get("data", {}) if manifest["runs"] else {}
    run = {
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "host": socket.gethostname(),
        "data": {**before, **(images or {})},
        "versions": {name: version(name) for name in PACKAGES},
        "code": code_versions(project or _first_project(manifest)),
        "packages": installed_packages(),
        "study_sha256": study_sha256(manifest["study"]),
        **{name: value for name, value in asdict(joined).items() if value not in (None, False)},
    }
    return {**manifest, "schema_version": SCHEMA_VERSION, "runs": [*manifest["runs"], run]}


def command_to_resume(sweep_dir: Path, manifest: Mapping[str, Any], *options: str) -> str:
    """Return the command that continues a sweep on the cluster of its last run.

    Examples:
        >>> runs = [{"address": "auto", "max_trials": 4}]
        >>> command_to_resume(Path("box"), {"runs": runs}, "--retry-failed")
        'cutmix-sweep resume box --address auto --max-trials 4 --retry-failed'
    """
    run = manifest["runs"][-1] if manifest["runs"] else {}
    joined = Joined(**{field.name: run[field.name] for field in fields(Joined) if field.name in run})
    return resume_command(sweep_dir, joined.address, *joined.options, *options)


def _first_project(manifest: dict[str, Any]) -> Path | None:
    """Return the project folder of the first run, which older manifests do not have."""
    for run in manifest["runs"][:1]:
        project = run.get("code", {}).get("project")
        if project is not None and Path(project["folder"]).is_dir():
            return Path(project["folder"])
    return None


def with_study(manifest: dict[str, Any], study: Study) -> dict[str, Any]:
    """Return a manifest with another study, which must contain every trial that is already recorded."""
    return {**manifest, "study": study.model_dump(mode="json")}


def with_share(manifest: dict[str, Any], study: Study) -> dict[str, Any]:
    """Return a manifest of a sweep that begins with a study whose number of trials per GPU was measured."""
    measured = with_study(manifest, study)
    sha256, number = study_sha256(measured["study"]), study.resources.trials_per_gpu
    run = {**manifest["runs"][-1], "study_sha256": sha256, "measured_trials_per_gpu": number}
    return {**measured, "runs": [*manifest["runs"][:-1], run]}


def with_change(manifest: dict[str, Any], study: Study, command: str, request: str) -> dict[str, Any]:
    """Return a manifest whose study was changed while its last run runs.

    Args:
        manifest: manifest so far.
        study: study from now on, which contains every trial that is already recorded.
        command: what was changed, and by whom.
        request: name of the request, which is then not applied a second time.
    """
    run = manifest["runs"][-1]
    change = {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "request": request,
        "study_sha256": run.get("study_sha256"),
    }
    changed = with_study(manifest, study)
    run = {**run, CHANGES: [*run.get(CHANGES, []), change], "study_sha256": study_sha256(changed["study"])}
    return {**changed, "runs": [*manifest["runs"][:-1], run]}


def has_change(manifest: Mapping[str, Any], request: str) -> bool:
    """Return whether a request has changed the study already."""
    return any(change.get("request") == request for run in manifest["runs"] for change in run.get(CHANGES, []))


def with_parts(manifest: Mapping[str, Any], parts: Iterable[OwnPart]) -> dict[str, Any]:
    """Return a manifest that also records these parts of one's own, each with the commit of its folder.

    A part that is recorded already stays as it is.
    """
    recorded = list(manifest.get("parts", []))
    known = {(part["kind"], part["name"]) for part in recorded}
    new = [part for part in parts if (part.kind, part.name) not in known]
    return {**manifest, "parts": [*recorded, *(part.record() | {"code": git_state(part.file.parent)} for part in new)]}


def read_study(manifest: Mapping[str, Any], sweep_dir: Path) -> Study:
    """Return the study of a sweep.

    Raises:
        UserError: the study is not valid in this version, or its early-stopping rule cannot be imported.
    """
    return parse(Study, manifest["study"], where=f"'{sweep_dir / MANIFEST}'")


def add_part_folders(manifest: Mapping[str, Any], sweep_dir: Path) -> list[str]:
    """Look for modules in the working directory, and in the folders in which the sweep's own parts were.

    Only what continues or measures a sweep calls this. A sweep may come from somebody else, so a folder is left out if
    it belongs to another user or lies in the folder of the sweep.

    Returns:
        A sentence for each recorded folder that is left out.
    """
    recorded = [Path(str(part.get("folder"))) for part in manifest.get("parts", [])]
    left_out = []
    for folder in dict.fromkeys((Path.cwd(), *recorded)):
        reason = _reason_to_distrust(folder, sweep_dir)
        if reason is None:
            add_folder(folder)
        elif folder in recorded:
            left_out.append(
                f"'{folder}', where parts of this sweep were, is not searched for them because it {reason}: if you "
                "trust it, add it to PYTHONPATH"
            )
    return left_out


def _reason_to_distrust(folder: Path, sweep_dir: Path) -> str | None:
    """Return why no code is imported from a folder; None if there is no such reason or no such folder."""
    try:
        real, owner = folder.resolve(), folder.stat().st_uid
    except (OSError, RuntimeError, ValueError):
        return None
    if real.is_relative_to(sweep_dir.resolve()):
        return "lies in the folder of the sweep"
    return None if owner in (os.getuid(), 0) else "belongs to another user"


def check_unchanged(manifest: Mapping[str, Any], parts: Sequence[OwnPart], sweep_dir: Path) -> list[str]:
    """Check that the files of one's own parts are the files that a sweep was started with.

    Returns:
        A warning for each part whose own file is the same, but not another file of its package.

    Raises:
        UserError: the file of a part was changed: the sweep would mix the results of two methods.
    """
    recorded = {(part["kind"], part["name"]): part for part in manifest.get("parts", [])}
    warnings = []
    for part in parts:
        old, new = recorded.get((part.kind, part.name)), part.record()
        if old is None or (old["package_sha256"] == new["package_sha256"] and old["sha256"] == new["sha256"]):
            continue
        if old["sha256"] != new["sha256"]:
            raise UserError(
                f"the {part.kind} '{part.name}' was changed since '{sweep_dir}' was started: sha256 of '{new['file']}' "
                f"is {new['sha256'][:12]}, recorded is {old['sha256'][:12]} ('{old['file']}'). Its results would be "
                "mixed with those of the old code: restore the file, or give the new class another name and start a "
                "new sweep with: cutmix-sweep run"
            )
        warnings.append(
            f"a file of the package '{part.top}' was changed since '{sweep_dir}' was started; the file of the "
            f"{part.kind} '{part.name}' itself is the same"
        )
    return warnings


def hardware() -> dict[str, Any]:
    """Return a description of this machine: system, processor, cores (all, and usable), GPUs, memory in GiB."""
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "gpus": gpu_names(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
