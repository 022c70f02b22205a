from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from search_spaces.discover import load_study
from sweep.endings import Interrupted
from sweep.launch import prepare, resume_sweep
from sweep.manifest import new_manifest
from sweep.records.writer import write_manifest
from trainables.errors import UserError


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            for number in range(4):
                pixels = rng.integers(256, size=(16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "images"


def test_changed_images_are_noticed_on_resume(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "question": "Does it matter?",
                "arms": {"off": {"mix": "off"}},
                "budget": {"trials": 1, "max_epochs": 1},
                "base": {"data": {"source": f"imagefolder:{images}"}},
            }
        )
    )
    study = load_study(str(path))
    sweep_dir = tmp_path / "sweep"
    sweep_dir.mkdir()
    fingerprints = prepare(study, address=None, download=False)
    write_manifest(sweep_dir, new_manifest(study, sweep_dir, "", fingerprints))
    os.utime(images / "train" / "cat" / "0.png", (1, 1))
    with pytest.raises(UserError, match="differ from the images that"):
        resume_sweep(sweep_dir)
    assert not list((sweep_dir / "records").rglob("*.parquet"))


def test_the_command_to_resume_can_be_pasted_into_a_shell() -> None:
    message = str(Interrupted(Path("/a b/sweep"), "auto", 3, 8))
    assert message == ("interrupted after 3 of 8 trials; resume with: cutmix-sweep resume '/a b/sweep' --address auto")
