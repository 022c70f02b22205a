"""A package outside the repository brings a mask, a network, a source, an axis and a rule to a sweep on two workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sweep.records.reader import read_sweep
from sweep.records.schema import MANIFEST
from tests.own_parts.package import ROOT, write_package

pytestmark = pytest.mark.ray

STUDY = {
    "question": "Do diamonds help?",
    "arms": {
        "off": {"mix": "off"},
        "diamond": {"mix": {"preset": "cutmix", "mask": {"family": "mypkg.masks:Diamond"}}},
    },
    "budget": {
        "trials": 2,
        "max_epochs": 3,
        "early_stopping": {"rule": "mypkg.rules:Patience", "patience_epochs": 1},
    },
    "base": {
        "data": {"source": "mypkg.data:Stripes", "pad_px": 0, "batch_size": 32},
        "model": {"name": "mypkg.nets:Plain", "width": 0.5},
    },
}

SCRIPT = """
from contextlib import ExitStack, nullcontext
from pathlib import Path

import sweep.engine
from search_spaces.discover import load_study
from search_spaces.extension import extended
from sweep.evaluation.evaluate import evaluate_sweep
from sweep.launch import resume_sweep, start_sweep

start_ray, running, sent = sweep.engine.cluster, [], []


def one_ray(*arguments, modules, **options):
    sent.append([str(path) for path in modules])
    if not running:
        running.append(stack.enter_context(start_ray(*arguments, modules=modules, **options)))
    return nullcontext(running[0])


if __name__ == "__main__":
    with ExitStack() as stack:
        sweep.engine.cluster = one_ray
        out = start_sweep(load_study("{study}"), out=Path("{out}"))
        resume_sweep(out, change=lambda study: extended(study, trials=1))
        evaluate_sweep(out, axes=["mypkg.axes:Brightness"], trials=["search"], settings=["brightness.added=0.3"])
    print(sent)
"""
"""Three verbs on one Ray, which takes 15 s to start; each of them must name the package to send."""


def test_own_parts_run_are_resumed_and_evaluated(tmp_path: Path) -> None:
    """The script runs in another folder than the package: workers find it only because each verb sends it to them."""
    package = write_package(tmp_path / "project")
    study, out, elsewhere = package.parent / "diamonds.yaml", tmp_path / "sweep", tmp_path / "elsewhere"
    study.write_text(yaml.safe_dump(STUDY, sort_keys=False))
    elsewhere.mkdir()
    (elsewhere / "script.py").write_text(SCRIPT.format(study=study, out=out))
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    sweep = read_sweep(out)
    assert sweep.trials.groupby("arm").size().to_dict() == {"off": 3, "diamond": 3}
    assert set(sweep.trials["status"]) <= {"completed", "stopped"}, sweep.trials["why"].tolist()
    assert set(sweep.decisions["rule"]) == {"mypkg.rules:Patience"}
    assert (sweep.measurements["status"] == "completed").all(), sweep.measurements["why"].tolist()
    assert set(sweep.evaluations["axis"]) == {"brightness"}
    recorded = json.loads((out / MANIFEST).read_text())["parts"]
    assert sorted(part["class"] for part in recorded) == [
        "mypkg.axes:Brightness",
        "mypkg.data:Stripes",
        "mypkg.masks:Diamond",
        "mypkg.nets:Plain",
        "mypkg.rules:Patience",
    ]
    sent = done.stdout.splitlines()[-1]  # the lines before show the progress
    assert sent == str([[str(package)]] * 3)
