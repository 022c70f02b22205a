from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_mix
from trainables.mixing.pastes import MixDraw, Paste

CPU = torch.device("cpu")

PAPER_MEAN_AREA = 1 / 2 - 1 / 5 + 1 / 48
"""E[(r - r^2/4)^2] = E[r^2 - r^3/2 + r^4/16] for r^2 uniform: 0.3208."""


def view(shape: Sequence[int]) -> BatchView:
    count, channels, height, width = shape
    return BatchView((count, channels, height, width), np.arange(count) % 4)


def draw(mix: Mix, shape: tuple[int, int, int, int], seed: int = 0) -> MixDraw:
    return draw_mix(mix, view(shape), rng=np.random.default_rng(seed), device=CPU)


def mix_of(**parts: Any) -> Mix:
    if parts.get("mask") == {"family": "flat"}:
        parts["position"] = {"kind": "whole"}
    return Mix.model_validate(parts)


def noise_images(*shape: int, seed: int = 0) -> torch.Tensor:
    """Float images, channels last in memory as the normaliser hands them over."""
    images = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))
    return images.contiguous(memory_format=torch.channels_last)


# ---------------------------------------------------------------- labels and pixels agree


@settings(max_examples=150)
@given(
    family=st.sampled_from(["box", "flat"]),
    position=st.sampled_from(["clip", "inside", "torus"]),
    alpha=st.floats(0.05, 8),
    prob=st.floats(0, 1),
    gate=st.sampled_from(["sample", "batch"]),
    count=st.integers(1, 7),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    seed=st.integers(0, 2**32),
)
def test_label_mass_is_pixel_share(
    family: str, position: str, alpha: float, prob: float, gate: str, count: int, height: int, width: int, seed: int
) -> None:
    mix = mix_of(
        mask={"family": family},
        position={"kind": position},
        size={"kind": "beta", "alpha": alpha},
        apply={"prob": prob, "gate": gate},
    )
    # sample k is 1 in channel k only: a channel's mean is the fraction of sample k's pixels
    images = torch.eye(count)[:, :, None, None].expand(count, count, height, width).contiguous()
    drawn = draw(mix, (count, count, height, width), seed)
    mixed = mix_images(images, drawn)
    if family == "box":
        assert set(mixed.unique().tolist()) <= {0.0, 1.0}
    shares = mixed.double().mean(dim=(2, 3))
    targets = mix_targets(torch.arange(count), drawn, n_classes=count)
    torch.testing.assert_close(targets.double(), shares, rtol=0, atol=2e-6)
    assert ((drawn.lam >= 0) & (drawn.lam <= 1)).all()
    assert drawn.lam.shape == drawn.lam_nominal.shape == (count,)
    assert targets.dtype == torch.float32


@pytest.mark.parametrize("content", ["zero", "noise"])
@pytest.mark.parametrize("family", ["box", "flat"])
def test_other_content_leaves_labels_alone(content: str, family: str) -> None:
    labels = torch.tensor([2, 0, 1, 1])
    drawn = draw(mix_of(mask={"family": family}, content=content), (4, 3, 16, 16))
    assert (drawn.lam < 1).any()
    assert torch.equal(mix_targets(labels, drawn, n_classes=3), torch.nn.functional.one_hot(labels, 3).float())


def test_smoothing_is_applied_once_to_the_mixed_target() -> None:
    drawn = draw(mix_of(preset="mixup"), (6, 3, 4, 4))
    labels = torch.arange(6) % 4
    plain = mix_targets(labels, drawn, n_classes=4)
    smooth = mix_targets(labels, drawn, n_classes=4, smoothing=0.2)
    torch.testing.assert_close(smooth, plain * 0.8 + 0.05)
    torch.testing.assert_close(smooth.sum(dim=1), torch.ones(6))
    assert smooth.min() == pytest.approx(0.05)  # twice would leave 0.09
    unmixed = mix_targets(labels, draw(Mix.model_validate("off"), (6, 3, 4, 4)), n_classes=4, smoothing=0.2)
    assert unmixed.amax(dim=1).tolist() == pytest.approx([0.85] * 6)


# ---------------------------------------------------------------- no mixing


