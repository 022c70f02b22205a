"""Faults of public mixing code: each fault is caught by a check that our code passes.

``Loop`` writes CutMix as public code does, a sample at a time. It is right, so that a check that passes for it does
not just know our own code; a fault is a subclass that overrides the one method in which it sits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

import numpy as np
import pytest
import torch
from timm.data.mixup import Mixup
from torch import Tensor, nn

from search_spaces.study import Metric
from trainables.config import TrialConfig
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData
from trainables.epoch_result import EpochResult
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import MixDrawer, draw_mix
from trainables.mixing.pastes import MixDraw
from trainables.mixing.saliency import peaks
from trainables.mixing.schedule import Trapezoid
from trainables.step import TrainStep
from trainables.training import BatchTraining
from trainables.trial import Trial

CPU = torch.device("cpu")

Mixer = Callable[[Tensor, Tensor, np.random.Generator], tuple[Tensor, Tensor]]
"""Mixes images [B, C, H, W] of classes int64 [B]; returns them and the targets [B, max(2, B)]."""

PAPER_MEAN_AREA = 1 / 2 - 1 / 5 + 1 / 48
"""E[(r - r^2/4)^2] = E[r^2 - r^3/2 + r^4/16] for r^2 uniform: 0.3208."""


def ours(mix: Any = None, **parts: Any) -> Mixer:
    policy = Mix.model_validate(parts if mix is None else mix)

    def mixer(images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        count, channels, height_px, width_px = images.shape
        view = BatchView((count, channels, height_px, width_px), labels.numpy(), images)
        drawn = draw_mix(policy, view, rng=rng, device=CPU)
        targets = mix_targets(labels, drawn, n_classes=max(2, count), smoothing=policy.label.smoothing)
        return mix_images(images, drawn), targets

    return mixer


@dataclass(frozen=True)
class Loop:
    """CutMix with one lam, box, decision to mix and partner per sample."""

    alpha: float = 1.0
    prob: float = 1.0
    smoothing: float = 0.0
    fixed_frac: float | None = None

    def __call__(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        count, _, height_px, width_px = images.shape
        partner, applied = self.partners(count, rng), self.applied(count, rng)
        onehot = self.onehot(labels, max(2, count))
        mixed, targets = images.clone(), onehot.clone()
        for index in np.flatnonzero(applied):
            lam = self.lam(rng)
            mask = torch.from_numpy(self.mask(lam, height_px, width_px, rng)).float()
            pasted = self.read_from(images, mixed)[partner[index]]
            mixed[index] = mixed[index] * (1 - mask) + pasted * mask
            weight = self.weight(lam, mask)
            targets[index] = onehot[index] * weight + onehot[partner[index]] * (1 - weight)
        return mixed, self.smooth(targets)

    def partners(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(count)

    def applied(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return rng.random(count) < self.prob

    def lam(self, rng: np.random.Generator) -> float:
        return rng.beta(self.alpha, self.alpha) if self.fixed_frac is None else 1 - self.fixed_frac

    def mask(self, lam: float, height_px: int, width_px: int, rng: np.random.Generator) -> np.ndarray:
        rows, columns = (self.inside(lam, length, rng) for length in (height_px, width_px))
        return rows[:, None] & columns[None, :]

    def inside(self, lam: float, length_px: int, rng: np.random.Generator) -> np.ndarray:
        return abs(np.arange(0.5, length_px) - rng.uniform(0, length_px)) < length_px * np.sqrt(1 - lam) / 2

    def weight(self, lam: float, mask: Tensor) -> float | Tensor:
        return 1 - mask.mean()

    def read_from(self, images: Tensor, mixed: Tensor) -> Tensor:
        return images

    def onehot(self, labels: Tensor, n_classes: int) -> Tensor:
        return nn.functional.one_hot(labels, n_classes).float()

    def smooth(self, targets: Tensor) -> Tensor:
        return targets * (1 - self.smoothing) + self.smoothing / targets.shape[1]


def assert_tells(check: Callable[[Any], None], good: Sequence[Any], faulty: Sequence[Any]) -> None:
    """Assert that the check accepts the good candidates and rejects the faulty ones."""
    for candidate in good:
        check(candidate)
    for candidate in faulty:
        with pytest.raises(AssertionError):
            check(candidate)


def indexed(count: int, height_px: int = 16, width_px: int = 16) -> tuple[Tensor, Tensor]:
    """Return images [B, 1, H, W] in which every pixel is the index of its sample, and one class per sample."""
    index = torch.arange(count)
    return index.float()[:, None, None, None].expand(count, 1, height_px, width_px).contiguous(), index


def pasted_pixels(
    mixer: Mixer, count: int, height_px: int, width_px: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return where pixels are pasted, bool [B, H, W], and from which sample, int64 [B] (itself if none)."""
    images, labels = indexed(count, height_px, width_px)
    mixed = mixer(images, labels, rng)[0][:, 0]
    pasted = mixed != images[:, 0]
    partner = torch.where(pasted, mixed, -1.0).amax(dim=(1, 2)).long()
    return pasted, torch.where(partner < 0, labels, partner)


