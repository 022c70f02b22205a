"""A small trained model on planted images, for every axis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData
from trainables.evaluation.subject import Subject
from trainables.models.saved import SavedModel, model_state, read_model
from trainables.trial import Trial

SIDE_PX, N_CLASSES = 16, 3


def planted(count: int, *, seed: int, side_px: int = SIDE_PX) -> ImageSet:
    """Images whose class is the colour of a bright square on grey noise; its place is the box."""
    rng = np.random.default_rng(seed)
    images = rng.integers(90, 120, size=(count, side_px, side_px, 3), dtype=np.uint8)
    labels = np.arange(count) % N_CLASSES
    half = side_px // 2
    y0, x0 = rng.integers(0, half + 1, size=(2, count))
    boxes = np.stack([y0, x0, y0 + half, x0 + half], axis=1).astype(np.int32)
    for index in range(count):
        images[index, y0[index] : y0[index] + half, x0[index] : x0[index] + half, labels[index]] = 230
    mean, std = np.full(3, 0.45, np.float32), np.full(3, 0.15, np.float32)
    return ImageSet(images, labels.astype(np.int64), ("red", "green", "blue"), boxes, mean, std)


def data_of(images: ImageSet, *, n_val: int) -> TrialData:
    rows = np.arange(len(images))
    padded = np.pad(images.images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return TrialData(images, padded, rows[n_val:], rows[:n_val], False)


def given(subject: Subject, *, test: ImageSet, data: TrialData) -> Subject:
    """Put images in the place of those that would be read."""
    subject.__dict__.update(test=test, data=data)
    return subject


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of a small network that has learnt the planted images."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = TrialConfig.model_validate(
        {
            "data": {"batch_size": 16, "pad_px": 1, "flip": False},
            "model": {"name": "tiny", "width": 0.5, "precision": "fp32"},
            "optimizer": {"max_epochs": 6, "lr": 0.1, "ema_decay": 0.5},
        }
    )
    trial = Trial(config, data_of(planted(150, seed=1), n_val=30))
    while not trial.done:
        trial.run_epoch()
    path = tmp_path_factory.mktemp("models") / "trial.pt"
    torch.save(model_state(trial), path)
    torch.set_num_threads(threads)
    return path


@pytest.fixture
def subject(trained: Path) -> Subject:
    """That network with its images: 150 to train and validate on, 60 to test on."""
    return measurable(trained)


def measurable(trained: Path) -> Subject:
    errors = [0.5, 0.3, 0.2, 0.1, 0.2, 0.15]
    subject = Subject(
        read_model(trained),
        record={"seconds": 2.0, "images_per_s": 500.0, "epochs": 6, "n_train": 120},
        curve={"epoch": [1, 2, 3, 4, 5, 6], "val_top1_error": errors},
    )
    return given(subject, test=planted(60, seed=2), data=data_of(planted(150, seed=1), n_val=30))


@pytest.fixture
def answering(trained: Path) -> Callable[..., Subject]:
    """Make a subject whose model answers as told: ``answering(function, test=images)``.

    The function takes images in [0, 1], float32 [B, 3, H, W], to logits, float32 [B, C].
    """

    def make(function: Callable[[Tensor], Tensor], *, test: ImageSet, data: TrialData | None = None) -> Subject:
        saved = read_model(trained)
        model = nn.Sequential(saved.model[0], saved.model[1]).eval()
        model.forward = function  # type: ignore[method-assign]
        fake: dict[str, Any] = {"model": model, "last": model, "classes": test.classes}
        other = SavedModel(**{**{name: getattr(saved, name) for name in ("config", "height_px", "width_px")}, **fake})
        return given(Subject(other), test=test, data=data or data_of(test, n_val=len(test) // 2))

    return make
