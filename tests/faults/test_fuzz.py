"""Bad inputs of every kind end in one short message, or are harmless; ``python -m tests.faults.fuzz`` tries more."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.fuzz import KINDS, outcome_of
from tests.faults.inputs.base import REFUSED, Input, Supplies
from tests.faults.inputs.photos import write_photos
from tests.faults.inputs.process import MEMORY_MB, Ran
from tests.faults.inputs.sweeps import write_sweeps

ROOT = Path(__file__).parents[2]


def test_a_sample_of_all_kinds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.fuzz", "--inputs", "12", "--seed", "7", "--work", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n0 faults in 12 inputs" in done.stdout


@pytest.fixture(scope="module")
def supplies(tmp_path_factory: pytest.TempPathFactory) -> Supplies:
    folder = tmp_path_factory.mktemp("supplies")
    write_photos(folder / "photos")
    (folder / "full").mkdir()
    return Supplies(write_sweeps(folder / "sweeps"), folder / "photos", folder / "full", folder / "trap")


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_depends_on_its_seed_alone(kind: str, supplies: Supplies, tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        folder = tmp_path / "here"
        folder.mkdir()
        given = KINDS[kind][0](folder, random.Random("7"), 3, supplies)
        made.append((given, {path: path.is_file() and path.read_bytes() for path in folder.rglob("*.[yp][an][mg]*")}))
        folder.rename(tmp_path / f"{len(made)}")
    assert made[0] == made[1]


def ran(exit_code: int | None = 2, stderr: str = "error: no", memory_mb: float = 1.0) -> Ran:
    return Ran(exit_code, "", stderr, cpu_s=0.1, wall_s=0.1, memory_mb=memory_mb)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (ran(), REFUSED),
        (ran(0, ""), "WRONGLY ACCEPTED"),
        (ran(1), "EXIT 1"),
        (ran(-11), "EXIT -11"),
        (ran(None), "TOO SLOW"),
        (ran(stderr=""), "NO MESSAGE"),
        (ran(stderr="x" * 4_001), "LONG MESSAGE"),
        (ran(stderr="Traceback (most recent call last):\n"), "TRACEBACK"),
        (ran(stderr="MemoryError"), "TOO MUCH MEMORY"),
        (ran(memory_mb=MEMORY_MB + 1), "TOO MUCH MEMORY"),
    ],
)
def test_faults_are_seen(how: Ran, expected: str, supplies: Supplies) -> None:
    given = Input(["run"], "a label", REFUSED)
    outcome = outcome_of(given, how, supplies, written=[])
    assert outcome == expected


def test_code_and_files_elsewhere_are_seen(supplies: Supplies) -> None:
    assert outcome_of(Input(["run"], "a label"), ran(), supplies, written=["/x"]) == "WROTE OUTSIDE"
    assert outcome_of(Input(["run"], "a label", may_write=True), ran(), supplies, written=["/x"]) == REFUSED
    supplies.trap.touch()
    assert outcome_of(Input(["run"], "a label"), ran(), supplies, written=[]) == "RAN CODE"
    supplies.trap.unlink()
