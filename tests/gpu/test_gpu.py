from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.gpu import loops
from tests.gpu.__main__ import SECTIONS
from tests.gpu.context import TINY, Context
from tests.gpu.goals import goal_rows
from tests.gpu.networks import ResNet18
from tests.gpu.rows import FAIL, INFO, PASS, SKIP, Row, append_row, read_rows, write_report
from tests.gpu.sections.draws import CPU, compare_mixing
from tests.gpu.trials import describe_difference
from trainables.mixing.draw import MixDrawer
from trainables.networks.modules.torchvision_resnet import torchvision_resnet

ROOT = Path(__file__).parents[2]

ABSENT = (
    "ray pandas torchvision optuna timm scipy sklearn yaml pyarrow matplotlib sqlalchemy typer rich psutil numba pytest"
)

START = f"""
import importlib, runpy, sys
sys.modules.update(dict.fromkeys("{ABSENT}".split()))
for name in {list(SECTIONS)}:
    importlib.import_module("tests.gpu.sections." + name)
sys.argv[0] = "tests.gpu"
runpy.run_module("tests.gpu", run_name="__main__", alter_sys=True)
"""
"""Starts the command where some libraries cannot be imported."""

PARTS = (
    r"eager: off$|cutmix, eager then|on a GPU: cutmix$|of an epoch: off|alone|state|tiny, (eager|bound).* batch 16"
    r"|cutmix, \d+ epochs"
)
"""A part of each section that starts no process."""


def test_sections_run_on_a_cpu(tmp_path: Path) -> None:
    for name in SECTIONS:
        if name not in ("packing", "probe"):
            context = new_context(tmp_path, section=name, left_s=3600, only=PARTS)
            importlib.import_module(f"tests.gpu.sections.{name}").run(context)
            assert context.rows, name
            assert not [row for row in context.rows if row.verdict == FAIL]


def test_a_run_that_is_cut_off_has_written_its_rows_and_ends_its_processes(tmp_path: Path) -> None:
    """It runs without Ray, pandas, torchvision and optuna."""
    parts = ["--sections", "draws,packing", "--only", "GPU draws: cutmix|tiny", "--budget", "3600"]
    command = [sys.executable, "-c", START, "--tiny", "--out", str(tmp_path), *parts]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    until_s = time.monotonic() + 600
    while not _rows_of(tmp_path, "packing") and process.poll() is None and time.monotonic() < until_s:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    draws = {row.name: row for row in _rows_of(tmp_path, "draws")}
    assert draws["CPU draws = GPU draws: cutmix"].verdict == PASS
    assert draws["CPU draws = GPU draws: cutmix_center_gaussian"].remark == "needs scipy"
    assert _rows_of(tmp_path, "packing")[0].name == "tiny, 1 at once, time slices"
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["machine"]["torch"] == torch.__version__
    assert len(content["rows"]) >= len(draws)
    assert not _running(str(tmp_path))


def _rows_of(folder: Path, section: str) -> list[Row]:
    return [row for row in read_rows(folder / "rows.jsonl") if row.section == section]


