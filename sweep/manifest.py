"""Content of ``sweep.json``: study, command, versions, hardware, and every start and resumption of the sweep."""

from __future__ import annotations

import datetime
import os
import platform
import socket
from importlib.metadata import version
from pathlib import Path
from typing import Any

from search_spaces.study import Study
from sweep.provenance import code_versions, installed_packages
from sweep.records.schema import SCHEMA_VERSION

PACKAGES = ("cutmix-sweep", "torch", "torchvision", "ray", "optuna", "numpy", "pandas")


def new_manifest(study: Study, sweep_dir: Path, command: str, data: dict[str, str]) -> dict[str, Any]:
    """Return the manifest of a new sweep; ``data`` maps each data source to the fingerprint of its training images."""
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": sweep_dir.name,
        "study": study.model_dump(mode="json"),
        "seed": study.seed,
        "data": data,
        "command": command,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "hardware": hardware(),
        "runs": [],
    }


def with_run(manifest: dict[str, Any], command: str, *, project: Path | None = None) -> dict[str, Any]:
    """Return a manifest with one more run of this program on the sweep, which writes the present schema.

    Args:
        manifest: manifest so far.
        command: how the run was started.
        project: folder of the user's project; None: the folder of the first run if it is still there, otherwise the
            working directory.
    """
    run = {
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "host": socket.gethostname(),
        "versions": {name: version(name) for name in PACKAGES},
        "code": code_versions(project or _first_project(manifest)),
        "packages": installed_packages(),
    }
    return {**manifest, "schema_version": SCHEMA_VERSION, "runs": [*manifest["runs"], run]}


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


def hardware() -> dict[str, Any]:
    """Return a description of this machine: system, processor, cores, GPUs, memory in GiB."""
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpus": _gpus(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
