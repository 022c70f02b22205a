from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainables.mixing.masks.base import Canvas
from trainables.mixing.position import ClipPosition, InsidePosition, PlacingRule, TorusPosition
from trainables.mixing.size import BetaSize, FixedSize, UniformSize


def centres(position: PlacingRule, side_px: np.ndarray, length_px: int, rng: np.random.Generator) -> np.ndarray:
    """Draw centres along one axis of a square image, float64 [B]."""
    canvas = Canvas(height_px=length_px, width_px=length_px, position=position, rng=rng, device=torch.device("cpu"))
    return position.centres(np.stack([side_px, side_px]), canvas)[0]


LENGTHS = st.integers(1, 64)
SEEDS = st.integers(0, 2**32)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_beta(alpha: float) -> None:
    drawn = BetaSize(alpha=alpha).draw(40_000, np.random.default_rng(0))
    assert drawn.dtype == np.float64
    assert drawn.shape == (40_000,)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_uniform() -> None:
    drawn = UniformSize(lo=0.02, hi=0.4).draw(40_000, np.random.default_rng(0))
    assert 0.02 <= drawn.min() < 0.021
    assert 0.399 < drawn.max() <= 0.4
    assert drawn.mean() == pytest.approx(0.21, abs=0.003)
    assert UniformSize(lo=0.3, hi=0.3).draw(3, np.random.default_rng(0)).tolist() == [0.3] * 3


def test_fixed() -> None:
    rng = np.random.default_rng(0)
    assert FixedSize(frac=0.1).draw(4, rng).tolist() == [0.1] * 4
    assert rng.uniform() == np.random.default_rng(0).uniform()  # nothing drawn


@pytest.mark.parametrize(
    ("law", "values", "message"),
    [
        (BetaSize, {"alpha": 0.0}, "greater than 0"),
        (BetaSize, {"alpha": -1.0}, "greater than 0"),
        (UniformSize, {"lo": 0.5, "hi": 0.4}, "lo must be <= hi, got 0.5 > 0.4"),
        (UniformSize, {"hi": 1.2}, "less than or equal to 1"),
        (FixedSize, {"frac": -0.1}, "greater than or equal to 0"),
    ],
)
def test_impossible_laws_are_refused(law: type, values: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        law(**values)


@given(length=LENGTHS, share=st.floats(0, 1.5), seed=SEEDS)
def test_clip_centres_lie_in_the_image(length: int, share: float, seed: int) -> None:
    side = np.full(9, share * length)
    centre = centres(ClipPosition(), side, length, np.random.default_rng(seed))
    assert centre.shape == (9,)
    assert ((centre >= 0) & (centre <= length)).all()
    offsets = ClipPosition().offsets(centre, length)
    assert offsets.shape == (9, length)
    np.testing.assert_allclose(np.diff(offsets, axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(offsets[:, 0], 0.5 - centre, atol=1e-9)


@given(length=LENGTHS, share=st.floats(0, 1), seed=SEEDS)
def test_inside_leaves_the_whole_shape_in_the_image(length: int, share: float, seed: int) -> None:
    side = np.full(9, share * length)
    centre = centres(InsidePosition(), side, length, np.random.default_rng(seed))
    assert (centre - side / 2 >= -1e-9).all()
    assert (centre + side / 2 <= length + 1e-9).all()


def test_inside_centres_a_shape_that_is_too_large() -> None:
    centre = centres(InsidePosition(), np.array([40.0]), 20, np.random.default_rng(0))
    assert centre.tolist() == [10.0]


@given(length=LENGTHS, seed=SEEDS)
def test_torus_measures_on_the_circle(length: int, seed: int) -> None:
    centre = centres(TorusPosition(), np.ones(9), length, np.random.default_rng(seed))
    offsets = TorusPosition().offsets(centre, length)
    plain = ClipPosition().offsets(centre, length)
    assert ((offsets >= -length / 2) & (offsets <= length / 2)).all()
    turns = (plain - offsets) / length
    np.testing.assert_allclose(turns, turns.round(), atol=1e-9)


def test_centres_are_uniform() -> None:
    rng, side = np.random.default_rng(0), np.full(20_000, 8.0)
    for position, lo, hi in ((ClipPosition(), 0, 20), (TorusPosition(), 0, 20), (InsidePosition(), 4, 16)):
        centre = centres(position, side, 20, rng)
        deciles = np.quantile(centre, [0.1, 0.5, 0.9])
        assert deciles == pytest.approx([lo + share * (hi - lo) for share in (0.1, 0.5, 0.9)], abs=0.25)
