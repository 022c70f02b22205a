from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainables.mixing.apply import mix_images
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_mix
from trainables.mixing.masks import FAMILIES
from trainables.mixing.pastes import MixDraw
from trainables.mixing.source import Displaced, Resized, displaced, resized

CPU = torch.device("cpu")
SEEDS = st.integers(0, 2**32)
SIDES = st.integers(1, 17)
CLOSED = ("clip", "inside", "spill", "gauss")
"""Placing rules without wrapping."""


def families(*kinds: str, framed: bool = False) -> list[str]:
    """Return the families that support one of the rules and do not depend on the partner."""
    return [
        name
        for name, family in sorted(FAMILIES.items())
        if family.needs is None and set(kinds) & set(family.positions) and (family.framed or not framed)
    ]


def draw(mix: dict[str, Any], shape: tuple[int, int, int, int], seed: int) -> MixDraw:
    view = BatchView(shape, np.arange(shape[0]))
    return draw_mix(Mix.model_validate(mix), view, rng=np.random.default_rng(seed), device=CPU)


def positions_of(family: str, kinds: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from([kind for kind in kinds if kind in FAMILIES[family].positions])


def numbered(count: int, height_px: int, width_px: int) -> Tensor:
    """Return images in which every pixel has its own number: a pasted pixel can be identified."""
    return torch.arange(count * height_px * width_px, dtype=torch.float32).view(count, 1, height_px, width_px)


def noise(*shape: int) -> Tensor:
    images = torch.from_numpy(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    return images.contiguous(memory_format=torch.channels_last)


# ---------------------------------------------------------------- displaced


@settings(max_examples=150)
@given(data=st.data(), family=st.sampled_from(families(*CLOSED)), height_px=SIDES, width_px=SIDES, seed=SEEDS)
def test_a_displaced_paste_shows_the_partners_pixels_at_the_shift(
    data: st.DataObject, family: str, height_px: int, width_px: int, seed: int
) -> None:
    position = {"kind": data.draw(positions_of(family, CLOSED))}
    mix = {"mask": {"family": family}, "position": position, "source": "displaced", "pairing": {"kind": "derange"}}
    images = numbered(4, height_px, width_px)
    drawn = draw(mix, (4, 1, height_px, width_px), seed)
    (paste,) = drawn.pastes
    assert isinstance(paste.source, Displaced)
    shown = paste.source.show(images[paste.partner])
    masks = paste.mask.expand(4, 1, height_px, width_px)
    if masks.dtype == torch.bool:
        assert torch.equal(mix_images(images, drawn)[masks], shown[masks])
    for index, partner in enumerate(drawn.partner.tolist()):
        y, x = np.nonzero(masks[index, 0].numpy() > 0)
        from_y, from_x = y + int(paste.source.dy[index]), x + int(paste.source.dx[index])
        if len(y):  # in the image, so that nothing came round a border
            assert from_y.min() >= 0
            assert from_y.max() < height_px
            assert from_x.min() >= 0
            assert from_x.max() < width_px
        assert torch.equal(shown[index, 0, y, x], images[partner, 0, from_y, from_x])


@settings(max_examples=80)
@given(family=st.sampled_from(families("torus")), height_px=SIDES, width_px=SIDES, seed=SEEDS)
def test_on_the_torus_any_shift_goes_around(family: str, height_px: int, width_px: int, seed: int) -> None:
    mix = {"mask": {"family": family}, "position": {"kind": "torus"}, "source": "displaced"}
    images = numbered(3, height_px, width_px)
    (paste,) = draw(mix, (3, 1, height_px, width_px), seed).pastes
    assert isinstance(paste.source, Displaced)
    shown = paste.source.show(images[paste.partner])
    for index, partner in enumerate(paste.partner.tolist()):
        shift = (-int(paste.source.dy[index]), -int(paste.source.dx[index]))
        assert torch.equal(shown[index], images[partner].roll(shift, dims=(1, 2)))


def test_shifts_are_uniform_among_those_inside() -> None:
    mask = torch.zeros(30_000, 1, 8, 12, dtype=torch.bool)
    mask[:, :, 2:5, 7:11] = True  # it may move 2 up to 3 down, 7 left to 1 right
    uniform = torch.from_numpy(np.random.default_rng(0).random((30_000, 2)))
    shifts = displaced(resized(mask, height_px=8, width_px=12), uniform, height_px=8, width_px=12)
    for shift, lowest, count in ((shifts.dy, -2, 6), (shifts.dx, -7, 9)):
        values, times = shift.unique(return_counts=True)
        assert values.tolist() == list(range(lowest, lowest + count))
        np.testing.assert_allclose(times / 30_000, 1 / count, atol=0.012)  # SD 0.002
    assert abs(np.corrcoef(shifts.dy, shifts.dx)[0, 1]) < 0.03
    around = displaced(None, uniform, height_px=8, width_px=12)
    for shift, length in ((around.dy, 8), (around.dx, 12)):
        values, times = shift.unique(return_counts=True)
        assert values.tolist() == list(range(length))
        np.testing.assert_allclose(times / 30_000, 1 / length, atol=0.012)


def test_each_sample_has_a_shift_of_its_own() -> None:
    (paste,) = draw({"source": "displaced", "size": {"kind": "fixed", "frac": 0.1}}, (64, 3, 32, 32), 0).pastes
    assert isinstance(paste.source, Displaced)
    assert len(set(zip(paste.source.dy.tolist(), paste.source.dx.tolist(), strict=True))) > 55


# ---------------------------------------------------------------- resized


def fitted(image: Tensor, height_px: int, width_px: int) -> Tensor:
    """Torch's own antialiased resizing of [C, H, W]; columns first: to a width of 1 it repeats the first row."""
    across = resized_to(image, image.shape[1], width_px)
    return resized_to(across.repeat(1, 1, 2), height_px, 2 * width_px)[:, :, :width_px]


def resized_to(image: Tensor, height_px: int, width_px: int) -> Tensor:
    size = (height_px, width_px)
    return torch.nn.functional.interpolate(image[None].contiguous(), size=size, mode="bilinear", antialias=True)[0]


def frame_of(mask: Tensor) -> tuple[slice, slice] | None:
    """Bounding box of a mask [H, W]; None if it is empty."""
    rows, columns = (mask > 0).any(dim=1).nonzero().flatten(), (mask > 0).any(dim=0).nonzero().flatten()
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


@settings(max_examples=120)
@given(
    data=st.data(), family=st.sampled_from(families(*CLOSED, framed=True)), height_px=SIDES, width_px=SIDES, seed=SEEDS
)
def test_a_resized_paste_is_the_whole_partner_fitted_into_the_frame(
    data: st.DataObject, family: str, height_px: int, width_px: int, seed: int
) -> None:
    position = {"kind": data.draw(positions_of(family, CLOSED))}
    mix = {"mask": {"family": family}, "position": position, "source": "resized", "pairing": {"kind": "derange"}}
    images = noise(4, 3, height_px, width_px)
    drawn = draw(mix, (4, 3, height_px, width_px), seed)
    mixed = mix_images(images, drawn)
    (paste,) = drawn.pastes
    masks = paste.mask.expand(4, 1, height_px, width_px)
    for index, partner in enumerate(drawn.partner.tolist()):
        expected, frame = images[index].clone(), frame_of(masks[index, 0])
        if frame is not None:
            (rows, columns), weight = frame, masks[index].float()
            pasted = torch.zeros_like(expected)
            pasted[:, rows, columns] = fitted(images[partner], rows.stop - rows.start, columns.stop - columns.start)
            expected = expected * (1 - weight) + pasted * weight
        torch.testing.assert_close(mixed[index], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("height_px", "width_px"), [(8, 8), (7, 13), (1, 5)])
def test_a_frame_of_the_whole_image_shows_the_partner_as_it_is(height_px: int, width_px: int) -> None:
    images = noise(3, 3, height_px, width_px)
    whole = resized(torch.ones(3, 1, height_px, width_px, dtype=torch.bool), height_px=height_px, width_px=width_px)
    torch.testing.assert_close(whole.show(images), images)
    empty = resized(torch.zeros(3, 1, height_px, width_px, dtype=torch.bool), height_px=height_px, width_px=width_px)
    assert [end.tolist() for end in (empty.y0, empty.y1, empty.x0, empty.x1)] == [
        [0] * 3,
        [height_px] * 3,
        [0] * 3,
        [width_px] * 3,
    ]


def test_whole_numbers_are_rounded() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, size=(2, 3, 16, 16))).to(torch.uint8)
    frame = Resized(*(torch.tensor([value] * 2) for value in (3, 10, 0, 9)))
    shown = frame.show(pixels)
    assert shown.dtype == torch.uint8
    for index in range(2):
        exact = fitted(pixels[index].double(), 7, 9)
        assert (shown[index, :, 3:10, 0:9] - exact).abs().max() <= 0.5 + 1e-4
    assert shown[:, :, :3].max() == shown[:, :, 10:].max() == shown[:, :, :, 9:].max() == 0


