"""Names of GPUs from NVIDIA's management library, whose calls are recorded by a stand-in."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from sweep.gpus import gpu_bytes, gpu_names


class NVMLError(Exception):
    pass


class Machine(SimpleNamespace):
    """A machine with three GPUs."""

    NVMLError = NVMLError

    def nvmlInit(self) -> None:
        if not self.has_driver:
            raise NVMLError("driver not loaded")

    def nvmlShutdown(self) -> None:
        self.n_shutdowns += 1

    def nvmlDeviceGetCount(self) -> int:
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        if index >= 3:
            raise NVMLError("invalid argument")
        return f"H100 number {index}"

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:
        if not name.startswith("GPU-"):
            raise NVMLError("not found")
        return f"H100 {name}"

    def nvmlDeviceGetName(self, handle: str) -> str:
        return handle

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(total=80 * 2**30)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(has_driver=True, n_shutdowns=0)
    monkeypatch.setitem(sys.modules, "pynvml", machine)  # type: ignore[misc]
    return machine


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["H100 number 0", "H100 number 1", "H100 number 2"]),
        ("2, GPU-5f", ["H100 number 2", "H100 GPU-5f"]),
        ("", []),
        ("-1", []),
        ("7", []),
    ],
)
def test_only_visible_gpus_are_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, visible: str | None, names: list[str]
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert (gpu_names(), machine.n_shutdowns) == (names, 1)
    assert gpu_bytes() == [80 * 2**30] * len(names)


def test_a_machine_without_a_driver_has_no_gpus(machine: Machine) -> None:
    machine.has_driver = False
    assert gpu_names() == []


def test_the_description_of_the_machine_does_not_load_torch() -> None:
    code = "import sys; from sweep.manifest import hardware; hardware(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
