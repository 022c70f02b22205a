from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainables.mixing.canvas import Canvas
from trainables.mixing.masks.fourier import LOWEST, Fourier, _fields, _rank_fields
from trainables.mixing.position import TorusPosition


def draw(mask: Fourier, fractions: np.ndarray, height: int = 32, width: int = 32, seed: int = 0) -> torch.Tensor:
    """Return masks, bool [B, H, W]."""
    rng = np.random.default_rng(seed)
    canvas = Canvas(height_px=height, width_px=width, position=TorusPosition(), rng=rng, device=torch.device("cpu"))
    return mask.draw(fractions, canvas)[:, 0]


SIDES = st.sampled_from([(1, 1), (4, 4), (9, 31), (40, 8), (1, 17), (32, 32)])  # each has its bank


@given(fraction=st.floats(0, 1), sides=SIDES, seed=st.integers(0, 2**32))
def test_every_mask_has_the_wanted_number_of_pixels(fraction: float, sides: tuple[int, int], seed: int) -> None:
    wanted = fraction * sides[0] * sides[1]
    for pixels in draw(Fourier(), np.full(5, fraction), *sides, seed).sum(dim=(1, 2)).tolist():
        assert math.floor(wanted) <= pixels <= math.ceil(wanted)


@pytest.mark.parametrize("wanted", [0.25, 5.5, 11.9])
def test_the_number_is_rounded_at_random(wanted: float) -> None:
    pixels = draw(Fourier(), np.full(40_000, wanted / 12), 3, 4).sum(dim=(1, 2)).double()
    assert pixels.mean().item() == pytest.approx(wanted, abs=0.011)  # 4 standard errors


@pytest.mark.parametrize("decay", [0.0, 3.0, 60.0])
def test_ranks_hold_each_place_once(decay: float) -> None:
    ranks = _rank_fields(5, 8, decay)
    assert ranks.dtype == np.int16
    assert (np.sort(ranks.reshape(len(ranks), -1), axis=1) == np.arange(LOWEST, LOWEST + 40)).all()


def test_maps_too_large_for_two_bytes() -> None:
    assert _rank_fields(1, 2**16 - 1, 3.0).dtype == np.int16
    assert _rank_fields(1, 2**16, 3.0).dtype == np.int32
    for width in (2**16 - 1, 2**16):
        mask = draw(Fourier(), np.array([0.0, 0.5, 1.0]), 1, width)
        assert mask.float().mean(dim=(1, 2)).tolist() == pytest.approx([0, 0.5, 1], abs=2e-5)


def test_coverage_is_uniform() -> None:
    coverage = draw(Fourier(), np.full(40_000, 0.3), 6, 10).double().mean(dim=0)
    assert coverage.numpy() == pytest.approx(np.full((6, 10), 0.3), abs=5 * math.sqrt(0.21 / 40_000))


def spectrum(fields: np.ndarray) -> np.ndarray:
    """Mean amplitude at each frequency, float [H, W]."""
    return np.sqrt((np.abs(np.fft.fft2(fields)) ** 2).mean(axis=0))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 24), (9, 7)])
def test_amplitudes_fall_with_the_frequency(height: int, width: int) -> None:
    amplitude = spectrum(_fields(4000, height, width, 2.0))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    expected = np.maximum(frequency, 1 / max(height, width)) ** -2.0
    assert amplitude / amplitude[0, 0] == pytest.approx(expected / expected[0, 0], rel=0.1)


def published_fields(count: int, side: int) -> np.ndarray:
    """Fields as the authors' code makes them, float [count, side, side].

    The two parts of the complex numbers lie in a last axis of length 2 that is flattened into the columns.
    """
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    damping = np.maximum(frequency, 1 / side) ** -3.0
    parts = np.random.default_rng(0).standard_normal((count, side, side // 2 + 1, 2)) * damping[:, :, None]
    return np.fft.irfft2(parts.reshape(count, side, -1)[:, :, : side // 2 + 1], s=(side, side))


def point_symmetry(fields: np.ndarray) -> float:
    """Mean squared correlation of fields with themselves turned by 180 degrees."""
    turned = np.roll(fields[:, ::-1, ::-1], 1, axis=(1, 2))
    centred, turned = (each - each.mean(axis=(1, 2), keepdims=True) for each in (fields, turned))
    return float(((centred * turned).sum(axis=(1, 2)) / (centred**2).sum(axis=(1, 2))).__pow__(2).mean())


def roughness(fields: np.ndarray, axis: int) -> float:
    return float(((fields - np.roll(fields, 1, axis=axis)) ** 2).mean())


def test_fields_have_no_symmetry_and_no_direction() -> None:
    ours, theirs = _fields(1000, 16, 16, 3.0), published_fields(1000, 16)
    assert point_symmetry(theirs) == pytest.approx(1)
    assert point_symmetry(ours) < 0.7
    assert roughness(ours, 1) / roughness(ours, 2) == pytest.approx(1, abs=0.1)
    assert abs(roughness(theirs, 1) / roughness(theirs, 2) - 1) > 0.2


def borders(mask: torch.Tensor) -> float:
    """Return the mean fraction of neighbours that differ."""
    return (mask != mask.roll(1, dims=1)).float().mean().item()


def test_decay_smooths() -> None:
    fractions = np.full(500, 0.5)
    lengths = [borders(draw(Fourier(decay=decay), fractions)) for decay in (0.0, 1.0, 3.0)]
    assert lengths[0] == pytest.approx(0.5, abs=0.01)  # noise: neighbours are independent
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[2] < 0.1


def test_masks_differ() -> None:
    mask = draw(Fourier(), np.full(200, 0.5)).flatten(1)
    assert len(mask.unique(dim=0)) == 200


def test_a_negative_decay_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Fourier(decay=-1.0)
