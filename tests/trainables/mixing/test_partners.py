"""Several partners per image: what each of them shows, and RICAP beside the authors' algorithm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from trainables.device_paths import tensor_operations
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.dose import measure_dose
from trainables.mixing.draw import draw_mix
from trainables.mixing.labels import Label
from trainables.mixing.mixer import Mixer
from trainables.mixing.pairing import CrossClassPairing, DerangePairing, PermutePairing, draw_partners
from trainables.mixing.partners import Partners, own_fracs
from trainables.mixing.pastes import MixDraw
from trainables.mixing.source import Displaced

CPU = torch.device("cpu")


def draw(policy: Any, count: int, height_px: int = 32, width_px: int = 32, *, seed: int = 0) -> MixDraw:
    view = BatchView((count, 3, height_px, width_px), np.arange(count))
    return draw_mix(Mix.model_validate(policy), view, rng=np.random.default_rng(seed), device=CPU)


# ---------------------------------------------------------------- what each partner shows


def test_the_pasted_fraction_is_divided() -> None:
    fracs = Partners(count=3, alpha=0.5).divided(np.full(20_000, 0.6), np.random.default_rng(0))
    np.testing.assert_allclose(fracs.sum(axis=1), 0.6)
    # a part of Dirichlet(a, a, a) is Beta(a, 2 a)
    assert stats.kstest(fracs[:, 1] / 0.6, stats.beta(0.5, 1.0).cdf).pvalue > 1e-3


def test_masks_have_the_sizes_that_show_the_wanted_fractions() -> None:
    wanted = np.random.default_rng(0).dirichlet(np.ones(5), size=50)[:, :4]
    own, shown, rest = own_fracs(wanted), np.empty_like(wanted), np.ones(50)
    for index in range(3, -1, -1):  # the last one covers the others
        shown[:, index], rest = rest * own[:, index], rest * (1 - own[:, index])
    np.testing.assert_allclose(shown, wanted)


@pytest.mark.parametrize(("family", "place"), [("box", "torus"), ("fourier", "torus"), ("flat", "whole")])
def test_each_partner_shows_as_much_as_was_drawn_for_it(family: str, place: str) -> None:
    policy = {"mask": {"family": family}, "position": {"kind": place}, "size": {"kind": "fixed", "frac": 0.6}}
    drawn = draw(policy | {"partners": {"count": 3}}, 3000)
    assert drawn.partner_weights.mean(dim=1).tolist() == pytest.approx([0.2, 0.2, 0.2], abs=0.006)
    assert drawn.lam.mean().item() == pytest.approx(0.4, abs=0.006)
    if family == "flat":
        torch.testing.assert_close(drawn.partner_weights, torch.full((3, 3000), 0.2))


def test_mixup_of_three_has_dirichlet_weights() -> None:
    drawn = draw("mixup_three", 5000)
    for weight in (drawn.weight, *drawn.partner_weights):
        assert stats.kstest(weight.double().numpy(), stats.beta(1, 2).cdf).pvalue > 1e-3
    corners = torch.cat([drawn.weight[None], drawn.partner_weights]).double().T.numpy()
    assert np.corrcoef(corners.T)[0, 1:].tolist() == pytest.approx([-0.5, -0.5], abs=0.03)


def test_every_partner_has_its_pairing() -> None:
    labels, rng = np.arange(40) % 3, np.random.default_rng(0)
    permuted = draw_partners(PermutePairing(), 3, labels, rng)
    assert (np.sort(permuted, axis=1) == np.arange(40)).all()
    assert (permuted[0] != permuted[1]).sum() > 30
    assert (draw_partners(DerangePairing(), 3, labels, rng) != np.arange(40)).all()
    assert (labels[draw_partners(CrossClassPairing(), 3, labels, rng)] != labels).all()


@pytest.mark.parametrize(
    ("exponent", "weights"),
    [
        (1.0, [0.5, 0.25, 0.25, 0.0]),
        (0.0, [1 / 3, 1 / 3, 1 / 3, 0.0]),
        (2.0, [2 / 3, 1 / 6, 1 / 6, 0.0]),
        ("inf", [1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_label_rules_of_several_images(exponent: Any, weights: list[float]) -> None:
    shown = torch.tensor([[0.5], [0.25], [0.25], [0.0]])
    weight, partner_weights = Label(exponent=exponent).weights(shown[0], shown[1:])
    assert torch.cat([weight[None], partner_weights]).flatten().tolist() == pytest.approx(weights)
    equal = torch.full((4, 1), 0.25)
    weight, partner_weights = Label(exponent=exponent).weights(equal[0], equal[1:])
    assert torch.cat([weight[None], partner_weights]).flatten().tolist() == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("n_partners", [2, 3, 4, 5, 8])
def test_equal_fractions_share_the_label_whatever_rounding_does(n_partners: int) -> None:
    policy = {"mask": {"family": "flat"}, "position": {"kind": "whole"}, "partners": {"count": n_partners}}
    frac = n_partners / (n_partners + 1)
    drawn = draw(policy | {"size": {"kind": "fixed", "frac": frac}, "label": {"exponent": "inf"}}, 4)
    weights = torch.cat([drawn.weight[None], drawn.partner_weights])
    torch.testing.assert_close(weights, torch.full((n_partners + 1, 4), 1 / (n_partners + 1)))


@pytest.mark.parametrize(
    ("policy", "n_partners"),
    [("ricap", 3), ({"preset": "cutmix_three", "apply": {"prob": 1.0}}, 2), ("mixup_three", 2), ("stackmix", 1)],
)
def test_a_mixer_returns_the_classes_of_all_partners(policy: Any, n_partners: int) -> None:
    mixer = Mixer(policy, n_classes=6)
    images = torch.eye(6)[:, :, None, None].repeat(1, 1, 8, 12)[:, :3]  # channel k is 1 in image k alone
    mixed, targets = mixer(images, torch.arange(6))
    torch.testing.assert_close(targets[:, :3], mixed.mean(dim=(2, 3)))
    assert mixer.last_draw is not None
    assert mixer.last_draw.partners.shape == (n_partners, 6)


# ---------------------------------------------------------------- RICAP


def rectangles_of(drawn: MixDraw) -> np.ndarray:
    """Return (y0, x0, height, width, y, x) of each image's patch and of its crop, int64 [4, B, 6]; empty ones: 0."""
    found = np.zeros((4, len(drawn.lam), 6), dtype=np.int64)
    for image, paste in enumerate(drawn.pastes):
        assert isinstance(paste.source, Displaced)
        for sample, mask in enumerate(paste.mask[:, 0].numpy()):
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if len(rows):
                y, x = rows[0] + paste.source.dy[sample].item(), columns[0] + paste.source.dx[sample].item()
                found[image, sample] = rows[0], columns[0], len(rows), len(columns), y, x
    return found