# ---------------------------------------------------------------- labels and pixels


def check_label_is_pixel_share(mixer: Mixer) -> None:
    """Sample k is 1 in channel k alone: a channel's mean is the fraction of sample k's pixels."""
    for seed, (count, height_px, width_px) in enumerate([(6, 8, 8), (5, 6, 20), (7, 21, 5), (2, 9, 9), (1, 4, 4)]):
        eye = torch.eye(max(2, count))[:count]
        images = eye[:, :, None, None].expand(count, max(2, count), height_px, width_px).contiguous()
        mixed, targets = mixer(images, torch.arange(count), np.random.default_rng(seed))
        torch.testing.assert_close(targets, mixed.mean(dim=(2, 3)), rtol=0, atol=2e-6)


def test_lam_is_corrected_after_clipping() -> None:
    class Uncorrected(Loop):
        def weight(self, lam: float, mask: Tensor) -> float:
            return lam

    nominal = ours(label={"lam": "nominal"})  # the same fault, available as an option
    assert_tells(check_label_is_pixel_share, [ours(), Loop()], [Uncorrected(), nominal])


def test_lam_is_not_inverted() -> None:
    class Inverted(Loop):
        def weight(self, lam: float, mask: Tensor) -> Tensor:
            return mask.mean()

    assert_tells(check_label_is_pixel_share, [ours(prob_of(0.5)), Loop(prob=0.5)], [Inverted(), Inverted(prob=0.5)])


def prob_of(prob: float, **parts: Any) -> dict[str, Any]:
    return {"apply": {"prob": prob}, **parts}


def test_a_soft_masks_label_is_on_the_masks_side() -> None:
    class Soft(Loop):
        def inside(self, lam: float, length_px: int, rng: np.random.Generator) -> np.ndarray:
            distance = abs(np.arange(0.5, length_px) - rng.uniform(0, length_px)) / length_px
            return np.clip(1.2 * np.sqrt(1 - lam) - distance, 0, 1)

        def mask(self, lam: float, height_px: int, width_px: int, rng: np.random.Generator) -> np.ndarray:
            return np.outer(self.inside(lam, height_px, rng), self.inside(lam, width_px, rng))

    class WrongSide(Soft):
        def weight(self, lam: float, mask: Tensor) -> Tensor:
            return mask.mean()

    class HardCount(Soft):
        def weight(self, lam: float, mask: Tensor) -> Tensor:
            return 1 - (mask > 0).float().mean()

    good = [ours("mixup"), ours(mask={"family": "box", "edge_px": 3.0}), Soft()]
    assert_tells(check_label_is_pixel_share, good, [WrongSide(), HardCount()])


def test_partners_are_those_of_the_unmixed_batch() -> None:
    class InPlace(Loop):
        """``x[i] <- x[j]`` after ``x[j]`` has changed."""

        def read_from(self, images: Tensor, mixed: Tensor) -> Tensor:
            return mixed

    two = {"preset": "mixup", "alternate": {"gate": "sample", "mix": {"size": {"kind": "fixed", "frac": 0.5}}}}
    assert_tells(check_label_is_pixel_share, [ours(), ours("mixup"), ours(two), Loop()], [InPlace()])


