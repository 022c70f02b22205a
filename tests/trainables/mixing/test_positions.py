from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import truncnorm

from trainables.mixing.batch_view import BatchView
from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Mix
from trainables.mixing.masks import FAMILIES
from trainables.mixing.masks.box import Box
from trainables.mixing.position import (
    PLACING,
    RULES,
    ClipPosition,
    GaussPosition,
    InsidePosition,
    ObjectPosition,
    PlacingRule,
    SaliencyPosition,
    SpillPosition,
    TorusPosition,
    WholePosition,
)

HEIGHT_PX, WIDTH_PX = 12, 20
LENGTHS = st.integers(1, 64)
SEEDS = st.integers(0, 2**32)


def canvas_of(
    position: PlacingRule, height_px: int = HEIGHT_PX, width_px: int = WIDTH_PX, seed: int = 0, **seen: Any
) -> Canvas:
    rng = np.random.default_rng(seed)
    device = torch.device("cpu")
    return Canvas(height_px=height_px, width_px=width_px, position=position, rng=rng, device=device, **seen)


def centres(position: PlacingRule, side_px: np.ndarray, length_px: int, seed: int = 0) -> np.ndarray:
    """Draw centres along one axis of a square image, float64 [B]."""
    return position.centres(np.stack([side_px, side_px]), canvas_of(position, length_px, length_px, seed))[0]


def coverage(position: PlacingRule, fraction: float, count: int = 30_000) -> np.ndarray:
    """How often each pixel is pasted, float64 [H, W]."""
    mask = Box().draw(np.full(count, fraction), canvas_of(position))
    return mask.double().mean(dim=(0, 1)).numpy()


# ---------------------------------------------------------------- clip, inside, torus


