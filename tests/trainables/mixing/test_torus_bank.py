from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.mixing.canvas import Canvas
from trainables.mixing.position import TorusPosition
from trainables.mixing.torus_bank import BANK_BYTES, FEWEST_MAPS, MOST_MAPS, TorusBank, maps_that_fit

CPU = torch.device("cpu")


def canvas_of(height: int, width: int) -> Canvas:
    rng = np.random.default_rng(0)
    return Canvas(height_px=height, width_px=width, position=TorusPosition(), rng=rng, device=CPU)


def every_shift(height: int, width: int) -> np.ndarray:
    """The first map from every place, int64 [3, H * W]."""
    return np.array([(0, dy, dx) for dy, dx in itertools.product(range(height), range(width))]).T


@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_a_place_shows_its_map_moved_around_the_borders(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.integers(-5, 5, size=(4, height, width)).astype(np.int16)
    bank, canvas = TorusBank.of(maps, CPU), canvas_of(height, width)
    places = bank.places(rng.random((3, 6)))
    limits = rng.integers(-6, 6, size=6)
    mask = bank.below(limits, places, canvas)
    assert mask.shape == (6, 1, height, width)
    assert mask.dtype == torch.bool
    for sample, (chosen, dy, dx) in enumerate(places.T):
        moved = np.roll(maps[chosen], (-dy, -dx), axis=(0, 1))
        assert (mask[sample, 0].numpy() == (moved < limits[sample])).all()


def test_each_pixel_sees_each_value_once() -> None:
    maps = np.random.default_rng(0).permutation(35).astype(np.int16).reshape(1, 5, 7)
    mask = TorusBank.of(maps, CPU).below(np.full(35, 10), every_shift(5, 7), canvas_of(5, 7))
    assert (mask.sum(dim=0) == 10).all()  # the same coverage everywhere, exactly


def test_places_are_uniform_and_reach_every_end() -> None:
    bank = TorusBank.of(np.zeros((3, 4, 5), dtype=np.uint8), CPU)
    almost_one = np.nextafter(1, 0)
    assert bank.places(np.array([[0, almost_one]] * 3)).tolist() == [[0, 2], [0, 3], [0, 4]]
    for places, limit in zip(bank.places(np.random.default_rng(0).random((3, 60_000))), (3, 4, 5), strict=True):
        assert np.bincount(places) / 60_000 == pytest.approx(np.full(limit, 1 / limit), abs=0.01)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32])
def test_tensors_show_the_same(kind: type[np.integer]) -> None:
    rng = np.random.default_rng(0)
    bank = TorusBank.of(rng.integers(0, 100, size=(6, 5, 7)).astype(kind), CPU)
    assert isinstance(bank.windows, np.ndarray)
    places, limits, canvas = bank.places(rng.random((3, 50))), rng.integers(0, 100, size=50), canvas_of(5, 7)
    on_a_device = TorusBank(torch.from_numpy(bank.windows.copy()))
    assert torch.equal(bank.below(limits, places, canvas), on_a_device.below(limits, places, canvas))


def test_the_view_of_a_device_is_laid_out_like_that_of_the_host() -> None:
    maps = np.zeros((2, 3, 4), dtype=np.int16)
    host, elsewhere = TorusBank.of(maps, CPU).windows, TorusBank.of(maps, torch.device("meta")).windows
    assert isinstance(host, np.ndarray)
    assert isinstance(elsewhere, torch.Tensor)
    assert tuple(elsewhere.shape) == host.shape == (2, 3, 4, 3, 4)
    assert elsewhere.stride() == tuple(stride // 2 for stride in host.strides)


def test_memory_is_bounded() -> None:
    assert maps_that_fit(1, 1, 2) == MOST_MAPS
    assert maps_that_fit(1000, 1000, 4) == FEWEST_MAPS
    for side in (32, 64, 224):
        assert maps_that_fit(side, side, 2) * 4 * side * side * 2 <= BANK_BYTES