def test_smoothing_is_applied_once() -> None:
    def check(mixer: Mixer) -> None:
        images, labels = indexed(8)
        targets = mixer(images, labels, np.random.default_rng(0))[1]
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))
        assert targets.min().item() == pytest.approx(0.2 / 8, abs=1e-6)

    class Twice(Loop):
        def onehot(self, labels: Tensor, n_classes: int) -> Tensor:
            return super().smooth(super().onehot(labels, n_classes))

    assert_tells(check, [ours(label={"smoothing": 0.2}), Loop(smoothing=0.2)], [Twice(smoothing=0.2), Loop()])


# ---------------------------------------------------------------- size and shape of the box


def mean_pasted(mixer: Mixer, n_batches: int, side_px: int = 32) -> float:
    rng = np.random.default_rng(5)
    batches = [pasted_pixels(mixer, 400, side_px, side_px, rng) for _ in range(n_batches)]
    paired = torch.cat([partner != torch.arange(400) for _, partner in batches])  # with another sample
    return torch.cat([pasted.float().mean(dim=(1, 2)) for pasted, _ in batches]).sum().item() / paired.sum().item()


def test_the_area_is_not_taken_for_lam() -> None:
    def check(mixer: Mixer) -> None:
        side = np.sqrt(0.2)
        assert mean_pasted(mixer, 4) == pytest.approx((side - side**2 / 4) ** 2, abs=0.01)

    class AreaAsLam(Loop):
        def lam(self, rng: np.random.Generator) -> float:
            return 1 - super().lam(rng)

    class LengthAsLam(Loop):
        """A side as a fraction of the image, from which lam is computed without squaring."""

        def lam(self, rng: np.random.Generator) -> float:
            return 1 - np.sqrt(1 - super().lam(rng))

    fixed = {"kind": "fixed", "frac": 0.2}
    assert_tells(
        check, [ours(size=fixed), Loop(fixed_frac=0.2)], [AreaAsLam(fixed_frac=0.2), LengthAsLam(fixed_frac=0.2)]
    )


def test_height_and_width_are_not_swapped() -> None:
    def check(mixer: Mixer) -> None:
        for height_px, width_px in ((8, 24), (30, 10)):
            rng = np.random.default_rng(3)
            pasted = torch.cat([pasted_pixels(mixer, 100, height_px, width_px, rng)[0] for _ in range(4)])
            assert pasted.any(dim=0).all(), "a part of the image is never pasted"
            rows, columns = (pasted.any(dim=dim).sum(dim=1).double() for dim in (2, 1))
            borders = pasted[:, 0], pasted[:, -1], pasted[:, :, 0], pasted[:, :, -1]
            uncut = ~torch.stack([border.any(dim=1) for border in borders]).any(dim=0) & (rows > 2)
            assert uncut.sum() > 10
            ratio = (rows / columns)[uncut].mean().item()
            assert ratio == pytest.approx(height_px / width_px, rel=0.15)

    class Swapped(Loop):
        def mask(self, lam: float, height_px: int, width_px: int, rng: np.random.Generator) -> np.ndarray:
            swapped = super().mask(lam, width_px, height_px, rng)
            mask = np.zeros((height_px, width_px), dtype=bool)
            both = min(height_px, width_px)
            mask[:both, :both] = swapped[:both, :both]
            return mask

    class SwappedSides(Loop):
        def mask(self, lam: float, height_px: int, width_px: int, rng: np.random.Generator) -> np.ndarray:
            half = np.sqrt(1 - lam) / 2
            rows = abs(np.arange(0.5, height_px) - rng.uniform(0, height_px)) < half * width_px
            columns = abs(np.arange(0.5, width_px) - rng.uniform(0, width_px)) < half * height_px
            return rows[:, None] & columns[None, :]

    assert_tells(check, [ours(), Loop()], [Swapped(), SwappedSides()])


def test_whole_pixels_do_not_bias_the_area() -> None:
    def check(mixer: Mixer) -> None:
        assert mean_pasted(mixer, 40) == pytest.approx(PAPER_MEAN_AREA, abs=0.006)  # SD 0.002

    class Floors(Loop):
        def inside(self, lam: float, length_px: int, rng: np.random.Generator) -> np.ndarray:
            half, centre = int(length_px * np.sqrt(1 - lam)) // 2, rng.integers(length_px)
            pixels = np.arange(length_px)
            return (pixels >= centre - half) & (pixels < centre + half)

    assert_tells(check, [ours(), Loop()], [Floors(), ours(mask={"family": "box", "whole_px": True})])