def ricap_by_hand(images: Tensor, index: np.ndarray, crops: np.ndarray) -> tuple[Tensor, Tensor]:
    """Patch four crops together as section 3 of the paper does; return images, and the labels of image k as class k."""
    mixed, targets = [], torch.zeros(len(images), len(images))
    for sample in range(len(images)):
        pieces = []
        for image in range(4):
            _, _, height, width, y, x = crops[image, sample]
            pieces.append(images[index[image, sample], :, y : y + height, x : x + width])
            targets[sample, index[image, sample]] += height * width / images[0, 0].numel()
        halves = [torch.cat([piece for piece in half if piece.numel()], dim=2) for half in _halves(pieces)]
        mixed.append(torch.cat(halves, dim=1))
    return torch.stack(mixed), targets


def _halves(pieces: list[Tensor]) -> list[list[Tensor]]:
    halves = [pieces[:2], pieces[2:]]
    return [half for half in halves if any(piece.numel() for piece in half)]


@pytest.mark.parametrize("granularity", ["sample", "batch"])
@pytest.mark.parametrize(("height_px", "width_px"), [(32, 32), (17, 40)])
def test_ricap_patches_four_crops(granularity: str, height_px: int, width_px: int) -> None:
    images = torch.randn(9, 3, height_px, width_px, generator=torch.Generator().manual_seed(0))
    for seed in range(8):
        drawn = draw({"preset": "ricap", "granularity": granularity}, 9, height_px, width_px, seed=seed)
        crops = rectangles_of(drawn)
        index = np.concatenate([np.arange(9)[None], drawn.partners.numpy()])
        expected, targets = ricap_by_hand(images, index, crops)
        for layout in (torch.contiguous_format, torch.channels_last):
            assert torch.equal(mix_images(images.contiguous(memory_format=layout), drawn), expected)
        torch.testing.assert_close(mix_targets(torch.arange(9), drawn, n_classes=9), targets)
        if granularity == "batch":
            assert (crops == crops[:, :1]).all()  # one point and one place per crop for the whole batch


