from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_mix
from trainables.mixing.saliency import ANALYSIS_PX, SMOOTHING_FRAC, peaks, saliency_map

CPU = torch.device("cpu")


def textured(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Faint stripes and noise: a regular background."""
    rng = np.random.default_rng(seed)
    stripes = 0.5 * np.sin(np.arange(width) * 2 * np.pi / 4)
    images = stripes + 0.1 * rng.standard_normal((count, 3, height, width))
    return torch.from_numpy(images.astype(np.float32))


def planted(places: np.ndarray, height: int, width: int, value: float = 3.0) -> torch.Tensor:
    """Regular images with a small blob of the given value around each place (y, x), int64 [2, n]."""
    images = textured(places.shape[1], height, width)
    size = max(2, min(height, width) // 10)
    for image, (y, x) in zip(images, places.T, strict=True):
        image[:, max(0, y - size) : y + size, max(0, x - size) : x + size] = value
    return images


def published_map(grey: np.ndarray) -> np.ndarray:
    """Equations 4 to 8 word by word, of one image that need not be reduced; a border of zeros for the smoothing."""
    spectrum = np.fft.fft2(grey.astype(np.float64))
    log_amplitude, phase = np.log(np.abs(spectrum)), np.angle(spectrum)
    residual = log_amplitude - ndimage.uniform_filter(log_amplitude, 3, mode="wrap")
    unusual = np.abs(np.fft.ifft2(np.exp(residual + 1j * phase))) ** 2
    sigmas = [SMOOTHING_FRAC * side for side in grey.shape]
    smooth: np.ndarray = ndimage.gaussian_filter(unusual, sigmas, mode="constant", truncate=20)
    return smooth


@pytest.mark.parametrize(("height", "width"), [(32, 32), (31, 40), (40, 31), (9, 33), (64, 64), (16, 17)])
def test_equals_the_published_equations(height: int, width: int) -> None:
    images = textured(3, height, width)
    ours = saliency_map(images)
    assert ours.shape == (3, height, width)
    assert ours.dtype == torch.float32
    for image, found in zip(images.mean(dim=1).numpy(), ours.numpy(), strict=True):
        expected = published_map(image)
        assert found / found.mean() == pytest.approx(expected / expected.mean(), rel=0.02, abs=0.01)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 24), (96, 128), (224, 224)])
@pytest.mark.parametrize("value", [3.0, -3.0], ids=["bright", "dark"])
def test_the_peak_is_on_what_is_odd(height: int, width: int, value: float) -> None:
    rng = np.random.default_rng(1)
    places = np.stack([rng.integers(side // 5, side - side // 5, size=20) for side in (height, width)])
    found = peaks_of(planted(places, height, width, value))
    assert found.shape == (2, 20)
    assert found.dtype == np.int64
    reach = min(height, width) * 0.17
    assert (np.hypot(*(found - places)) < reach).all()


def peaks_of(images: torch.Tensor) -> np.ndarray:
    return peaks(images).numpy()


def one_map_for_all(images: torch.Tensor) -> np.ndarray:
    """What published code does: the first image's peak serves the whole batch."""
    return np.repeat(peaks_of(images[:1]), len(images), axis=1)


def test_each_image_has_its_own_peak() -> None:
    places = np.array([[8, 8, 24, 24], [8, 24, 8, 24]])
    images = planted(places, 32, 32)

    def hits(found: np.ndarray) -> int:
        return int((np.hypot(*(found - places)) < 6).sum())

    assert hits(peaks_of(images)) == 4
    assert hits(one_map_for_all(images)) == 1


def test_the_position_follows_the_partners_peak() -> None:
    places = np.array([[8, 8, 24, 24], [8, 24, 8, 24]])
    images = planted(places, 32, 32)
    mix = Mix.model_validate(
        {"position": {"kind": "saliency"}, "size": {"kind": "fixed", "frac": 0.04}, "pairing": {"kind": "flip"}}
    )
    drawn = draw_mix(mix, BatchView((4, 3, 32, 32), np.arange(4), images), rng=np.random.default_rng(0), device=CPU)
    for mask, whose in zip(drawn.pastes[0].mask[:, 0], drawn.partner, strict=True):
        centre = mask.nonzero().double().mean(dim=0).numpy()
        assert np.hypot(*(centre - places[:, whose])) < 6


@given(count=st.integers(2, 40), height=st.integers(4, 40), width=st.integers(4, 40), seed=st.integers(0, 1000))
def test_a_sample_does_not_depend_on_its_batch(count: int, height: int, width: int, seed: int) -> None:
    images = textured(count, height, width, seed)
    together = saliency_map(images)
    for sample in (0, count - 1):
        torch.testing.assert_close(saliency_map(images[sample : sample + 1])[0], together[sample], rtol=1e-3, atol=1e-5)
    assert (peaks_of(images.flip(0)) == peaks_of(images)[:, ::-1]).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (2, 2), (3, 2), (ANALYSIS_PX + 1, 8), (8, 200)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_size_and_number_of_channels(height: int, width: int, channels: int) -> None:
    images = textured(5, height, width).repeat(1, 2, 1, 1)[:, :channels]
    assert saliency_map(images).shape == (5, min(height, ANALYSIS_PX), min(width, ANALYSIS_PX))
    found = peaks_of(images)
    assert ((found >= 0) & (found < np.array([[height], [width]]))).all()


@pytest.mark.parametrize("level", [0.0, 2.5, -1e-3])
def test_where_nothing_is_odd_the_peak_is_central(level: float) -> None:
    images = torch.full((2, 3, 32, 32), level)
    assert saliency_map(images).isfinite().all()
    if level:
        assert (np.abs(peaks_of(images) - 15.5) < 12).all()


def test_the_memory_layout_makes_no_difference() -> None:
    images = textured(8, 32, 32)
    assert (peaks_of(images) == peaks_of(images.contiguous(memory_format=torch.channels_last))).all()