# ---------------------------------------------------------------- randomness


def check_own_generator(mixer: Mixer) -> None:
    """Two workers that begin with the same global state draw apart; global states neither matter nor change."""
    images, labels = indexed(8)
    legacy = np.random.mtrand._rand
    drawn = {}
    for global_seed, own_seed in ((0, 0), (0, 1), (1, 0)):
        legacy.seed(global_seed)
        torch.manual_seed(global_seed)
        before = legacy.get_state(legacy=False), torch.get_rng_state()
        drawn[global_seed, own_seed] = mixer(images, labels, np.random.default_rng(own_seed))[0]
        np.testing.assert_equal(legacy.get_state(legacy=False), before[0])
        assert torch.equal(torch.get_rng_state(), before[1])
    assert torch.equal(drawn[0, 0], drawn[1, 0])
    assert not torch.equal(drawn[0, 0], drawn[0, 1])


def test_workers_do_not_share_a_global_generator() -> None:
    class Global(Loop):
        def lam(self, rng: np.random.Generator) -> float:
            return np.random.beta(1.0, 1.0)  # noqa: NPY002

    class GlobalOrder(Loop):
        def partners(self, count: int, rng: np.random.Generator) -> np.ndarray:
            return torch.randperm(count).numpy()

    class FreshSeed(Loop):
        """The same fault in modern clothes: every worker makes the same generator for itself."""

        def __call__(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            return super().__call__(images, labels, np.random.default_rng(0))

    assert_tells(check_own_generator, [ours(), ours("random_erasing"), Loop()], [Global(), GlobalOrder(), FreshSeed()])


def shares_mixed(mixer: Mixer, n_batches: int, count: int) -> np.ndarray:
    """Return the fraction of samples per batch with a pasted pixel, float64 [n_batches]."""
    rng = np.random.default_rng(4)
    batches = (pasted_pixels(mixer, count, 8, 8, rng)[0] for _ in range(n_batches))
    return np.array([pasted.flatten(1).any(dim=1).double().mean().item() for pasted in batches])


class GateTwice(Loop):
    """Both the loader and the loss decide at random whether to mix."""

    def applied(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return super().applied(count, rng) & (rng.random(count) < self.prob)


class GatePerBatch(Loop):
    def applied(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return np.full(count, rng.random() < self.prob)


HALF_BOX = {"size": {"kind": "fixed", "frac": 0.5}, "position": {"kind": "inside"}, "pairing": {"kind": "derange"}}


def test_prob_is_applied_once() -> None:
    def check(mixer: Mixer) -> None:
        assert shares_mixed(mixer, 60, 50).mean() == pytest.approx(0.5, abs=0.04)  # SD 0.009; twice leaves 0.25

    good = [ours(prob_of(0.5, **HALF_BOX)), Loop(prob=0.5, fixed_frac=0.5)]
    # half of the samples switch to a policy that never mixes: two decisions, on purpose
    passed_on = prob_of(0.5, **HALF_BOX, alternate={"prob": 0.5, "gate": "sample", "mix": "off"})
    assert_tells(check, good, [GateTwice(prob=0.5, fixed_frac=0.5), ours(passed_on)])


def test_the_coin_is_each_samples_where_that_is_meant() -> None:
    def check_sample(mixer: Mixer) -> None:
        shares = shares_mixed(mixer, 20, 64)
        assert ((shares > 0.2) & (shares < 0.8)).all()

    def check_batch(mixer: Mixer) -> None:
        shares = shares_mixed(mixer, 40, 64)
        assert ((shares == 0) | (shares > 0.9)).all()
        assert 0.2 < (shares > 0).mean() < 0.8

    per_sample = [ours(prob_of(0.5, **HALF_BOX)), Loop(prob=0.5, fixed_frac=0.5)]
    per_batch = [ours(HALF_BOX | {"apply": {"prob": 0.5, "gate": "batch"}}), GatePerBatch(prob=0.5, fixed_frac=0.5)]
    assert_tells(check_sample, per_sample, per_batch)
    assert_tells(check_batch, per_batch, per_sample)


def test_every_sample_has_a_box_of_its_own() -> None:
    def check(mixer: Mixer) -> None:
        pasted, partner = pasted_pixels(mixer, 64, 32, 32, np.random.default_rng(1))
        masks = pasted[partner != torch.arange(64)]
        assert len(masks) > 55
        assert len(masks.flatten(1).unique(dim=0)) > 50

    class OneBox(Loop):
        def __call__(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            box = super().mask(0.5, *images.shape[2:], rng)
            object.__setattr__(self, "mask", lambda *_: box)
            return super().__call__(images, labels, rng)

    assert_tells(check, [ours(), Loop()], [OneBox(), ours(granularity="batch")])


def test_every_sample_has_a_size_of_its_own() -> None:
    def check(mixer: Mixer) -> None:
        pasted, partner = pasted_pixels(mixer, 64, 32, 32, np.random.default_rng(1))
        shares = pasted[partner != torch.arange(64)].float().mean(dim=(1, 2))
        assert shares.min() < 0.1
        assert shares.max() > 0.6

    class OneLam(Loop):
        """Each box has its own place, which hides that all have the same size."""

        def __call__(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            lam = super().lam(rng)
            object.__setattr__(self, "lam", lambda _: lam)
            return super().__call__(images, labels, rng)

    assert_tells(
        check, [ours(), ours(position={"kind": "torus"}), Loop()], [OneLam(), ours(granularity="batch"), ours(HALF_BOX)]
    )


def test_every_sample_has_a_saliency_map_of_its_own() -> None:
    """Each image is black but for one spot: what a sample gets from its partner is what lies about that spot."""
    rng = np.random.default_rng(9)
    spots = rng.integers(4, 20, size=(12, 2))
    images = torch.zeros(12, 1, 24, 24)
    images[torch.arange(12), 0, spots[:, 0], spots[:, 1]] = 10.0 + torch.arange(12)

    def check(mixer: Mixer) -> None:
        mixed, targets = mixer(images, torch.arange(12), np.random.default_rng(2))
        for index, target in enumerate(targets):
            others = [int(other) for other in target.nonzero() if int(other) != index]
            assert len(others) == 1
            y, x = spots[others[0]]
            assert mixed[index, 0, y, x] == images[others[0], 0, y, x], "the partner's spot is left out"

    class OneMap(Loop):
        """As in the reference code: the map of one image serves the batch."""

        def partners(self, count: int, rng: np.random.Generator) -> np.ndarray:
            return np.roll(np.arange(count), 1)

        def mask(self, lam: float, height_px: int, width_px: int, rng: np.random.Generator) -> np.ndarray:
            y, x = self.centre(height_px, width_px)
            rows, columns = (abs(np.arange(length) - at) < 3 for length, at in ((height_px, y), (width_px, x)))
            return rows[:, None] & columns[None, :]

        def centre(self, height_px: int, width_px: int) -> tuple[int, int]:
            y, x = peaks(images)[:, 0]
            return int(y), int(x)

    class OwnMap(OneMap):
        def __call__(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            found = iter(np.roll(peaks(images).numpy(), 1, axis=1).T.tolist())
            object.__setattr__(self, "centre", lambda *_: next(found))
            return super().__call__(images, labels, rng)

    at_peak = {
        "position": {"kind": "saliency"},
        "pairing": {"kind": "derange"},
        "size": {"kind": "fixed", "frac": 0.05},
    }
    somewhere = at_peak | {"position": {"kind": "inside"}}
    assert_tells(check, [ours(at_peak), OwnMap()], [OneMap(), ours(somewhere)])


# ---------------------------------------------------------------- partners and batch sizes


def test_partners_are_drawn_anew_and_odd_batches_have_them() -> None:
    def check(mixer: Mixer) -> None:
        for count in (4, 5):
            met = np.zeros((count, count))
            rng = np.random.default_rng(6)
            for _ in range(300):
                _, partner = pasted_pixels(mixer, count, 8, 8, rng)
                met[np.arange(count), partner.numpy()] += 1
            assert (met[~np.eye(count, dtype=bool)] > 20).all()  # 300 / 5 expected, SD 7

    class Flip(Loop):
        def partners(self, count: int, rng: np.random.Generator) -> np.ndarray:
            return np.arange(count)[::-1]

    class Roll(Loop):
        def partners(self, count: int, rng: np.random.Generator) -> np.ndarray:
            return np.roll(np.arange(count), 1)

    def timm(images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        mixed, targets = Mixup(cutmix_alpha=1.0, mixup_alpha=0.0, num_classes=len(labels))(images.clone(), labels)
        return mixed, targets

    good = [ours(HALF_BOX), ours(HALF_BOX | {"pairing": {"kind": "permute"}}), Loop(fixed_frac=0.5)]
    asked_for = [ours(HALF_BOX | {"pairing": {"kind": kind}}) for kind in ("flip", "roll")]
    assert_tells(check, good, [Flip(), Roll(), timm, *asked_for])


def test_odd_batches_and_a_batch_of_one() -> None:
    def check(mixer: Mixer) -> None:
        for count in (1, 2, 3, 7):
            images, labels = indexed(count)
            mixed, targets = mixer(images, labels, np.random.default_rng(count))
            assert mixed.shape == images.shape
            assert targets.shape == (count, max(2, count))
            assert mixed.isfinite().all()
            torch.testing.assert_close(targets.sum(dim=1), torch.ones(count))
            if count == 1:  # it is its own partner
                assert torch.equal(mixed, images)
                assert targets.tolist() == [[1.0, 0.0]]

    def timm(images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        mixed, targets = Mixup(num_classes=max(2, len(labels)))(images.clone(), labels)
        return mixed, targets

    def halves(images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        half = len(images) // 2
        order = torch.cat([torch.arange(half, 2 * half), torch.arange(half)])
        mixed = 0.5 * images[: 2 * half] + 0.5 * images[order]
        onehot = nn.functional.one_hot(labels, max(2, len(labels))).float()
        return mixed, 0.5 * onehot[: 2 * half] + 0.5 * onehot[order]

    kinds = ("permute", "derange", "roll", "flip", "cross_class", "same_class")
    good = [ours(pairing={"kind": kind}) for kind in kinds]
    good += [
        ours(granularity="pair", pairing={"kind": "flip"}),
        ours(granularity="batch"),
        ours("mixup"),
        ours(source="resized"),
    ]
    assert_tells(check, [*good, Loop()], [timm, halves])


# ---------------------------------------------------------------- memory layout


def test_channels_last_stays() -> None:
    def check(mixer: Mixer) -> None:
        for channels in (3, 16):  # 16: maps inside the network
            for requires_grad in (False, True):
                images = torch.randn(4, channels, 6, 10).contiguous(memory_format=torch.channels_last)
                images.requires_grad_(requires_grad)
                mixed, _ = mixer(images, torch.arange(4), np.random.default_rng(0))
                assert mixed.is_contiguous(memory_format=torch.channels_last)
                plain = images.detach().contiguous()
                assert mixer(plain, torch.arange(4), np.random.default_rng(0))[0].is_contiguous()

    class Permuted(Loop):
        def __call__(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            mixed, targets = super().__call__(images, labels, rng)
            return mixed.contiguous(), targets

    def selected(images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Torch's selection of partners forgets the layout, and its choice between two takes the first one's."""
        mask = torch.from_numpy(rng.random((len(images), 1, *images.shape[2:])) < 0.5)
        partner = torch.from_numpy(rng.permutation(len(images)))
        return torch.where(mask, images.index_select(0, partner), images), labels

    parts: list[Any] = [{}, "mixup", "cutout", "random_erasing", {"source": "displaced"}, {"source": "resized"}]
    parts += [
        {"mask": {"family": "box", "edge_px": 2.0}},
        {"alternate": {"prob": 0.5, "gate": "sample", "mix": "mixup"}},
    ]
    assert_tells(check, [*(ours(mix) for mix in parts), Loop()], [Permuted(), selected])


# ---------------------------------------------------------------- in a run


def test_schedulers_see_nothing_but_validation() -> None:
    """Predictions on mixed images, compared with unmixed labels, are wrong in proportion to the dose."""

    def check(reported_and_watched: tuple[set[str], Sequence[str]]) -> None:
        reported, watched = reported_and_watched
        measured = {name for name in reported if any(word in name for word in ("top", "err", "acc", "ece", "nll"))}
        assert measured, "nothing is measured"
        assert {name for name in measured if not name.startswith("val_")} == set()
        assert set(watched) <= measured

    reported = {field.name for field in fields(EpochResult)}
    watched = get_args(Metric)
    faulty = [(reported | {"train_top1_error"}, watched), (reported, ("train_loss",)), (reported, ("train_accuracy",))]
    assert_tells(check, [(reported, watched)], faulty)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> TrialData:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(30, 8, 8, 3), dtype=np.uint8)
    return TrialData(
        images=ImageSet(
            images, np.arange(30) % 3, ("a", "b", "c"), None, np.full(3, 0.5, "f4"), np.full(3, 0.25, "f4")
        ),
        padded=np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))),
        train_rows=np.arange(20),
        val_rows=np.arange(20, 30),
        flip=True,
    )


STEPS = 3
"""Steps an epoch: 20 images in batches of 8."""


def config_of(mix: Any, max_epochs: int = 6) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "data": {"batch_size": 8, "pad_px": 1},
            "model": {"name": "tiny", "width": 0.25, "precision": "fp32"},
            "optimizer": {"max_epochs": max_epochs, "lr": 0.02},
            "mix": mix,
        }
    )


def test_evaluation_is_not_mixed(data: TrialData) -> None:
    class MixingStep(TrainStep):
        def forward(self, net: nn.Module, images: Tensor) -> Tensor:
            count, channels, height_px, width_px = images.shape
            view = BatchView((count, channels, height_px, width_px), np.zeros(count, dtype=np.int64))
            drawn = draw_mix(self._config.mix, view, rng=np.random.default_rng(0), device=CPU)
            return super().forward(net, mix_images(images, drawn))

    class MixesAlways(Trial):
        _step_class = MixingStep

    class LeavesTrainingMode(Trial):
        """Batch statistics of validation images, as where ``eval()`` is forgotten."""

        def validate(self) -> dict[str, float]:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(nn.Module, "eval", lambda net: net)
                return super().validate()

    def check(kind: type[Trial]) -> None:
        trial = kind(config_of({"preset": "mixup"}), data)
        reported = trial.run_epoch()
        plain = Trial(config_of("off"), data)
        plain._net.load_state_dict(trial.weights())
        assert trial.validate() == plain.validate()
        assert reported.val_nll == plain.validate()["nll"]

    assert_tells(check, [Trial], [MixesAlways, LeavesTrainingMode])


def test_the_schedule_follows_planned_steps(data: TrialData, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = {"apply": {"schedule": {"ramp_up_end": 1.0}}}
    seen: list[float] = []

    draw = MixDrawer.draw

    def recording(drawer: MixDrawer, batch: BatchView, t: float) -> MixDraw:
        seen.append(drawer.mix.apply.prob_at(t))
        return draw(drawer, batch, t)

    monkeypatch.setattr(MixDrawer, "draw", recording)

    class EpochsSoFar(Trial):
        def _train_epoch(self) -> dict[str, float]:
            assert isinstance(self._training, BatchTraining)
            self._training._rates.planned_steps = len(self._batches) * (self.epoch + 1)
            return super()._train_epoch()

    class StepsSinceResumed(Trial):
        _first: int | None = None

        def _train_epoch(self) -> dict[str, float]:
            self._first = self._n_steps if self._first is None else self._first
            self._n_steps -= self._first
            trained = super()._train_epoch()
            self._n_steps += self._first
            return trained

    def check(kind: type[Trial]) -> None:
        seen.clear()
        stopped = kind(config_of(ramp), data)
        for _ in range(2):
            stopped.run_epoch()
        resumed = kind(config_of(ramp), data)
        resumed.load_state_dict(stopped.state_dict())
        for _ in range(2):
            resumed.run_epoch()
        assert seen == [step / (6 * STEPS) for step in range(4 * STEPS)]

    assert_tells(check, [Trial], [EpochsSoFar, StepsSinceResumed])


def test_a_schedule_knows_the_share_of_the_plan_alone() -> None:
    """The same fraction of the plan has the same factor, for any length of the plan and any earlier call."""
    ramp = Trapezoid(ramp_up_start=0.1, ramp_up_end=0.5, ramp_down_start=0.7, ramp_down_end=0.9)
    forwards = [ramp.factor(step / 40) for step in range(40)]
    assert [ramp.factor(step / 40) for step in reversed(range(40))] == forwards[::-1]
    assert [ramp.factor(10 * step / 400) for step in range(40)] == forwards
