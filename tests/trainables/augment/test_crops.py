"""Windows: their law, their pixels, and the boxes of objects in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from trainables.augment.apply import augmented
from trainables.augment.config import Augment, ResizedCrop
from trainables.augment.crops import draw_windows
from trainables.augment.sampling import resized_windows
from trainables.data.batches import TrainBatches

DRAWS = 2000
LEAST_P = 1e-3


def windows_of_torchvision(height: int, width: int, spec: ResizedCrop) -> np.ndarray:
    crop = v2.RandomResizedCrop(8, scale=spec.area_frac, ratio=spec.aspect)
    image = torch.zeros(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [crop.make_params([image]) for _ in range(DRAWS)]
    return np.array([[each[name] for name in ("top", "left", "height", "width")] for each in drawn])


@pytest.mark.parametrize(
    ("height", "width", "spec"),
    [
        (32, 32, ResizedCrop()),
        (37, 90, ResizedCrop(area_frac=(0.3, 1.0), aspect=(0.5, 2.0))),
        (60, 10, ResizedCrop(area_frac=(0.5, 1.0))),  # most windows do not fit
    ],
)
def test_windows_have_the_law_of_torchvision(height: int, width: int, spec: ResizedCrop) -> None:
    ours = draw_windows(np.full(DRAWS, height), np.full(DRAWS, width), spec, np.random.default_rng(0))
    theirs = windows_of_torchvision(height, width, spec)
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > LEAST_P
    fits = ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]
    assert stats.ks_2samp(*fits).pvalue > LEAST_P
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= [height, width]).all()


def test_each_image_has_windows_of_its_own_size() -> None:
    heights, widths = np.array([8, 500, 8] * 50), np.array([300, 9, 8] * 50)
    windows = draw_windows(heights, widths, ResizedCrop(), np.random.default_rng(1))
    assert (windows[:, 0] + windows[:, 2] <= heights).all()
    assert (windows[:, 1] + windows[:, 3] <= widths).all()
    assert (windows[:, 2:] > 0).all()
    central = draw_windows(np.array([300]), np.array([9]), ResizedCrop(area_frac=(1, 1)), np.random.default_rng(1))
    assert central.tolist() == [[144, 0, 12, 9]]  # aspect 3/4, in the centre


@pytest.mark.parametrize("size", [(24, 37), (30, 64), (7, 9)])
def test_a_resized_window_equals_that_of_torchvision(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    images = torch.from_numpy(rng.integers(256, size=(16, 24, 37, 3), dtype=np.uint8))
    spec = ResizedCrop(area_frac=(0.02, 1.0))
    windows = torch.from_numpy(draw_windows(np.full(16, 24), np.full(16, 37), spec, rng))
    ours = resized_windows(images, windows, height_px=size[0], width_px=size[1])
    theirs = torch.stack(
        [
            F.resized_crop(image, *window.tolist(), size=list(size), antialias=True)
            for image, window in zip(images.permute(0, 3, 1, 2), windows, strict=True)
        ]
    ).permute(0, 2, 3, 1)
    assert (ours.int() - theirs.int()).abs().max() <= 1  # torchvision rounds after each side
    whole = torch.tensor([[0, 0, 24, 37]]).expand(16, 4)
    assert torch.equal(resized_windows(images, whole, height_px=24, width_px=37), images)


def test_boxes_follow_crop_resize_and_flip() -> None:
    """A white object on black: its box contains all of its bright pixels, and little else."""
    rng, count, side = np.random.default_rng(3), 60, 32
    corners = np.sort(rng.integers(0, side + 1, size=(2, count, 2)), axis=0)
    boxes = np.concatenate([corners[0], np.maximum(corners[1], corners[0] + 3).clip(max=side)], axis=1)
    images = np.zeros((count, side, side, 3), np.uint8)
    for image, (y0, x0, y1, x1) in zip(images, boxes, strict=True):
        image[y0:y1, x0:x1] = 255
    augment = Augment.model_validate({"resized_crop": {"area_frac": [0.2, 1.0]}})
    batches = TrainBatches(
        np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0))),
        np.zeros(count, np.int64),
        np.arange(count),
        pad_px=4,
        batch_size=count,
        flip=True,
        device=torch.device("cpu"),
        boxes=boxes.astype(np.int32),
        augment=augment,
    )
    (batch,) = batches.epoch(order_rng=rng, augment_rng=rng)
    arrays = {name: torch.from_numpy(values) for name, values in batch.changes.items()}
    pixels = augmented(batch.images, arrays, augment)[..., 0].numpy() > 127
    assert batch.boxes is not None
    n_cut = 0
    for shown, (y0, x0, y1, x1) in zip(pixels, batch.boxes.tolist(), strict=True):
        outside = shown.copy()
        outside[y0:y1, x0:x1] = False
        assert not outside.any()
        assert shown[y0:y1, x0:x1].sum() >= max(0, y1 - y0 - 2) * max(0, x1 - x0 - 2)
        n_cut += (y1 - y0) * (x1 - x0) == 0
    assert 0 < n_cut < count