def _running(text: str) -> list[str]:
    """Return the processes that have a text in their command line."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(path.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [line for line in commands if text in line]


def new_context(folder: Path, *, section: str = "steps", left_s: float = 60.0, only: str = "") -> Context:
    now_s = time.time()
    return Context(section, scale=TINY, out=folder, started_s=now_s, until_s=now_s + left_s, device="cpu", only=only)


def test_a_part_that_cannot_run_does_not_end_the_section(tmp_path: Path) -> None:
    context = new_context(tmp_path, only="^(one|two|three)$")

    def raise_error() -> None:
        raise RuntimeError("CUDA error: an illegal memory access")

    def import_missing() -> None:
        raise ModuleNotFoundError("No module named 'timm'", name="timm")

    context.part("one", raise_error)
    context.part("two", import_missing)
    context.part("three", context.need_gpu)
    context.part("four", raise_error)
    new_context(tmp_path, left_s=1.0).part("late", raise_error, needs_s=2.0)
    rows = read_rows(tmp_path / "rows.jsonl")
    assert [(row.name, row.verdict) for row in rows] == [("one", FAIL), ("two", SKIP), ("three", SKIP), ("late", SKIP)]
    assert "illegal memory access" in rows[0].remark
    assert "test_gpu.py" in rows[0].remark
    assert [row.remark for row in rows[1:3]] == ["needs timm", "needs a GPU"]
    assert rows[3].remark.startswith("no time")


def test_rows_survive_a_line_that_was_cut_off(tmp_path: Path) -> None:
    row = Row("speed", "tiny | eager", FAIL, 1234.5, "images/s")
    append_row(tmp_path / "rows.jsonl", Row("steps", "one", PASS))
    append_row(tmp_path / "rows.jsonl", row)
    with (tmp_path / "rows.jsonl").open("a") as lines:
        lines.write('{"section": "st\n{"section": "st')
    rows = read_rows(tmp_path / "rows.jsonl")
    assert rows[1] == row
    write_report(tmp_path, {"device": "H100"}, rows)
    lines = (tmp_path / "results.md").read_text().splitlines()
    assert "1 passed, 1 failed, 0 not run" in "\n".join(lines)
    assert lines[-2:] == ["| speed | tiny / eager | FAIL | 1,234 images/s |  |", "| steps | one | PASS |  |  |"]


SPEEDS = {
    "resnet18, auto, batch 128": 50_000,
    "resnet18, eager, batch 128": 30_000,
    "resnet18, plain loop with the authors' CutMix, batch 128": 25_000,
    "resnet18, bound in the manner of airbench, batch 1024": 100_000,
    "resnet18, 4 at once, MPS": 60_000,
    "tiny, 1 at once, time slices": 100_000,
    "tiny, 8 at once, MPS": 400_000,
}


def test_goals_have_verdicts_on_a_gpu() -> None:
    rows = [Row("speed", name, INFO, speed, "images/s") for name, speed in SPEEDS.items()]
    goals = {row.name: row for row in goal_rows(rows, "NVIDIA H100 80GB HBM3", at_s=0)}
    verdicts = [(row.verdict, row.value) for row in list(goals.values())[:3]]
    assert verdicts == [(PASS, 60_000), (PASS, pytest.approx(5 / 3)), (FAIL, 4.0)]
    assert goals["resnet18: product / plain loop"].value == 2.0
    assert goals["tiny: several trials / one trial, MPS"].value == 4.0
    assert [row.verdict for row in goal_rows(rows, "NVIDIA A100", at_s=0)][:3] == [INFO, PASS, FAIL]
    assert [row.verdict for row in goal_rows(rows, "cpu", at_s=0)][:3] == [INFO] * 3
    assert [row.verdict for row in goal_rows([], "NVIDIA H100", at_s=0)] == [SKIP] * 3


def test_the_network_is_the_products_resnet18() -> None:
    options = {"n_classes": 10, "side_px": 32, "width": 0.125}
    own, product = ResNet18().build(**options), torchvision_resnet(depth=18, **options)
    own.load_state_dict(product.state_dict())
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(own(images), product(images))


def test_draws_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compare_mixing("mixup", CPU) == ""
    plan = MixDrawer.plan
    monkeypatch.setattr(
        MixDrawer, "plan", lambda self, batch, t: plan(self, batch, t) | {"applied": np.zeros(len(batch.labels), bool)}
    )
    assert "differences, for example [0].lam: 24 values" in compare_mixing("mixup", CPU)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ({"a": [torch.ones(2), 1.0]}, {"a": [torch.ones(2), 1.0]}, ""),
        ({"a": float("nan"), "seconds": 1.0}, {"a": float("nan"), "seconds": 2.0}, ""),
        ({"a": torch.tensor([1.0, float("nan")])}, {"a": torch.tensor([1.0, float("nan")])}, ""),
        ({"a": torch.ones(2)}, {"a": torch.tensor([1.0, 1.5])}, "a: 1 values by up to 5.00e-01"),
        ({"a": torch.ones(2)}, {"a": torch.ones(2).double()}, "a: torch.float32"),
        ({"a": [1, 2]}, {"a": [1]}, "a: 2 and 1 values"),
        ({"a": 1}, {"b": 1}, "names ['a', 'b']"),
        ({"a": np.arange(2)}, {"a": np.arange(1, 3)}, "a: [0 1] and [1 2]"),
    ],
)
def test_differences(first: object, second: object, found: str) -> None:
    message = describe_difference(first, second)
    assert found in message
    assert bool(message) == bool(found)


def test_mixers_mix_images_as_their_targets_say() -> None:
    images = torch.eye(8)[:, :, None, None].expand(8, 8, 32, 32).clone()  # channel k is 1 in image k
    for build in loops.MIXERS.values():
        mixer = build()
        for _ in range(8):
            mixed, targets = mixer(images.clone(), torch.arange(8))
            torch.testing.assert_close(mixed.mean((2, 3)), targets[:, :8].float(), atol=1e-6, rtol=0)


def test_every_section_is_a_file() -> None:
    files = {path.stem for path in (ROOT / "tests/gpu/sections").glob("*.py")}
    assert files == set(SECTIONS)