def authors_batch(height_px: int, width_px: int, rng: np.random.Generator) -> np.ndarray:
    """Draw as the authors' code does: (height, width, y, x) of four crops, int64 [4, 4]."""
    h, w = (int(np.round(side * rng.beta(0.3, 0.3))) for side in (height_px, width_px))
    sides = [(h, w), (h, width_px - w), (height_px - h, w), (height_px - h, width_px - w)]
    places = [(rng.integers(height_px - high + 1), rng.integers(width_px - wide + 1)) for high, wide in sides]
    return np.concatenate([sides, places], axis=1)


def test_ricap_has_the_authors_distribution() -> None:
    """Areas, places of the crops, and the largest label of each image."""
    rng, count = np.random.default_rng(0), 2000
    theirs = np.stack([authors_batch(17, 40, rng) for _ in range(count)], axis=1)
    ours = rectangles_of(draw("ricap", count, 17, 40))[:, :, 2:]
    areas = {name: crops[..., 0] * crops[..., 1] for name, crops in {"ours": ours, "theirs": theirs}.items()}
    assert (areas["ours"].sum(axis=0) == 17 * 40).all()
    for image in range(4):
        assert stats.ks_2samp(areas["ours"][image], areas["theirs"][image]).pvalue > 1e-3
        shown = {"ours": areas["ours"][image] > 0, "theirs": areas["theirs"][image] > 0}
        for axis in (2, 3):
            places = ours[image, shown["ours"], axis], theirs[image, shown["theirs"], axis]
            assert stats.ks_2samp(*places).pvalue > 1e-3
    assert stats.ks_2samp(areas["ours"].max(axis=0), areas["theirs"].max(axis=0)).pvalue > 1e-3


def test_stackmix_shows_two_whole_images() -> None:
    images = torch.stack([torch.zeros(3, 16, 8), torch.ones(3, 16, 8)])
    images[:, :, :, 4:] += 10  # right halves
    drawn = draw({"preset": "stackmix", "pairing": {"kind": "flip"}}, 2, 16, 8)
    mixed = mix_images(images, drawn)
    assert torch.equal(mixed[0, :, :8], images[0, :, :8])
    assert torch.equal(mixed[0, :, 8:], images[1, :, 8:])
    assert mix_targets(torch.tensor([0, 1]), drawn, n_classes=2).tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_gradients_of_maps_are_those_of_the_crops() -> None:
    """Also where a part is empty: an image that is resized to nothing has no gradient, not NaN."""
    for source in ("displaced", "resized"):
        maps = torch.randn(6, 4, 5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
        drawn = draw({"preset": "ricap", "source": source, "size": {"kind": "fixed", "frac": 0.0}}, 6, 5, 7)
        mix_images(maps, drawn).sum().backward()
        assert maps.grad is not None
        torch.testing.assert_close(maps.grad, torch.ones_like(maps))  # each original is shown whole


def test_an_accelerator_draws_the_same() -> None:
    for policy in ("ricap", "stackmix", "cutmix_three", "mixup_three"):
        host = draw(policy, 12, 16, 24)
        with tensor_operations():
            there = draw(policy, 12, 16, 24)
        for name in ("partners", "lam", "weight", "partner_weights"):
            assert torch.equal(getattr(host, name), getattr(there, name))
        assert all(torch.equal(a.mask, b.mask) for a, b in zip(host.pastes, there.pastes, strict=True))


# ---------------------------------------------------------------- dose


@pytest.mark.parametrize(
    ("policy", "pasted_frac", "exposure"),
    [
        ("ricap", 0.75, None),
        ("stackmix", 0.5, 0.5),
        # the largest of three parts of a stick is 11/18 on average
        ("mixup_three", 2 / 3, 7 / 18),
        ({"preset": "mixup", "size": {"kind": "fixed", "frac": 0.6}, "partners": {"count": 3}}, 0.6, 0.6),
    ],
)
def test_dose_of_several_partners(policy: Any, pasted_frac: float, exposure: float | None) -> None:
    dose = measure_dose(Mix.model_validate(policy), height_px=32, width_px=32)
    assert dose.pasted_frac.value == pytest.approx(pasted_frac, abs=5 * dose.pasted_frac.se + 1e-6)
    if exposure is not None:
        assert dose.exposure.value == pytest.approx(exposure, abs=5 * dose.exposure.se + 1e-6)
    assert dose.coverage.mean() == pytest.approx(dose.pasted_frac.value, abs=0.01)


def test_borders_of_a_division_are_counted_once() -> None:
    policy = {"preset": "ricap", "size": {"kind": "fixed", "frac": 0.5}}
    assert measure_dose(Mix.model_validate(policy), height_px=8, width_px=12).boundary_px.value == 8 + 12
