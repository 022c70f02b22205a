"""Laws of every policy in the folder, and the laws by which torchvision draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from tests.trainables.augment.test_operations import of_torchvision
from trainables.augment.operations import CODES, OPERATIONS, amounts_of
from trainables.augment.policies import POLICIES
from trainables.augment.policies.augmix import AugMix
from trainables.augment.policies.auto_augment import AutoAugment, _pairs
from trainables.augment.policies.base import Policy
from trainables.augment.policies.rand_augment import RandAugment
from trainables.augment.policies.trivial_augment import TrivialAugment
from trainables.device_paths import tensor_operations

HEIGHT, WIDTH, DRAWS = 24, 36, 3000
LEAST_P = 1e-3

OF_TORCHVISION: dict[str, tuple[Policy, Any, int]] = {
    "rand_augment": (RandAugment(n_ops=2, magnitude=17), v2.RandAugment(2, 17), 31),
    "trivial_augment": (TrivialAugment(), v2.TrivialAugmentWide(), 31),
    "auto_augment, imagenet": (AutoAugment(), v2.AutoAugment(), 10),
    "auto_augment, cifar10": (AutoAugment(policy="cifar10"), v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10), 10),
    "auto_augment, svhn": (AutoAugment(policy="svhn"), v2.AutoAugment(v2.AutoAugmentPolicy.SVHN), 10),
    "augmix": (AugMix(severity=4, all_ops=True), v2.AugMix(severity=4), 10),
}
"""Policies that torchvision has too, with the number of levels of strength."""


def drawn_by(policy: Policy, count: int = DRAWS, seed: int = 0) -> dict[str, np.ndarray]:
    return policy.draw(count, height_px=HEIGHT, width_px=WIDTH, rng=np.random.default_rng(seed))


def rendered(policy: Policy, images: torch.Tensor, drawn: dict[str, np.ndarray]) -> torch.Tensor:
    height_px, width_px = images.shape[1:3]
    parameters = policy.parameters(drawn, height_px=height_px, width_px=width_px)
    return policy.render(images, {name: torch.from_numpy(values) for name, values in parameters.items()})


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(5).integers(256, size=(24, HEIGHT, WIDTH, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", POLICIES)
def test_draws_and_rendering_keep_the_contract(kind: str, images: torch.Tensor) -> None:
    policy = POLICIES[kind].model_validate({"kind": kind})
    drawn = drawn_by(policy, len(images))
    assert all(len(values) == len(images) for values in drawn.values())
    assert (drawn["codes"].dtype, drawn["amounts"].dtype) == (np.uint8, np.float32)
    used = {OPERATIONS[code] for code in np.unique(drawn_by(policy)["codes"])}
    assert used <= {*policy.space, "identity"}
    again = drawn_by(policy, len(images))
    assert all(np.array_equal(values, again[name]) for name, values in drawn.items())
    result = rendered(policy, images, drawn)
    assert (result.dtype, result.shape) == (torch.uint8, images.shape)
    assert (result != images).flatten(1).any(dim=1).float().mean() > 0.5
    with tensor_operations():  # as on a GPU
        assert torch.equal(rendered(policy, images, drawn), result)
    part = {name: values[3:9] for name, values in drawn.items()}
    assert torch.equal(rendered(policy, images[3:9], part), result[3:9])


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_amounts_and_signs_are_those_of_torchvision(name: str) -> None:
    ours, theirs, n_levels = OF_TORCHVISION[name]
    amounts, signed = amounts_of(ours.space, n_levels, height_px=HEIGHT, width_px=WIDTH)
    space = {_snake(title): entry for title, entry in theirs._AUGMENTATION_SPACE.items()}
    assert set(ours.space) <= set(space)
    assert set(space) - set(ours.space) <= {"solarize", "posterize"} - set(ours.space)
    for operation, (levels, is_signed) in space.items():
        expected = levels(n_levels, HEIGHT, WIDTH)
        expected = torch.zeros(n_levels) if expected is None else expected
        if operation.startswith("translate"):
            expected = (expected + 1e-4).trunc()  # as int(magnitude) does, but for 15.99999 in place of 16
        np.testing.assert_allclose(amounts[CODES[operation]], expected, rtol=1e-5, atol=1e-6)
        assert signed[CODES[operation]] == is_signed


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_draws_have_the_frequencies_of_torchvision(name: str) -> None:
    ours, theirs, _ = OF_TORCHVISION[name]
    count = DRAWS // 3 if name == "augmix" else DRAWS  # several operations per image
    drawn = drawn_by(ours, count)
    mine = Counter(
        _bin(OPERATIONS[code], amount)
        for code, amount in zip(drawn["codes"].ravel(), drawn["amounts"].ravel(), strict=True)
        if OPERATIONS[code] != "identity"
    )
    applied = _applied(theirs, count)
    other = Counter(_bin(operation, amount) for operation, amount in applied if operation != "identity")
    bins = sorted(mine.keys() | other.keys())
    counts = np.array([[mine[each], other[each]] for each in bins])
    counts = counts[counts.sum(axis=1) >= 10]
    assert stats.chi2_contingency(counts).pvalue > LEAST_P
    # operations per image, those left out included
    assert abs(mine.total() - other.total()) < 5 * np.sqrt(mine.total() + other.total())


@pytest.mark.parametrize("kind", POLICIES)
def test_half_of_the_signs_are_negative(kind: str) -> None:
    drawn = drawn_by(POLICIES[kind].model_validate({"kind": kind}), 20_000)
    signed = [CODES[name] for name, levels in POLICIES[kind].space.items() if levels.signed]
    amounts = drawn["amounts"][np.isin(drawn["codes"], signed) & (drawn["amounts"] != 0)]
    assert stats.binomtest(int((amounts < 0).sum()), len(amounts)).pvalue > LEAST_P


@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_the_pairs_of_auto_augment_are_those_of_torchvision(policy: str) -> None:
    codes, probs, levels = _pairs(policy)
    theirs = v2.AutoAugment(v2.AutoAugmentPolicy(policy))._policies
    ours = [
        tuple((OPERATIONS[code], prob, level) for code, prob, level in zip(*pair, strict=True))
        for pair in zip(codes, probs.tolist(), levels.tolist(), strict=True)
    ]
    assert ours == [tuple((_snake(title), prob, level or 0) for title, prob, level in pair) for pair in theirs]


def test_augmix_averages_its_chains_as_torchvision_does(images: torch.Tensor) -> None:
    policy = AugMix(width=2)
    drawn = drawn_by(policy, len(images))
    weights = torch.from_numpy(drawn["weights"])[:, :, None, None, None]
    expected = images * weights[:, 0]
    for chain in range(2):
        changed = images
        for place in range(3):
            steps = zip(drawn["codes"][:, chain, place], drawn["amounts"][:, chain, place], changed, strict=True)
            changed = torch.cat(
                [
                    of_torchvision(OPERATIONS[code], image[None], torch.tensor([amount]), "bilinear")
                    for code, amount, image in steps
                ]
            )
        expected = expected + changed * weights[:, 1 + chain]
    difference = (rendered(policy, images, drawn).int() - expected.to(torch.uint8).int()).abs()
    assert difference.max() <= 3  # up to one level per operation
    assert difference.float().mean() < 0.01


def test_augmix_leaves_out_what_the_corrupted_images_have() -> None:
    codes = drawn_by(AugMix())["codes"]
    assert {OPERATIONS[code] for code in np.unique(codes)}.isdisjoint({"brightness", "color", "contrast", "sharpness"})


@pytest.mark.parametrize("alpha", [0.5, 3.0])
def test_the_weights_of_augmix_have_their_distributions(alpha: float) -> None:
    weights = drawn_by(AugMix(alpha=alpha, width=3))["weights"].astype(float)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    original = weights[:, 0]
    assert stats.kstest(original, stats.beta(alpha, alpha).cdf).pvalue > LEAST_P
    first = weights[:, 1] / (1 - original).clip(1e-9)
    assert stats.kstest(first[original < 0.999], stats.beta(alpha, 2 * alpha).cdf).pvalue > LEAST_P


def test_a_fixed_depth_skips_nothing() -> None:
    drawn = drawn_by(AugMix(depth=4, width=2))
    assert drawn["codes"].shape == (DRAWS, 2, 4)
    assert CODES["identity"] not in drawn["codes"]


@pytest.mark.parametrize("magnitude", [0, 30])
def test_magnitude_0_is_weak_and_30_is_strong(magnitude: int, images: torch.Tensor) -> None:
    policy = RandAugment(n_ops=1, magnitude=magnitude)
    drawn = drawn_by(policy)
    turned = np.abs(drawn["amounts"][drawn["codes"] == CODES["rotate"]])
    assert (turned == magnitude).all()


def _snake(title: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in title).lstrip("_")


def _bin(operation: str, amount: float) -> tuple[str, bool, int]:
    """Return operation, sign, and one of a few equally long ranges of the amount."""
    ranges = {"posterize": 2, "translate_x": 6, "translate_y": 6, "rotate": 30}
    width = ranges.get(operation, 0.2)
    return operation, bool(amount < 0), int(abs(amount) / width + 1e-4)


def _applied(policy: Any, count: int) -> list[tuple[str, float]]:
    """Return the operations that torchvision's policy draws for ``count`` images, with their amounts."""
    applied: list[tuple[str, float]] = []

    def record(image: torch.Tensor, title: str, magnitude: float, **_: Any) -> torch.Tensor:
        operation = _snake(title)
        applied.append((operation, int(magnitude) if operation.startswith("translate") else magnitude))
        return image

    image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
    patched: Callable[..., Any] = record
    with torch.random.fork_rng(), pytest.MonkeyPatch.context() as patch:
        torch.manual_seed(0)
        patch.setattr(policy, "_apply_image_or_video_transform", lambda *args, **options: patched(*args[:3], **options))
        for _ in range(count):
            policy(image)
    return applied
