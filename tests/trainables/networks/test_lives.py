"""A short life of one small network of each kind: trained, saved, resumed, exported, localised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainables.evaluation.conftest import data_of, planted
from trainables.config import TrialConfig
from trainables.data.prepared import TrialData
from trainables.evaluation.score_maps import class_maps
from trainables.evaluation.subject import Subject
from trainables.models.exported import export_model
from trainables.models.saved import as_pixels, model_state, read_model
from trainables.saved_state import write_state
from trainables.trial import Trial

ADAMW = {"name": "adamw", "lr": 0.001, "weight_decay": 0.05}

LIVES: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "pyramidnet8_a12": (16, {"shakedrop": {}}, {"ema_decay": 0.5}),
    "wrn10_1": (16, {"stochastic_depth": {}}, {}),
    "resnext11_4x4d": (16, {"width": 0.25, "stochastic_depth": {"granularity": "sample"}}, {}),
    "resnext50_32x4d": (8, {"width": 0.0625, "shakedrop": {}}, {}),
    "timm:test_resnet": (128, {}, {}),
    "timm:test_convnext": (128, {"stochastic_depth": {"survival_prob": 0.9}}, ADAMW | {"ema_decay": 0.5}),
}
"""Side of the images, options of the model and the optimiser, by name."""

EXPORTED = ("pyramidnet8_a12", "timm:test_convnext")
"""Networks that are exported: slow, and the parts of a program are the same for the others."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trial_of(name: str) -> tuple[Trial, TrialData]:
    side_px, model, optimizer = LIVES[name]
    values = {
        "data": {"batch_size": 3, "pad_px": 1, "flip": False},
        "model": {"name": name, "precision": "fp32", **model},
        "optimizer": {"max_epochs": 2, "lr": 0.01, **optimizer},
        "mix": {"preset": "cutmix", "layer": [0, 1, 3]},
    }
    data = data_of(planted(8, seed=1, side_px=side_px), n_val=3)  # a batch of 3, and one of 2
    return Trial(TrialConfig.model_validate(values), data), data


@pytest.mark.parametrize("name", LIVES)
def test_a_network_trains_resumes_exports_and_localises(name: str, tmp_path: Path) -> None:
    trial, data = trial_of(name)
    before = torch.get_rng_state()
    trial.run_epoch()
    resumed, _ = trial_of(name)
    resumed.load_state_dict(trial.state_dict())
    for each in (trial, resumed):
        result = each.run_epoch()
        assert np.isfinite([result.train_loss, result.val_nll]).all()
    assert torch.equal(torch.get_rng_state(), before)
    for key, value in trial.weights().items():
        assert torch.equal(value, resumed.weights()[key]), key

    write_state(tmp_path / "trial.pt", model_state(trial))
    saved = read_model(tmp_path / "trial.pt")
    pixels, labels = as_pixels(data.images.images[:3], torch.device("cpu")), data.images.labels[:3].tolist()
    with torch.inference_mode():
        logits = saved.model(pixels)
        if name in EXPORTED:
            export_model(saved, tmp_path / "trial.pt2", "program")
            program = torch.export.load(tmp_path / "trial.pt2").module()
            torch.testing.assert_close(program(pixels), logits, rtol=1e-4, atol=1e-5)

    maps = class_maps(Subject(saved), data.images, np.arange(3), method="cam")
    assert maps.ndim == 3
    assert min(maps.shape[1:]) >= 4
    assert maps.std() > 0
    bias = saved.net.classifier.bias[labels]
    torch.testing.assert_close(maps.mean(dim=(1, 2)) + bias, logits[range(3), labels], rtol=1e-3, atol=1e-4)
