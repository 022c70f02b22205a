"""Number of CPU cores that this process may use, and the threads of the numerical libraries."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

SLURM_VARIABLES = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
"""Variables in which Slurm says how many cores a job may use on this node."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that torch, NumPy and SciPy read when they are imported."""

AFFINITY, QUOTA = "CPU affinity", "cgroup quota"


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use, at least 1.

    It is the smallest of the machine's cores, the CPU affinity, the CPU quotas of its control groups (as in a
    container) and the numbers of Slurm.

    Examples:
        >>> 1 <= usable_cores() <= os.cpu_count()
        True
    """
    return min([os.cpu_count() or 1, *core_limits().values()])


def describe_cores() -> str:
    """Return the number of usable cores, and what limits it.

    Examples:
        >>> describe_cores().split(" of ")[0] == str(usable_cores())
        True
    """
    n_cores, n_usable = os.cpu_count() or 1, usable_cores()
    reasons = [name for name, limit in core_limits().items() if limit == n_usable < n_cores]
    return f"{n_usable} of {n_cores} cores usable" + (f": {', '.join(reasons)}" if reasons else "")


def core_limits(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> dict[str, int]:
    """Return the limits on the number of cores by name, each at least 1; a limit that does not exist is left out.

    Args:
        root: folder that contains ``proc`` and the control groups.
        environ: environment variables.

    Examples:
        >>> core_limits(Path("/nowhere"), {"SLURM_CPUS_PER_TASK": "4"})["SLURM_CPUS_PER_TASK"]
        4
    """
    limits = {AFFINITY: _affinity()}
    quotas = [max(1, int(quota)) for quota in _quotas(root)]  # half a core more is no core for another trial
    if quotas:
        limits[QUOTA] = min(quotas)
    for variable in SLURM_VARIABLES:
        value = environ.get(variable, "")
        if value.isascii() and value.isdigit() and int(value) >= 1:
            limits[variable] = int(value)
    return limits


def limit_threads() -> None:
    """Limit the threads of the numerical libraries in this process to the usable cores.

    The libraries know the CPU affinity, but no quota and no Slurm. A number that the user has set stays.
    """
    n_usable = usable_cores()
    if n_usable >= _affinity() or THREAD_VARIABLES[0] in os.environ:
        return
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, str(n_usable))
    if "torch" in sys.modules:  # it has read the variables already
        sys.modules["torch"].set_num_threads(n_usable)


def set_threads(n_threads: int) -> None:
    """Set the threads of the numerical libraries in a worker, before torch is imported where possible."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(n_threads)
    import torch

    torch.set_num_threads(n_threads)


def _affinity() -> int:
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quotas, in cores, of the control groups of this process and of all their ancestors."""
    for folder in _control_groups(root):
        for read in (_quota_v2, _quota_v1):
            try:
                quota = read(folder)
            except (OSError, ValueError):  # no such file: another version, or the root group
                continue
            if quota is not None:
                yield quota


def _quota_v2(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path) -> float | None:
    quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8")) for name in ("quota", "period"))
    return None if quota < 0 else quota / period


def _control_groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups that may limit the CPU time of this process."""
    try:
        memberships, mounts = (  # any bytes may be in the path of a mount
            (root / "proc/self" / name).read_text(encoding="utf-8", errors="replace").splitlines()
            for name in ("cgroup", "mountinfo")
        )
    except OSError:  # not Linux
        return
    paths: dict[str, str] = {}
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)  # version 2 has one line, without controllers
    for line in mounts:
        mount, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        controller = {"cgroup2": "", "cgroup": "cpu"}.get(kind)
        if controller is None or controller not in paths or (controller and controller not in options.split(",")):
            continue
        inside, mounted_at = (field.encode().decode("unicode_escape") for field in mount.split(" ")[3:5])
        own = Path(paths[controller])
        # without a namespace of its own, a container sees the host's path, but only its own part of the tree
        below = own.relative_to(inside) if own.is_relative_to(inside) else Path()
        top = root / mounted_at.lstrip("/")
        yield from (top / part for part in (below, *below.parents) if ".." not in part.parts)