@pytest.mark.parametrize("mix", ["off", {"preset": "cutmix", "apply": {"prob": 0.0, "gate": "batch"}}])
def test_prob_zero_is_no_mixing(mix: Any) -> None:
    rng = np.random.default_rng(3)
    before = copy.deepcopy(rng.bit_generator.state)
    images, labels = noise_images(5, 3, 8, 12), torch.tensor([0, 1, 2, 1, 0])
    drawn = draw_mix(Mix.model_validate(mix), view(images.shape), rng=rng, device=CPU)
    assert drawn.idle
    assert rng.bit_generator.state == before
    assert torch.equal(mix_images(images, drawn), images)
    assert torch.equal(mix_targets(labels, drawn, n_classes=3), torch.nn.functional.one_hot(labels, 3).float())
    assert drawn.lam.tolist() == drawn.lam_nominal.tolist() == [1.0] * 5


@pytest.mark.parametrize("family", ["box", "flat"])
@pytest.mark.parametrize("content", ["partner", "zero", "noise"])
def test_samples_that_are_not_mixed_stay_bit_for_bit(family: str, content: str) -> None:
    images, labels = noise_images(64, 3, 8, 8), torch.arange(64) % 7
    mix = mix_of(mask={"family": family}, content=content, size={"kind": "fixed", "frac": 0.5}, apply={"prob": 0.5})
    drawn = draw(mix, (64, 3, 8, 8))
    left = torch.from_numpy(~drawn.applied)
    assert 0 < int(left.sum()) < 64
    mixed, targets = mix_images(images, drawn), mix_targets(labels, drawn, n_classes=7)
    assert torch.equal(mixed[left].view(torch.int32), images[left].view(torch.int32))
    assert torch.equal(targets[left], torch.nn.functional.one_hot(labels[left], 7).float())
    assert (drawn.lam[left] == 1).all()
    assert (drawn.lam[~left] < 1).any()


# ---------------------------------------------------------------- dose