def test_frames_are_each_masks_own() -> None:
    mask = torch.zeros(3, 1, 6, 8, dtype=torch.bool)
    mask[0, 0, 1:4, 2:7] = True
    mask[1, 0, 5, 0] = True
    mask[2, 0, 0, 0] = mask[2, 0, 3, 7] = True
    frames = resized(mask, height_px=6, width_px=8)
    ends = torch.stack([frames.y0, frames.y1, frames.x0, frames.x1], dim=1)
    assert ends.tolist() == [[1, 4, 2, 7], [5, 6, 0, 1], [0, 4, 0, 8]]
    assert torch.stack([frames[torch.tensor([2, 0])].y0, frames[torch.tensor([2, 0])].x1]).tolist() == [[0, 1], [8, 7]]
    softened = resized(mask.float() * 0.1, height_px=6, width_px=8)
    assert torch.equal(softened.y1, frames.y1)


@pytest.mark.parametrize("source", ["displaced", "resized"])
def test_the_label_is_the_masks_whatever_is_shown(source: str) -> None:
    same = draw({"size": {"kind": "fixed", "frac": 0.3}}, (8, 3, 12, 16), 5)
    other = draw({"size": {"kind": "fixed", "frac": 0.3}, "source": source}, (8, 3, 12, 16), 5)
    assert torch.equal(same.lam, other.lam)
    assert torch.equal(same.pastes[0].mask, other.pastes[0].mask)
