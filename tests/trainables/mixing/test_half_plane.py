"""Straight cuts against their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.half_plane import HalfPlane, _cut
from trainables.mixing.position import WholePosition

angles = st.floats(0, 2 * math.pi)
fracs = st.floats(0.01, 0.99)


class Turned:
    """A generator that draws the given fraction of a full turn."""

    def __init__(self, turn: float) -> None:
        self.turn = turn

    def random(self, count: int) -> np.ndarray:
        return np.full(count, self.turn)


def draw(frac: float, turn: float, height: int, width: int) -> torch.Tensor:
    """Return one mask, bool [H, W]."""
    rng, device = Turned(turn), torch.device("cpu")
    canvas = Canvas(height_px=height, width_px=width, position=WholePosition(), rng=rng, device=device)  # type: ignore[arg-type]
    return HalfPlane().draw(np.array([frac]), canvas)[0, 0]


@given(angle=angles, frac=fracs)
def test_cut_has_the_fraction_on_its_side(angle: float, frac: float) -> None:
    one, other = np.array([abs(math.sin(angle))]), np.array([abs(math.cos(angle))])
    grid = (np.arange(400) + 0.5) / 400 - 0.5
    below = one * grid[:, None] + other * grid[None] < _cut(np.array([frac]), one, other)
    assert below.mean() == pytest.approx(frac, abs=0.006)


@given(turn=st.floats(0, 1, exclude_max=True), frac=fracs, height=st.integers(2, 20), width=st.integers(2, 20))
def test_pixels_on_one_side_of_a_line(turn: float, frac: float, height: int, width: int) -> None:
    down, across = math.sin(2 * math.pi * turn), math.cos(2 * math.pi * turn)
    y, x = ((np.arange(length) + 0.5) / length - 0.5 for length in (height, width))
    along = down * y[:, None] + across * x[None]
    cut = float(_cut(np.array([frac]), np.array([abs(down)]), np.array([abs(across)]))[0])
    sure = np.abs(along - cut) > 1e-6
    np.testing.assert_array_equal(draw(frac, turn, height, width).numpy()[sure], (along < cut)[sure])


@pytest.mark.parametrize(
    ("turn", "rows"),
    [
        (0.0, ["##..", "##..", "##.."]),
        (0.5, ["..##", "..##", "..##"]),
    ],
)
def test_upright_cuts(turn: float, rows: list[str]) -> None:
    mask = draw(0.5, turn, 3, 4)
    assert ["".join(".#"[int(pixel)] for pixel in row) for row in mask] == rows


def test_the_border_is_the_shortest() -> None:
    """At half the area a cut along an axis has one side's length; the box needs 4 / sqrt(2) of them."""
    mask = draw(0.5, 0.0, 32, 32)
    assert int((mask[:, 1:] != mask[:, :-1]).sum() + (mask[1:] != mask[:-1]).sum()) == 32
