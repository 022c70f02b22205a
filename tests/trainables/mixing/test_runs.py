"""Runs of pixels against their definition, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.device_paths import tensor_operations
from trainables.mixing.canvas import Canvas
from trainables.mixing.position import ClipPosition, TorusPosition
from trainables.mixing.rendering import lines
from trainables.mixing.runs import runs

lengths = st.integers(1, 40)
fracs = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0]))


def columns_within(centre: np.ndarray, side: np.ndarray, length: int, *, wraps: bool) -> np.ndarray:
    """Return what a canvas of the given width says of shapes that differ along its columns alone."""
    canvas = Canvas(
        height_px=1,
        width_px=length,
        position=TorusPosition() if wraps else ClipPosition(),
        rng=np.random.default_rng(0),
        device=torch.device("cpu"),
    )
    edges = canvas.edges_along(1, np.stack([np.zeros_like(centre), centre]), np.stack([np.ones_like(side), side]))
    return runs(edges[:, 0], edges[:, 1], length)


@given(length=lengths, place=fracs, size=fracs, wraps=st.booleans())
def test_within(length: int, place: float, size: float, wraps: bool) -> None:
    centre, side = np.array([place * length]), np.array([size * length])
    offsets = np.arange(length) + 0.5 - centre
    if wraps:
        offsets -= length * np.rint(offsets / length)
    distance = np.abs(offsets)
    sure = np.abs(distance - side / 2) > 1e-9  # nearer than that rounding decides
    got = columns_within(centre, side, length, wraps=wraps)
    assert got.shape == (1, length)
    np.testing.assert_array_equal(got[0][sure], (distance < side / 2)[sure])


@given(length=lengths, start=st.integers(-40, 40), pixels=st.integers(0, 40), wraps=st.booleans())
def test_runs(length: int, start: int, pixels: int, wraps: bool) -> None:
    start, pixels = max(start, -length), min(pixels, length)
    covered = np.arange(start, min(start + pixels, 2 * length))
    if wraps:
        covered = covered % length
    expected = np.isin(np.arange(length), covered)
    stop = start + (len(covered) if wraps else pixels)
    ends = np.array([[start]]), np.array([[stop]])
    if not wraps:
        ends = tuple(np.clip(end, 0, length) for end in ends)
    np.testing.assert_array_equal(runs(*ends, length), expected[None, None])
    tensors = [torch.from_numpy(end) for end in ends]
    with tensor_operations():
        np.testing.assert_array_equal(lines(*tensors, length).numpy(), expected[None, None])


@pytest.mark.parametrize("wraps", [False, True])
def test_no_length_no_pixel_even_on_a_pixels_centre(wraps: bool) -> None:
    centres = np.array([0.5, 1.5, 2.0, 3.5])
    assert not columns_within(centres, np.zeros(4), 4, wraps=wraps).any()
