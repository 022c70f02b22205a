"""The machine on which the figures were found."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.util import find_spec
from typing import Any

import torch


def describe_machine() -> dict[str, Any]:
    """Return card, driver and versions; this starts CUDA if there is a GPU."""
    facts: dict[str, Any] = {
        "device": "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "mps": "installed" if shutil.which("nvidia-cuda-mps-control") else "not installed",
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "device": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "driver": _driver(),
        }
    libraries = ("numpy", "scipy", "torchvision", "timm", "ray")
    facts["libraries"] = ", ".join(name for name in libraries if find_spec(name) is not None)
    return facts


def _driver() -> str:
    """Return the version of the driver; nvidia-smi is there wherever the driver is."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({type(error).__name__})"
    return answer.stdout.split("\n")[0].strip()
