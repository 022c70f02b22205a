from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.box import Box
from trainables.mixing.position import ClipPosition, InsidePosition, PlacingRule, TorusPosition

INSIDE = InsidePosition()


def draw_box(
    box: Box,
    fractions: np.ndarray,
    *,
    height: int = 200,
    width: int = 200,
    position: PlacingRule = INSIDE,
) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Return masks bool [B, H, W] and their sides in pixels, int64 [B] each."""
    mask = box.draw(
        fractions,
        Canvas(
            height_px=height,
            width_px=width,
            position=position,
            rng=np.random.default_rng(0),
            device=torch.device("cpu"),
        ),
    )[:, 0]
    return mask, mask.any(dim=2).sum(dim=1).numpy(), mask.any(dim=1).sum(dim=1).numpy()


@pytest.mark.parametrize("position", [ClipPosition(), INSIDE], ids=["clip", "inside"])
def test_a_filled_rectangle(position: PlacingRule) -> None:
    mask, rows, columns = draw_box(
        Box(aspect_max=2.0), np.random.default_rng(1).uniform(size=200), height=20, width=33, position=position
    )
    assert (mask.sum(dim=(1, 2)).numpy() == rows * columns).all()
    for lines in (mask.any(dim=2), mask.any(dim=1)):  # without a gap: at most one change to inside
        assert (lines.int().diff(dim=1) == 1).sum(dim=1).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(200, 200), (100, 300), (300, 100)])
def test_sides_have_the_images_proportions(height: int, width: int) -> None:
    fractions = np.random.default_rng(1).uniform(size=300)
    _, rows, columns = draw_box(Box(), fractions, height=height, width=width)
    assert (abs(rows - height * np.sqrt(fractions)) <= 1).all()
    assert (abs(columns - width * np.sqrt(fractions)) <= 1).all()


def test_aspect_is_log_uniform_within_its_range() -> None:
    fractions = np.full(3000, 0.09)
    _, rows, columns = draw_box(Box(aspect_max=4.0), fractions, height=200, width=400)
    log_ratio = np.log((rows / 200) / (columns / 400)) / math.log(4.0)  # uniform on [-1, 1]
    assert abs(log_ratio).max() < 1.03  # a pixel of rounding
    assert np.quantile(log_ratio, [0.05, 0.25, 0.5, 0.75, 0.95]) == pytest.approx([-0.9, -0.5, 0, 0.5, 0.9], abs=0.05)


def test_without_aspect_none_is_drawn() -> None:
    rngs = [np.random.default_rng(0), np.random.default_rng(0)]
    for rng, aspect_max in zip(rngs, (1.0, 2.0), strict=True):
        Box(aspect_max=aspect_max).draw(
            np.full(4, 0.5), Canvas(height_px=8, width_px=8, position=INSIDE, rng=rng, device=torch.device("cpu"))
        )
    assert rngs[0].uniform() != rngs[1].uniform()


@pytest.mark.parametrize("fraction", [0.05, 0.4, 0.8, 1.0])
@pytest.mark.parametrize("position", [INSIDE, TorusPosition()], ids=["inside", "torus"])
@pytest.mark.parametrize("aspect_max", [1.0, 1 / 0.3, 30.0])
def test_area_is_kept_whatever_the_aspect(fraction: float, position: PlacingRule, aspect_max: float) -> None:
    mask, rows, columns = draw_box(Box(aspect_max=aspect_max), np.full(200, fraction), position=position, width=120)
    share = mask.float().mean(dim=(1, 2))
    assert share.mean() == pytest.approx(fraction, abs=0.005)
    assert abs(share - fraction).max() < (rows + columns).max() / (200 * 120) + 1e-6  # a pixel on each side
    assert rows.max() <= 200
    assert columns.max() <= 120
