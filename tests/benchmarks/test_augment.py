"""Drawing and applying changes of images batch by batch, against torchvision's transforms image by image; one core."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from trainables.augment.apply import draw_and_apply
from trainables.augment.config import Augment

COUNT, SIDE_PX, BATCH = 1024, 32, 128

CASES: dict[str, tuple[dict[str, Any], Any, float]] = {
    "RandAugment": ({"policy": {"kind": "rand_augment"}}, v2.RandAugment(), 1.5),
    "TrivialAugment": ({"policy": {"kind": "trivial_augment"}}, v2.TrivialAugmentWide(), 1.0),
    "AutoAugment": (
        {"policy": {"kind": "auto_augment", "policy": "cifar10"}},
        v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
        1.0,
    ),
    "AugMix": ({"policy": {"kind": "augmix"}}, v2.AugMix(all_ops=False), 1.0),
    "resized crop": ({"resized_crop": {}}, v2.RandomResizedCrop(SIDE_PX), 1.0),
    "color jitter": ({"color_jitter": {}}, v2.ColorJitter(0.4, 0.4, 0.4), 1.0),
}
"""A section, the transform of torchvision, and the smallest ratio of their speeds."""


@pytest.mark.parametrize("name", CASES)
def test_changes_of_a_batch_against_torchvision(name: str, compare) -> None:  # type: ignore[no-untyped-def]
    section, transform, least = CASES[name]
    augment, rng = Augment.model_validate(section), np.random.default_rng(0)
    pixels = rng.integers(256, size=(COUNT, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()

    def ours() -> None:
        for start in range(0, COUNT, BATCH):
            draw_and_apply(pixels[start : start + BATCH], augment, rng)

    def theirs() -> None:
        for image in images:
            transform(image)

    assert compare(f"{name}, per batch against torchvision per image", ours=ours, theirs=theirs, rounds=3) >= least
