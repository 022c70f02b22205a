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
from sweep.records.schema import SCHEMA_VERSION
from trainables.cores import usable_cores

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


def with_run(manifest: dict[str, Any], command: str) -> dict[str, Any]:
    """Return a manifest with one more run of this program on the sweep, which writes the present schema."""
    run = {
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "host": socket.gethostname(),
        "versions": {name: version(name) for name in PACKAGES},
    }
    return {**manifest, "schema_version": SCHEMA_VERSION, "runs": [*manifest["runs"], run]}


def with_study(manifest: dict[str, Any], study: Study) -> dict[str, Any]:
    """Return a manifest with another study, which must contain every trial that is already recorded."""
    return {**manifest, "study": study.model_dump(mode="json")}


def hardware() -> dict[str, Any]:
    """Return a description of this machine: system, processor, cores (all, and usable), GPUs, memory in GiB."""
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "gpus": _gpus(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
