from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.device_paths import tensor_operations
from trainables.mixing.canvas import Canvas
from trainables.mixing.position import TorusPosition
from trainables.mixing.torus_bank import (
    BANK_BYTES,
    FEWEST_MAPS,
    MOST_MAPS,
    below,
    maps_that_fit,
    places,
    shift_windows,
)

CPU = torch.device("cpu")


def canvas_of(height: int, width: int) -> Canvas:
    rng = np.random.default_rng(0)
    return Canvas(height_px=height, width_px=width, position=TorusPosition(), rng=rng, device=CPU)


def every_shift(height: int, width: int) -> torch.Tensor:
    """The first map from every place, int64 [H * W, 3]."""
    return torch.tensor([(0, dy, dx) for dy, dx in itertools.product(range(height), range(width))])


@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_a_place_shows_its_map_moved_around_the_borders(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.integers(-5, 5, size=(4, height, width)).astype(np.int16)
    windows = shift_windows(maps, CPU)
    chosen = places(rng.random((3, 6)), 4, canvas_of(height, width))
    limits = rng.integers(-6, 6, size=6)
    mask = below(windows, torch.from_numpy(chosen), torch.from_numpy(limits))
    assert mask.shape == (6, 1, height, width)
    assert mask.dtype == torch.bool
    for sample, (number, dy, dx) in enumerate(chosen):
        moved = np.roll(maps[number], (-dy, -dx), axis=(0, 1))
        assert (mask[sample, 0].numpy() == (moved < limits[sample])).all()


def test_each_pixel_sees_each_value_once() -> None:
    maps = np.random.default_rng(0).permutation(35).astype(np.int16).reshape(1, 5, 7)
    mask = below(shift_windows(maps, CPU), every_shift(5, 7), torch.full((35,), 10))
    assert (mask.sum(dim=0) == 10).all()  # the same coverage everywhere, exactly


def test_places_are_uniform_and_reach_every_end() -> None:
    canvas, almost_one = canvas_of(4, 5), np.nextafter(1, 0)
    assert places(np.array([[0, almost_one]] * 3), 3, canvas).tolist() == [[0, 0, 0], [2, 3, 4]]
    drawn = places(np.random.default_rng(0).random((3, 60_000)), 3, canvas)
    for column, limit in zip(drawn.T, (3, 4, 5), strict=True):
        assert np.bincount(column) / 60_000 == pytest.approx(np.full(limit, 1 / limit), abs=0.01)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32])
def test_tensor_operations_show_the_same(kind: type[np.integer]) -> None:
    rng = np.random.default_rng(0)
    windows = shift_windows(rng.integers(0, 100, size=(6, 5, 7)).astype(kind), CPU)
    chosen = torch.from_numpy(places(rng.random((3, 50)), 6, canvas_of(5, 7)))
    limits = torch.from_numpy(rng.integers(0, 100, size=50))
    on_host = below(windows, chosen, limits)
    with tensor_operations():
        assert torch.equal(on_host, below(windows, chosen, limits))


def test_memory_is_bounded() -> None:
    assert maps_that_fit(1, 1, 2) == MOST_MAPS
    assert maps_that_fit(1000, 1000, 4) == FEWEST_MAPS
    for side in (32, 64, 224):
        assert maps_that_fit(side, side, 2) * 4 * side * side * 2 <= BANK_BYTES
