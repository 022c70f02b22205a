"""Checks of Ray, its folder and the cores; tests/sweep/test_cli.py runs all checks."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sweep import doctor, ray_folder
from sweep.display import Display
from trainables.errors import UserError


def test_a_torch_that_cannot_be_imported_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert [doctor._torch().state, doctor._gpu().state] == [doctor.WRONG, doctor.WARNING]


def test_a_ray_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> NoReturn:
        raise UserError("Ray does not start on this machine: too slow")

    monkeypatch.setattr("sweep.engine.cluster", fails)
    check = doctor._ray()
    assert check.state == doctor.WRONG
    assert "too slow" in check.found


@pytest.mark.parametrize(
    ("warning", "state"), [("the dashboard of Ray did not start", doctor.WARNING), ("", doctor.OK)]
)
def test_a_ray_that_starts(monkeypatch: pytest.MonkeyPatch, warning: str, state: str) -> None:
    @contextlib.contextmanager
    def starts(*_: Any, display: Display, **__: Any) -> Iterator[int]:
        if warning:
            display.show_warning(warning)
        yield 2

    monkeypatch.setattr("sweep.engine.cluster", starts)
    check = doctor._ray()
    assert check.state == state
    assert re.search(r"started in \d+\.\d s", check.found)
    assert warning in check.found


def test_the_folder_for_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ray_folder, "PRIVATE_PARENTS", (str(tmp_path),))
    monkeypatch.setattr(ray_folder, "MAX_BYTES", len(str(tmp_path)) + 30)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert doctor._ray_folder() == doctor.Check("folder for Ray", doctor.OK, str(tmp_path / "ray"))
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nowhere")
    check = doctor._ray_folder()
    assert check.state == doctor.WARNING
    assert "RAY_TMPDIR=/proc/nowhere does not exist" in check.found
    monkeypatch.setattr(ray_folder, "PRIVATE_PARENTS", ("/proc",))
    assert doctor._ray_folder().state == doctor.WRONG


def test_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    check = doctor._cores()
    assert check.found.startswith("1 of 64 cores usable: ")
    assert "SLURM_CPUS_PER_TASK" in check.found


def test_a_cluster_is_asked_in_place_of_starting_a_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("_torch", "_ray", "_data"):  # slow
        monkeypatch.setattr(doctor, name, lambda *_: doctor.Check("x", doctor.OK, ""))
    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(doctor, "check_connection", lambda address, insecure: asked.append((address, insecure)))
    checks = {check.name: check for check in doctor.diagnose("digits", tmp_path, address="head:6379", insecure=True)}
    assert asked == [("head:6379", True)]
    assert checks["Ray cluster"].found.startswith("head:6379 accepts this machine, checked in 0.")

    def refuse(address: str, insecure: bool) -> NoReturn:
        raise UserError("nothing listens")

    monkeypatch.setattr(doctor, "check_connection", refuse)
    assert doctor._connection("head:1", insecure=False).state == doctor.WRONG
