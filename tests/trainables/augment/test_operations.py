"""Each operation on each device against torchvision, applied to one image after another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from trainables.augment.operations import AFFINE, CODES, OPERATIONS, matrices
from trainables.augment.rendering import Change, changed
from trainables.device_paths import tensor_operations

COUNT, HEIGHT, WIDTH = 12, 24, 37

LARGEST = {"shear": 0.99, "translate": 20.0, "rotate": 170.0, "hue": 0.5}
EXACT = {"identity", "brightness", "contrast", "posterize", "solarize", "auto_contrast", "equalize", "invert", *AFFINE}
"""Operations that give whole numbers by whole numbers, or by one product: the others may differ by one grey level."""


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Noise, noise of low contrast, a smooth image, and constant images or channels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[:4] = pixels[:4] // 3 + 60
    pixels[4] = np.arange(WIDTH)[:, None] * 6 + np.arange(3) * 11
    pixels[5], pixels[6, :, :, 1], pixels[7] = 77, 9, 255
    return torch.from_numpy(pixels)


def change_of(name: str, rng: np.random.Generator) -> Change:
    largest = next((value for part, value in LARGEST.items() if name.startswith(part)), 0.99)
    amounts = rng.uniform(-largest, largest, COUNT)
    if name.startswith("translate"):
        amounts = np.trunc(amounts)
    elif name == "posterize":
        amounts = np.arange(COUNT) % 9
    elif name == "solarize":
        amounts = np.linspace(0, 1, COUNT)
    codes, amounts = np.full(COUNT, CODES[name], np.uint8), amounts.astype(np.float32)
    moved = matrices(codes, amounts, height_px=HEIGHT, width_px=WIDTH)
    return Change(*map(torch.from_numpy, (codes, amounts, moved)))


def of_torchvision(name: str, images: Tensor, amounts: Tensor, interpolation: str) -> Tensor:
    """Return what torchvision's policies compute for an amount: uint8 [B, H, W, 3]."""
    policy = v2.RandAugment(interpolation=v2.InterpolationMode(interpolation))
    title = "".join(part.title() for part in name.split("_"))
    results = []
    for image, amount in zip(images.permute(0, 3, 1, 2), amounts.tolist(), strict=True):
        if name == "hue":
            results.append(F.adjust_hue(image, amount))
        else:
            fill = {torch.Tensor: None}
            results.append(
                policy._apply_image_or_video_transform(image, title, amount, policy.interpolation, fill)  # type: ignore[arg-type]
            )
    return torch.stack(results).permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("name", "interpolation"),
    [(name, "nearest") for name in OPERATIONS] + [(name, "bilinear") for name in AFFINE],
)
def test_an_operation_equals_that_of_torchvision(name: str, interpolation: str, images: Tensor) -> None:
    change = change_of(name, np.random.default_rng(1))
    ours = changed(images, change, among=OPERATIONS, interpolation=interpolation)
    theirs = of_torchvision(name, images, change.amounts, interpolation)
    difference = (ours.int() - theirs.int()).abs()
    assert difference.max() <= (0 if name in EXACT and interpolation == "nearest" else 1)
    assert difference.float().mean() < 1e-3
    assert name == "identity" or (ours != images).any()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_a_device_gives_the_bits_of_the_cpu(interpolation: str, images: Tensor) -> None:
    rng = np.random.default_rng(2)
    codes = rng.permutation(np.arange(COUNT) % len(OPERATIONS)).astype(np.uint8)
    amounts = rng.uniform(-0.4, 0.4, COUNT).astype(np.float32)
    moved = matrices(codes, amounts, height_px=HEIGHT, width_px=WIDTH)
    change = Change(*map(torch.from_numpy, (codes, amounts, moved)))
    before = images.clone()
    by_rows = changed(images, change, among=OPERATIONS, interpolation=interpolation, fill=128)
    with tensor_operations():
        everywhere = changed(images, change, among=OPERATIONS, interpolation=interpolation, fill=128)
    assert torch.equal(by_rows, everywhere)
    assert torch.equal(images, before)


def test_pixels_from_outside_have_the_grey_level_of_fill(images: Tensor) -> None:
    codes, amounts = np.full(COUNT, CODES["translate_x"], np.uint8), np.full(COUNT, 5, np.float32)
    moved = matrices(codes, amounts, height_px=HEIGHT, width_px=WIDTH)
    change = Change(*map(torch.from_numpy, (codes, amounts, moved)))
    for interpolation in ("nearest", "bilinear"):
        result = changed(images, change, among=["translate_x"], interpolation=interpolation, fill=99)
        assert (result[:, :, :5] == 99).all()
        assert torch.equal(result[:, :, 5:], images[:, :, :-5])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (3, 3)])
def test_images_of_any_size_are_changed(height: int, width: int) -> None:
    rng = np.random.default_rng(3)
    tiny = torch.from_numpy(rng.integers(256, size=(len(OPERATIONS), height, width, 3), dtype=np.uint8))
    codes, amounts = np.arange(len(OPERATIONS), dtype=np.uint8), np.full(len(OPERATIONS), 0.5, np.float32)
    moved = matrices(codes, amounts, height_px=height, width_px=width)
    change = Change(*map(torch.from_numpy, (codes, amounts, moved)))
    result = changed(tiny, change, among=OPERATIONS)
    assert result.shape == tiny.shape
    blur = CODES["sharpness"]
    assert torch.equal(result[blur], tiny[blur]) == (min(height, width) < 3)
