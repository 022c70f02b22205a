from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainables.mixing.batch_view import BatchView
from trainables.mixing.canvas import Canvas
from trainables.mixing.masks import superpixel
from trainables.mixing.masks.superpixel import Superpixel, _patches
from trainables.mixing.position import WholePosition

SEEDS = st.integers(0, 2**32)


def noise(count: int, height: int, width: int, channels: int = 3) -> torch.Tensor:
    numbers = np.random.default_rng(0).standard_normal((count, channels, height, width), dtype=np.float32)
    return torch.from_numpy(numbers)


def draw(
    images: torch.Tensor,
    fractions: np.ndarray,
    mask: Superpixel | None = None,
    *,
    partner: np.ndarray | None = None,
    seed: int = 0,
) -> torch.Tensor:
    """Return masks, bool [B, H, W]."""
    count, channels, height, width = images.shape
    canvas = Canvas(
        height_px=height,
        width_px=width,
        position=WholePosition(),
        rng=np.random.default_rng(seed),
        device=torch.device("cpu"),
        batch=BatchView((count, channels, height, width), np.zeros(count, dtype=np.int64), images),
        partner=np.arange(count) if partner is None else partner,
    )
    return (mask or Superpixel()).draw(fractions, canvas)[:, 0]


@pytest.mark.parametrize(("height", "width", "cells"), [(16, 16, 4), (10, 21, 3), (3, 9, 4), (5, 5, 1)])
def test_pixels_go_to_the_seed_with_the_least_distance(height: int, width: int, cells: int) -> None:
    images, compactness = noise(2, height, width), 1.3
    rows, columns = min(cells, height), min(cells, width)
    label = _patches(images, (rows, columns), compactness)
    colours = torch.nn.functional.adaptive_avg_pool2d(images, (rows, columns))
    for sample in range(2):
        for y in range(height):
            for x in range(width):
                squares, certain = {}, []
                for row in range(rows):
                    for column in range(columns):
                        down = (y + 0.5) * rows / height - (row + 0.5)
                        across = (x + 0.5) * columns / width - (column + 0.5)
                        if max(abs(down), abs(across)) > 1 + 1e-6:
                            continue
                        in_colour = (images[sample, :, y, x] - colours[sample, :, row, column]).square().sum().item()
                        squares[row * columns + column] = in_colour + compactness**2 * (down**2 + across**2)
                        if max(abs(down), abs(across)) < 1 - 1e-6:  # at one step exactly either will do
                            certain.append(squares[row * columns + column])
                assert squares[int(label[sample, y, x])] <= min(certain) + 1e-4  # of equals either will do


def test_without_content_patches_are_the_grid() -> None:
    label = _patches(torch.zeros(1, 3, 12, 20), (3, 4), 1.0)[0]
    expected = torch.arange(12).view(3, 4).repeat_interleave(4, dim=0).repeat_interleave(5, dim=1)
    assert torch.equal(label, expected)


def test_borders_run_along_contours() -> None:
    """Two flat halves with a contour away from the grid's borders: no patch reaches across it."""
    images = torch.zeros(1, 3, 32, 32)
    images[:, :, :, 19:] = 3.0
    label = _patches(images, (4, 4), 0.7)[0]
    left, right = label[:, :19].unique(), label[:, 19:].unique()
    assert not set(left.tolist()) & set(right.tolist())
    squares = _patches(images, (4, 4), 1e3)[0]  # so heavy a weight of space leaves squares
    assert set(squares[:, :19].unique().tolist()) & set(squares[:, 19:].unique().tolist())


def test_the_partners_content_is_followed_each_samples_own() -> None:
    images = torch.zeros(2, 3, 32, 32)
    images[0, :, :, 19:] = 3.0
    images[1, :, 13:, :] = 3.0
    across, down = [], []
    for seed in range(40):
        mask = draw(images, np.full(2, 0.5), Superpixel(compactness=0.5), partner=np.array([1, 0]), seed=seed)
        down.append(mask[0, 12] != mask[0, 13])
        across.append(mask[1, :, 18] != mask[1, :, 19])
    assert torch.stack(down).float().mean() > 0.3
    assert torch.stack(across).float().mean() > 0.3


def test_a_sample_does_not_depend_on_its_batch() -> None:
    images = noise(9, 24, 20)
    together = _patches(images, (4, 4), 1.0)
    for sample in range(9):
        assert torch.equal(_patches(images[sample : sample + 1], (4, 4), 1.0)[0], together[sample])


def test_what_is_taken_apart_at_once_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    images, fractions = noise(9, 24, 20), np.linspace(0, 1, 9)
    whole = draw(images, fractions)
    monkeypatch.setattr(superpixel, "CACHED", 2 * 24 * 20)
    assert torch.equal(draw(images, fractions), whole)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_layout_and_number_of_channels(layout: torch.memory_format, channels: int) -> None:
    images = noise(4, 12, 20, channels)
    moved = images.contiguous(memory_format=layout)
    assert torch.equal(draw(moved, np.full(4, 0.4)), draw(images, np.full(4, 0.4)))


@given(fraction=st.floats(0, 1), sides=st.sampled_from([(1, 1), (9, 31), (40, 8), (16, 16)]), seed=SEEDS)
def test_whole_patches_up_to_the_wanted_area(fraction: float, sides: tuple[int, int], seed: int) -> None:
    images = noise(6, *sides)
    label = _patches(images, (min(4, sides[0]), min(4, sides[1])), Superpixel().compactness)
    masks = draw(images, np.full(6, fraction), seed=seed)
    for mask, patches in zip(masks, label, strict=True):
        assert not set(patches[mask].tolist()) & set(patches[~mask].tolist())
        largest = int(patches.flatten().bincount().max())
        assert abs(int(mask.sum()) - fraction * mask.numel()) <= largest


@pytest.mark.parametrize("fraction", [0.02, 0.35, 0.8])
def test_mean_area_is_what_was_asked_for(fraction: float) -> None:
    share = draw(noise(1, 12, 20).expand(20_000, -1, -1, -1), np.full(20_000, fraction)).double().mean(dim=(1, 2))
    assert share.mean().item() == pytest.approx(fraction, abs=4 * share.std().item() / 20_000**0.5)


@pytest.mark.parametrize("values", [{"cells": 0}, {"cells": 17}, {"compactness": 0.0}])
def test_impossible_parameters_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="than"):
        Superpixel.model_validate(values)
