"""The product's own measurement of how many trials run best at the same time."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from PIL import Image

from search_spaces.study import Study
from sweep.probe import probe
from tests.gpu.context import Context
from tests.gpu.trials import SIDE_PX


def run(context: Context) -> None:
    """Probe a study with one arm on ``tiny``."""
    title = "trials per GPU that the product proposes for tiny"
    context.part(title, partial(_probe, context, title), needs_s=20 if context.on_gpu else 0)


def _probe(context: Context, title: str) -> None:
    with tempfile.TemporaryDirectory(dir=context.out) as folder:
        _write_images(Path(folder))
        study = Study.model_validate(
            {
                "name": "probe",
                "question": "How many trials run best at the same time?",
                "why_open": "It depends on the GPU.",
                "arms": {"cutmix": {"mix": "cutmix"}},
                "base": {"model": {"name": "tiny"}, "data": {"source": f"imagefolder:{folder}"}},
                "budget": {"trials": 1, "max_epochs": 2},
                "resources": {"gpus": 1 if context.on_gpu else 0},
            }
        )
        result = probe(study, counts=context.scale.counts, seconds=context.scale.window_s)
    for row in result.rows:
        context.info(f"tiny, probe of {row.n_trials}", row.images_per_s, "images/s with validation", row.why_not)
    context.check(title, result.trials_per_gpu in context.scale.counts, result.trials_per_gpu, "trials")


def _write_images(folder: Path) -> None:
    """Write a few images; the probe reads their number and size alone."""
    for split, count in (("train", 40), ("test", 4)):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (SIDE_PX, SIDE_PX)).save(folder / split / name / f"{number}.png")
