"""Usable cores: the smallest of affinity, control groups and Slurm; no file or variable can make it fail."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from trainables import cores
from trainables.cores import core_limits, describe_cores, limit_threads, usable_cores

V2 = "31 23 0:28 {inside} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw"
V1 = "32 31 0:29 {inside} /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct"


def machine(root: Path, membership: str, mount: str, files: dict[str, str]) -> Path:
    """Write the files that describe control groups below ``root``."""
    for name, text in {"proc/self/cgroup": membership, "proc/self/mountinfo": mount, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("membership", "mount", "files", "quota"),
    [
        ("0::/job", V2.format(inside="/"), {"sys/fs/cgroup/job/cpu.max": "250000 100000"}, 2),
        ("0::/job", V2.format(inside="/"), {"sys/fs/cgroup/job/cpu.max": "50000 100000"}, 1),
        ("0::/job", V2.format(inside="/"), {"sys/fs/cgroup/job/cpu.max": "max 100000"}, None),
        ("0::/job", V2.format(inside="/"), {"sys/fs/cgroup/job/cpu.max": "no number"}, None),
        (  # an ancestor has the smallest quota
            "0::/user/job/step",
            V2.format(inside="/"),
            {
                "sys/fs/cgroup/user/cpu.max": "300000 100000",
                "sys/fs/cgroup/user/job/cpu.max": "800000 100000",
                "sys/fs/cgroup/user/job/step/cpu.max": "max 100000",
            },
            3,
        ),
        ("0::/", V2.format(inside="/"), {"sys/fs/cgroup/cpu.max": "400000 100000"}, 4),  # in its own namespace
        ("0::/../other", V2.format(inside="/"), {"sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
        (
            "4:memory:/job\n3:cpu,cpuacct:/job",
            V1.format(inside="/"),
            {"sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "150000", "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "50000"},
            3,
        ),
        (  # the host's path, but only the container's part of the tree
            "3:cpu,cpuacct:/docker/1a",
            V1.format(inside="/docker/1a"),
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            2,
        ),
        (
            "3:cpu,cpuacct:/",
            V1.format(inside="/"),
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            None,
        ),
    ],
)
def test_quotas_of_control_groups(
    tmp_path: Path, membership: str, mount: str, files: dict[str, str], quota: int | None
) -> None:
    assert core_limits(machine(tmp_path, membership, mount, files), {}).get(cores.QUOTA) == quota


def test_a_mount_with_any_bytes_in_its_path(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/", V2.format(inside="/"), {"sys/fs/cgroup/cpu.max": "400000 100000"})
    with (root / "proc/self/mountinfo").open("ab") as file:
        file.write(b"40 23 8:1 / /media/gr\xfc\xdfe rw - vfat /dev/sdb1 rw\n")
    assert core_limits(root, {})[cores.QUOTA] == 4


def test_numbers_of_slurm(tmp_path: Path) -> None:
    limits = core_limits(tmp_path, {"SLURM_CPUS_PER_TASK": "3", "SLURM_CPUS_ON_NODE": "16"})
    assert {name: limit for name, limit in limits.items() if "SLURM" in name} == {
        "SLURM_CPUS_PER_TASK": 3,
        "SLURM_CPUS_ON_NODE": 16,
    }
    for bad in ("", "0", "-2", "4(x2)", "2.5", "²"):
        assert not any("SLURM" in name for name in core_limits(tmp_path, {"SLURM_CPUS_PER_TASK": bad}))


def test_the_smallest_limit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    limits = {cores.AFFINITY: 8, cores.QUOTA: 2, "SLURM_CPUS_PER_TASK": 2}
    monkeypatch.setattr(cores, "core_limits", lambda: limits)
    assert usable_cores() == 2
    assert describe_cores() == "2 of 64 cores usable: cgroup quota, SLURM_CPUS_PER_TASK"
    monkeypatch.setattr(cores, "core_limits", lambda: {cores.AFFINITY: 64})
    assert describe_cores() == "64 of 64 cores usable"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_affinity_is_seen() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("usable", "variables"), [(2, {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}), (8, {})])
def test_libraries_are_told_what_they_cannot_see(
    monkeypatch: pytest.MonkeyPatch, usable: int, variables: dict[str, str]
) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: usable)
    monkeypatch.setattr(cores, "_affinity", lambda: 8)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for variable in cores.THREAD_VARIABLES:
        monkeypatch.setenv(variable, "")  # restored after the test
        monkeypatch.delenv(variable)
    limit_threads()
    assert {name: os.environ[name] for name in cores.THREAD_VARIABLES if name in os.environ} == variables