def areas(position: str, fractions: np.ndarray, height: int, width: int) -> torch.Tensor:
    """Return the fraction of pixels pasted by boxes of the given fractions, float32 [n], in chunks to save memory."""
    mix = mix_of(position={"kind": position})
    rng = np.random.default_rng(11)
    chunks = [
        mix.mask.draw(part, Canvas(height_px=height, width_px=width, position=mix.position, rng=rng, device=CPU))
        for part in np.array_split(fractions, max(1, len(fractions) * height * width // 30_000_000))
    ]
    return torch.cat([chunk.view(torch.uint8).mean(dim=(1, 2, 3), dtype=torch.float32) for chunk in chunks])


def even_fractions(count: int) -> np.ndarray:
    """Uniform on [0, 1] without the noise of a draw, in random order: Beta(1, 1)."""
    return np.random.default_rng(5).permutation((np.arange(count) + 0.5) / count)


@pytest.mark.parametrize(("height", "width", "count"), [(224, 224, 10_000), (32, 32, 40_000), (32, 48, 40_000)])
def test_mean_area_of_the_paper(height: int, width: int, count: int) -> None:
    assert pytest.approx(0.3208, abs=5e-5) == PAPER_MEAN_AREA
    mean_area = areas("clip", even_fractions(count), height, width).mean().item()
    assert mean_area == pytest.approx(PAPER_MEAN_AREA, abs=0.005)


@pytest.mark.parametrize("position", ["inside", "torus"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 48)])
def test_area_is_exact_where_nothing_is_cut_off(position: str, height: int, width: int) -> None:
    assert areas(position, even_fractions(10_000), height, width).mean() == pytest.approx(0.5, abs=0.005)


def test_the_whole_path_has_the_papers_dose() -> None:
    drawn = draw(Mix(), (60_000, 3, 16, 16))
    assert 1 - drawn.lam.mean() == pytest.approx(PAPER_MEAN_AREA, abs=0.006)
    assert drawn.lam_nominal.mean() == pytest.approx(0.5, abs=0.006)


def test_coverage_is_uniform_on_the_torus_only() -> None:
    spread = {}
    for position in ("clip", "inside", "torus"):
        mix = mix_of(position={"kind": position})
        mask = mix.mask.draw(
            even_fractions(20_000),
            Canvas(height_px=12, width_px=20, position=mix.position, rng=np.random.default_rng(2), device=CPU),
        )
        coverage = mask.float().mean(dim=(0, 1))
        spread[position] = (coverage.max() - coverage.min()).item()
    assert spread["torus"] < 0.035  # 240 pixels, SD 0.0035 each
    assert spread["clip"] > 0.2
    assert spread["inside"] > 0.5


# ---------------------------------------------------------------- draw apart from apply


@pytest.mark.parametrize("family", ["box", "flat"])
@pytest.mark.parametrize("content", ["partner", "zero", "noise"])
@pytest.mark.parametrize("prob", [1.0, 0.5])
def test_application_is_pure(family: str, content: str, prob: float) -> None:
    images, labels = noise_images(9, 3, 8, 12), torch.arange(9)
    images_before, labels_before = images.clone(), labels.clone()
    drawn = draw(mix_of(mask={"family": family}, content=content, apply={"prob": prob}), (9, 3, 8, 12))
    drawn_before = copy.deepcopy(drawn)
    mixed = mix_images(images, drawn)
    assert torch.equal(mixed, mix_images(images, drawn))
    assert torch.equal(mix_targets(labels, drawn, n_classes=9), mix_targets(labels, drawn, n_classes=9))
    assert torch.equal(images, images_before)
    assert torch.equal(labels, labels_before)
    assert torch.equal(drawn.pastes[0].mask, drawn_before.pastes[0].mask)
    assert torch.equal(drawn.partner, drawn_before.partner)
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert mixed.shape == images.shape
    assert mixed.dtype == images.dtype


def test_partners_are_pasted_from_the_unmixed_batch() -> None:
    images = noise_images(16, 3, 8, 8)
    drawn = draw(mix_of(size={"kind": "fixed", "frac": 0.5}), (16, 3, 8, 8))
    mixed = mix_images(images, drawn)
    for index, partner in enumerate(drawn.partner.tolist()):
        assert torch.equal(mixed[index], torch.where(drawn.pastes[0].mask[index], images[partner], images[index]))


def test_a_draw_depends_on_its_generator_alone() -> None:
    mix = mix_of(mask={"family": "box", "aspect_max": 3.0}, content="noise", apply={"prob": 0.5})
    legacy = np.random.mtrand._rand
    numpy_before, torch_before = copy.deepcopy(legacy.get_state(legacy=False)), torch.get_rng_state()
    first = draw(mix, (8, 3, 8, 8), seed=4)
    np.testing.assert_equal(legacy.get_state(legacy=False), numpy_before)
    assert torch.equal(torch.get_rng_state(), torch_before)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        second = draw(mix, (8, 3, 8, 8), seed=4)
    other = draw(mix, (8, 3, 8, 8), seed=5)
    assert torch.equal(first.pastes[0].mask, second.pastes[0].mask)
    assert torch.equal(first.partner, second.partner)
    assert first.pastes[0].content is not None
    assert second.pastes[0].content is not None
    assert torch.equal(first.pastes[0].content, second.pastes[0].content)
    assert (first.applied == second.applied).all()
    assert not torch.equal(first.pastes[0].mask, other.pastes[0].mask)


def test_prob_does_not_shift_later_draws() -> None:
    states = []
    for prob in (0.01, 0.5, 1.0):
        rng = np.random.default_rng(8)
        draw_mix(mix_of(apply={"prob": prob}), view((8, 3, 8, 8)), rng=rng, device=CPU)
        states.append(rng.bit_generator.state)
    assert states[0] == states[1] == states[2]


# ---------------------------------------------------------------- gates, pairing, content


def test_the_batch_gate_takes_all_or_none() -> None:
    mix = mix_of(size={"kind": "fixed", "frac": 0.5}, apply={"prob": 0.5, "gate": "batch"})
    applied = np.array([draw(mix, (8, 3, 4, 4), seed=seed).applied for seed in range(400)])
    assert (applied.all(axis=1) | ~applied.any(axis=1)).all()
    assert applied.mean() == pytest.approx(0.5, abs=0.1)  # SD 0.025


def test_the_sample_gate_decides_for_each() -> None:
    mix = mix_of(position={"kind": "inside"}, size={"kind": "fixed", "frac": 0.5}, apply={"prob": 0.5})
    drawn = draw(mix, (8000, 3, 4, 4))
    # measured on pixels, not on flags: a second gate would leave a fraction of prob^2
    pasted = drawn.pastes[0].mask.flatten(1).any(dim=1)
    assert pasted.float().mean() == pytest.approx(0.5, abs=0.03)  # SD 0.006
    assert (pasted.numpy() == drawn.applied).all()
    assert drawn.lam[~pasted].unique().tolist() == [1.0]


@pytest.mark.parametrize("gate", ["sample", "batch"])
@pytest.mark.parametrize("t", [0.0, 0.3, 0.8, 1.0])
def test_the_coin_follows_the_schedule(gate: str, t: float) -> None:
    """The paper's "Scheduled CutMix" up to half of the run, at 0.9 from then on."""
    mix = mix_of(apply={"prob": 0.9, "gate": gate, "schedule": {"ramp_up_end": 0.5}})
    rng = np.random.default_rng(0)
    applied = [draw_mix(mix, view((8, 3, 4, 4)), rng=rng, device=CPU, t=t).applied for _ in range(1000)]
    assert np.mean(applied) == pytest.approx(0.9 * min(1, 2 * t), abs=0.06 if t else 0)  # SD at most 0.016


def test_every_sample_has_a_box_of_its_own() -> None:
    drawn = draw(Mix(), (64, 3, 32, 32))
    assert len(drawn.pastes[0].mask.flatten(1).unique(dim=0)) > 55
    assert len(np.unique(drawn.lam_nominal)) == 64
    fixed = draw(mix_of(size={"kind": "fixed", "frac": 0.25}), (64, 3, 32, 32))
    assert len(fixed.pastes[0].mask.flatten(1).unique(dim=0)) > 55


def test_noise_is_standard_normal_and_fresh() -> None:
    images = torch.full((8, 3, 64, 48), 100.0).contiguous(memory_format=torch.channels_last)
    drawn = draw(mix_of(preset="random_erasing", apply={"prob": 1.0}), (8, 3, 64, 48))
    mixed = mix_images(images, drawn)
    mask = drawn.pastes[0].mask.expand_as(images)
    assert (mixed[~mask] == 100).all()
    for channel in range(3):
        noise = mixed[:, channel][drawn.pastes[0].mask[:, 0]]
        assert noise.mean() == pytest.approx(0, abs=0.06)
        assert noise.std() == pytest.approx(1, abs=0.06)
    assert drawn.pastes[0].content is not None
    assert len(drawn.pastes[0].content.flatten().unique()) > 0.9 * drawn.pastes[0].content.numel()


def test_zero_content_erases() -> None:
    images = torch.full((8, 3, 16, 16), 100.0)
    drawn = draw(mix_of(preset="cutout"), (8, 3, 16, 16))
    mixed = mix_images(images, drawn)
    assert torch.equal(mixed == 0, drawn.pastes[0].mask.expand_as(images))
    assert torch.equal(mixed == 100, ~drawn.pastes[0].mask.expand_as(images))


def test_noise_needs_numbers_that_it_can_be_mixed_into() -> None:
    images = torch.zeros(8, 3, 16, 16, dtype=torch.uint8)
    for memory_format in (torch.channels_last, torch.contiguous_format):
        with pytest.raises(TypeError, match=r"content 'noise' .* floating-point images, got torch.uint8"):
            mix_images(images.contiguous(memory_format=memory_format), draw(mix_of(content="noise"), (8, 3, 16, 16)))


@pytest.mark.parametrize("mask_shape", [(5, 1, 6, 4), (5, 1, 6, 1), (5, 1, 1, 4), (5, 1, 1, 1)])
@pytest.mark.parametrize("size", [(6, 4), (6, 1), (1, 4), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("hard", [True, False])
def test_masks_are_broadcast(
    mask_shape: tuple[int, ...], size: tuple[int, int], dtype: torch.dtype, hard: bool
) -> None:
    if any(side not in (1, length) for side, length in zip(mask_shape[2:], size, strict=True)):
        mask_shape = (*mask_shape[:2], *(min(pair) for pair in zip(mask_shape[2:], size, strict=True)))
    weights = torch.from_numpy(np.random.default_rng(0).random(mask_shape, dtype=np.float32))
    mask = weights < 0.5 if hard else weights
    partners = torch.tensor([2, 0, 1, 4, 3]), torch.tensor([1, 2, 3, 4, 0])  # the second paste is made in place
    pastes = tuple(Paste(None, partner, mask) for partner in partners)
    drawn = dataclasses.replace(draw(Mix(), (5, 3, *size)), pastes=pastes)
    images = expected = (noise_images(5, 3, *size) * 50 + 128).to(dtype)
    whole = mask.float().expand(5, 1, *size)
    for partner in partners:
        mixed = expected * (1 - whole) + images[partner] * whole
        expected = mixed if dtype == torch.float32 else mixed.round().to(dtype)
    for given_images in (images.contiguous(memory_format=torch.channels_last), images.contiguous()):
        assert torch.equal(mix_images(given_images, drawn), expected)