@given(length=LENGTHS, share=st.floats(0, 1.5), seed=SEEDS)
def test_clip_centres_lie_in_the_image(length: int, share: float, seed: int) -> None:
    centre = centres(ClipPosition(), np.full(9, share * length), length, seed)
    assert centre.shape == (9,)
    assert ((centre >= 0) & (centre <= length)).all()
    offsets = ClipPosition().offsets(centre, length)
    assert offsets.shape == (9, length)
    np.testing.assert_allclose(np.diff(offsets, axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(offsets[:, 0], 0.5 - centre, atol=1e-9)


@given(length=LENGTHS, share=st.floats(0, 1), seed=SEEDS)
def test_inside_loses_no_pixel_of_the_shape(length: int, share: float, seed: int) -> None:
    side = np.full(9, share * length)
    centre = centres(InsidePosition(), side, length, seed)
    assert (centre - side / 2 >= -0.5).all()  # the first pixel outside has its centre at -0.5
    assert (centre + side / 2 <= length + 0.5).all()


@given(length=LENGTHS, share=st.floats(0, 1) | st.floats(0.9, 1))
def test_inside_has_the_drawn_area_on_average(length: int, share: float) -> None:
    """Evenly spaced random numbers: the mean is the integral, also within half a pixel of the whole image."""
    side, spread = share * length, (np.arange(4000) + 0.5) / 4000
    rng = cast(np.random.Generator, SimpleNamespace(random=lambda shape: np.broadcast_to(spread, shape)))
    canvas = replace(canvas_of(InsidePosition(), length, length), rng=rng)
    centre = InsidePosition().centres(np.full((2, 4000), side), canvas)[0]
    pixels = np.abs(np.arange(length) + 0.5 - centre[:, None]) < side / 2
    assert pixels.sum(axis=1).mean() == pytest.approx(side, abs=0.02)


def test_inside_centres_a_shape_that_is_too_large() -> None:
    assert centres(InsidePosition(), np.array([40.0]), 20).tolist() == [10.0]


@given(length=LENGTHS, seed=SEEDS)
def test_torus_measures_on_the_circle(length: int, seed: int) -> None:
    centre = centres(TorusPosition(), np.ones(9), length, seed)
    offsets = TorusPosition().offsets(centre, length)
    plain = ClipPosition().offsets(centre, length)
    assert ((offsets >= -length / 2) & (offsets <= length / 2)).all()
    turns = (plain - offsets) / length
    np.testing.assert_allclose(turns, turns.round(), atol=1e-9)


@pytest.mark.parametrize(
    ("position", "lo", "hi"),
    [(ClipPosition(), 0, 20), (TorusPosition(), 0, 20), (InsidePosition(), 4, 16), (SpillPosition(), -4, 24)],
    ids=lambda value: getattr(value, "kind", str(value)),
)
def test_centres_are_uniform(position: PlacingRule, lo: float, hi: float) -> None:
    deciles = np.quantile(centres(position, np.full(20_000, 8.0), 20), [0.0, 0.1, 0.5, 0.9, 1.0])
    assert deciles == pytest.approx([lo + share * (hi - lo) for share in (0, 0.1, 0.5, 0.9, 1)], abs=0.3)


@pytest.mark.parametrize("kind", [kind for kind in PLACING if RULES[kind].needs is None])
@given(seed=SEEDS, fraction=st.floats(0, 1))
def test_rows_come_before_columns(kind: str, seed: int, fraction: float) -> None:
    """Centres are (y, x), in pixels of each dimension."""
    position = RULES[kind]()
    sides = np.sqrt(fraction) * np.array([[HEIGHT_PX] * 5, [WIDTH_PX] * 5], dtype=np.float64)
    drawn = position.centres(sides, canvas_of(position, seed=seed))
    assert drawn.shape == (2, 5)
    assert drawn.dtype == np.float64
    reach = sides / 2 if kind == "spill" else 0
    assert (drawn >= 0 - reach).all()
    assert (drawn <= np.array([[HEIGHT_PX], [WIDTH_PX]]) + reach).all()


# ---------------------------------------------------------------- spill


def test_spill_covers_every_pixel_alike() -> None:
    """Along an axis of L pixels, a side of s covers each with the chance s / (L + s)."""
    fraction = 0.2
    along = np.sqrt(fraction) / (1 + np.sqrt(fraction))
    np.testing.assert_allclose(coverage(SpillPosition(), fraction), along**2, atol=0.012)  # SD 0.0017
    clipped = coverage(ClipPosition(), fraction)
    assert clipped.max() - clipped.min() > 0.08


@given(seed=SEEDS, side=st.floats(0.01, 20))
def test_some_of_a_spilt_shape_is_visible(seed: int, side: float) -> None:
    centre = centres(SpillPosition(), np.full(9, side), 20, seed)
    assert (np.minimum(centre + side / 2, 20) - np.maximum(centre - side / 2, 0) >= -1e-9).all()


# ---------------------------------------------------------------- gauss


@pytest.mark.parametrize("sigma_frac", [0.05, 0.25, 1.0])
def test_gauss_is_the_truncated_normal_law(sigma_frac: float) -> None:
    drawn = GaussPosition(sigma_frac=sigma_frac).centres(np.ones((2, 20_000)), canvas_of(GaussPosition()))
    law = truncnorm(-0.5 / sigma_frac, 0.5 / sigma_frac, loc=0.5, scale=sigma_frac)
    for centre, length in zip(drawn, (HEIGHT_PX, WIDTH_PX), strict=True):
        levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
        assert np.quantile(centre / length, levels) == pytest.approx(law.ppf(levels), abs=0.015)
        assert centre.min() >= 0
        assert centre.max() <= length


def test_gauss_goes_from_the_middle_to_clip() -> None:
    narrow, wide = coverage(GaussPosition(sigma_frac=0.02), 0.1), coverage(GaussPosition(sigma_frac=50.0), 0.1)
    assert narrow[HEIGHT_PX // 2, WIDTH_PX // 2] > 0.99
    assert narrow[0].max() == narrow[:, 0].max() == 0
    np.testing.assert_allclose(wide, coverage(ClipPosition(), 0.1), atol=0.012)


def test_gauss_needs_a_width() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        GaussPosition(sigma_frac=0.0)


# ---------------------------------------------------------------- rules that need the partner


def test_saliency_is_each_partners_own_peak() -> None:
    rng = np.random.default_rng(0)
    spots = np.stack([rng.integers(HEIGHT_PX, size=8), rng.integers(WIDTH_PX, size=8)])
    images = torch.zeros(8, 3, HEIGHT_PX, WIDTH_PX)
    images[torch.arange(8), :, spots[0], spots[1]] = 5.0
    partner = rng.permutation(8)
    view = BatchView((8, 3, HEIGHT_PX, WIDTH_PX), np.arange(8), images)
    position = SaliencyPosition()
    drawn = position.centres(np.ones((2, 8)), canvas_of(position, batch=view, partner=partner))
    np.testing.assert_allclose(drawn, spots[:, partner] + 0.5, atol=1.5)


@pytest.mark.parametrize("fraction", [1e-9, 0.01, 0.04, 0.0625, 0.25])
def test_a_shape_on_the_peak_has_its_area(fraction: float) -> None:
    """Also where its sides are whole numbers: 8 of 32 pixels would be 7 about the middle of a pixel."""
    images = torch.zeros(2000, 1, 32, 32)
    images[:, :, 16, 15] = 5.0
    view, position = BatchView((2000, 1, 32, 32), np.arange(2000), images), SaliencyPosition()
    canvas = canvas_of(position, 32, 32, batch=view, partner=np.arange(2000))
    mask = Box().draw(np.full(2000, fraction), canvas)
    assert mask.float().mean().item() == pytest.approx(fraction, abs=0.002)


def test_object_centres_lie_in_the_partners_box() -> None:
    boxes = np.array([[2, 3, 6, 18], [0, 0, 1, 1], [11, 19, 12, 20], [4, 9, 4, 12], [7, 5, 3, 9]])  # two are empty
    partner = np.tile([1, 2, 3, 4, 0], 2000)
    view = BatchView((10_000, 3, HEIGHT_PX, WIDTH_PX), np.zeros(10_000, np.int64), boxes=np.tile(boxes, (2000, 1)))
    position = ObjectPosition()
    drawn = position.centres(np.ones((2, 10_000)), canvas_of(position, batch=view, partner=partner))
    for index, box in enumerate(
        [boxes[1], boxes[2], (0, 0, HEIGHT_PX, WIDTH_PX), (0, 0, HEIGHT_PX, WIDTH_PX), boxes[0]]
    ):
        for centre, low, high in zip(drawn[:, index::5], box[:2], box[2:], strict=True):
            assert low <= centre.min() < low + 0.01 * (high - low)
            assert high - 0.01 * (high - low) < centre.max() <= high
            assert centre.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))


@pytest.mark.parametrize(("position", "what"), [(SaliencyPosition(), "images"), (ObjectPosition(), "boxes")])
def test_a_rule_that_looks_needs_something_to_look_at(position: PlacingRule, what: str) -> None:
    blind = BatchView((2, 3, HEIGHT_PX, WIDTH_PX), np.arange(2))
    for seen in ({}, {"batch": blind, "partner": np.arange(2)}):
        with pytest.raises(ValueError, match=what):
            position.centres(np.ones((2, 2)), canvas_of(position, **seen))


def test_a_mask_of_the_whole_image_has_no_centre() -> None:
    with pytest.raises(TypeError, match="no centre"):
        WholePosition().centres(np.ones((2, 2)), canvas_of(WholePosition()))


@pytest.mark.parametrize("kind", sorted(RULES))
def test_a_policy_names_every_rule(kind: str) -> None:
    families = [name for name, family in FAMILIES.items() if kind in family.positions]
    assert families, "no mask family supports it"
    mix = Mix.model_validate({"mask": {"family": families[0]}, "position": {"kind": kind}})
    assert type(mix.position) is RULES[kind]
    assert (kind in PLACING) == (kind != "whole")
