from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import cross_entropy

from tests.trainables.evaluation.conftest import planted
from trainables.data.image_set import ImageSet
from trainables.errors import UserError
from trainables.evaluation.axes.adversarial import Adversarial, masked_gradients, masked_one_step, noise
from trainables.evaluation.base import Measured
from trainables.evaluation.subject import Subject

SIDE_PX = 8


def by_setting(measured: Measured, metric: str) -> dict[str, float]:
    return {value.setting: value.value for value in measured.values if value.metric == metric}


def at_8(measured: Measured, metric: str) -> float:
    return by_setting(measured, metric)["eps=8/255"]


def images_of(count: int, n_classes: int, *, seed: int = 0) -> ImageSet:
    """Noise with labels in turn, black and white pixels among it."""
    rng = np.random.default_rng(seed)
    like = planted(count, seed=0, side_px=SIDE_PX)
    images = rng.integers(-30, 286, size=like.images.shape).clip(0, 255).astype(np.uint8)
    classes = tuple(map(str, range(n_classes)))
    return replace(like, images=images, labels=np.arange(count) % n_classes, classes=classes)


def linear(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda pixels: pixels.flatten(1) @ weight.T + bias


def two_classes(images: ImageSet) -> tuple[Tensor, Tensor]:
    """Weights by which every image is classified right, by margins of many sizes."""
    rng = np.random.default_rng(1)
    pixels = torch.from_numpy(images.images.copy()).permute(0, 3, 1, 2).flatten(1).double() / 255
    signs = torch.from_numpy(2.0 * images.labels - 1)
    margins = torch.from_numpy(rng.uniform(0.1, 1, size=len(images)) ** 3)
    weight = torch.linalg.lstsq(pixels, signs * margins, driver="gelsd").solution  # fewer images than pixels: exact
    return torch.stack([-weight, weight]).float() / 2, torch.zeros(2)


def worst_margins(images: ImageSet, weight: Tensor, eps_255: float) -> Tensor:
    """The smallest margin, in closed form, within the distance and the range of pixels, float64 [n]."""
    pixels = torch.from_numpy(images.images.copy()).permute(0, 3, 1, 2).flatten(1).double() / 255
    direction = (weight[1] - weight[0]).double() * torch.from_numpy(2.0 * images.labels - 1)[:, None]
    lowest, highest = (pixels - eps_255 / 255).clamp(min=0), (pixels + eps_255 / 255).clamp(max=1)
    return (direction * torch.where(direction > 0, lowest, highest)).sum(dim=1)


@pytest.fixture
def images() -> ImageSet:
    return images_of(60, 2)


@pytest.fixture
def quick_autoattack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it give up early: a linear network needs few steps."""
    from pyautoattack import AutoAttack

    standard = AutoAttack._set_version

    def quick(attack: Any, version: str) -> None:
        standard(attack, version)
        attack.square.n_queries = 10
        attack.apgd.n_iter = attack.apgd_targeted.n_iter = 10
        attack.fab.n_iter = 3

    monkeypatch.setattr(AutoAttack, "_set_version", quick)


class TestLinear:
    """Two classes and a linear network: the worst image is known."""

    def test_all_attacks_find_the_optimum(self, images: ImageSet, answering: Callable[..., Subject]) -> None:
        weight, bias = two_classes(images)
        subject = answering(linear(weight, bias), test=images)
        found = Adversarial(eps_255=(0.5, 1.0, 2.0)).measure(subject)
        errors = by_setting(found, "robust_error")
        assert by_setting(found, "clean_error")[""] == 0
        for eps in (0.5, 1.0, 2.0, 8.0):
            exact = (worst_margins(images, weight, eps) < 0).double().mean().item()
            for attack in ("fgsm", "pgd10", "pgd20"):
                assert errors[f"{attack} eps={eps:g}/255"] == pytest.approx(exact), (attack, eps)
        assert 0.1 < errors["pgd20 eps=0.5/255"] < errors["pgd20 eps=1/255"] < 0.9
        assert errors["pgd20 eps=255/255"] == 1
        assert at_8(found, "fgsm_minus_pgd") == 0
        assert at_8(found, "masked_gradients") == at_8(found, "masked_one_step") == 0
        assert by_setting(found, "zero_gradient")[""] == 0

    def test_autoattack_finds_it_too(
        self, images: ImageSet, answering: Callable[..., Subject], quick_autoattack: None
    ) -> None:
        """Two of four classes are never near: the closed form of two holds."""
        weight, _ = two_classes(images)
        wide = torch.cat([weight, 0.001 * weight])
        four = replace(images, classes=("0", "1", "2", "3"))
        subject = answering(linear(wide, torch.tensor([0.0, 0.0, -50.0, -50.0])), test=four)
        state, tracer = torch.get_rng_state(), sys.gettrace()
        axis = Adversarial(n_images=4, pgd_steps=(1,), autoattack=True, autoattack_n_images=12)
        axis.check(subject.about)
        found = axis.measure(subject)
        exact = (worst_margins(images, weight, 8)[subject.sample(12, seed=0)] < 0).double().mean().item()
        assert by_setting(found, "robust_error")["autoattack eps=8/255"] == pytest.approx(exact)
        assert 0.1 < exact < 0.9
        assert torch.equal(torch.get_rng_state(), state)
        assert sys.gettrace() is tracer
        assert axis.measure(subject) == found


def by_hand(subject: Subject, pixels: Tensor, labels: Tensor, start: Tensor, *, eps: float, step: float, steps: int):  # type: ignore[no-untyped-def]
    found = start
    for _ in range(steps):
        found = found.detach().requires_grad_()
        cross_entropy(subject.saved.model(found), labels, reduction="sum").backward()
        found = found.detach() + step * found.grad.sign()
        found = torch.min(torch.max(found, pixels - eps), pixels + eps).clamp(0, 1)
    return found


@pytest.mark.parametrize("steps", [1, 3])
def test_attacks_on_a_network_equal_those_by_hand(subject: Subject, steps: int) -> None:
    axis = Adversarial(eps_255=(40.0, 64.0), pgd_steps=(steps,), n_images=40, seed=2)
    errors = by_setting(axis.measure(subject), "robust_error")
    rows = subject.sample(40, seed=2)
    pixels, labels = subject.shown(subject.test, rows)
    clean = subject.saved.model(pixels).argmax(dim=1) != labels
    for eps_255 in (8.0, 40.0, 64.0):
        eps = eps_255 / 255
        fgsm = by_hand(subject, pixels, labels, pixels, eps=eps, step=eps, steps=1)
        start = (pixels + eps * noise(subject, rows, 2, "start of pgd")).clamp(0, 1)
        pgd = by_hand(subject, pixels, labels, start, eps=eps, step=eps / 4, steps=steps)
        for attack, found in (("fgsm", fgsm), (f"pgd{steps}", pgd)):
            misled = clean | (subject.saved.model(found).argmax(dim=1) != labels)
            assert errors[f"{attack} eps={eps_255:g}/255"] == pytest.approx(misled.double().mean().item())
    assert 0 < errors["fgsm eps=40/255"] < 1


def test_random_corners_equal_those_by_hand(images: ImageSet, answering: Callable[..., Subject]) -> None:
    network = linear(*two_classes(images))
    subject = answering(network, test=images)
    pixels, labels = subject.shown(images, np.arange(60))
    misled = torch.zeros(60, dtype=torch.bool)
    for draw in range(3):
        corner = torch.where(noise(subject, np.arange(60), 1, "corner", draw) > 0, 8 / 255, -8 / 255)
        misled |= network((pixels + corner).clamp(0, 1)).argmax(dim=1) != labels
    found = Adversarial(pgd_steps=(1,), n_random=3, seed=1).measure(subject)
    assert by_setting(found, "robust_error")["random eps=8/255"] == pytest.approx(misled.double().mean().item())
    assert 0.02 < misled.double().mean() < 0.98


def test_noise_is_uniform_and_of_its_row(subject: Subject) -> None:
    drawn = noise(subject, np.arange(60), 0, "any")
    assert -1 <= drawn.min() < -0.99
    assert 0.99 < drawn.max() < 1
    assert abs(float(drawn.mean())) < 0.01
    assert float(drawn.var()) == pytest.approx(1 / 3, abs=0.01)
    assert torch.equal(noise(subject, np.array([9, 4]), 0, "any"), drawn[[9, 4]])
    assert not torch.equal(noise(subject, np.array([9]), 1, "any"), drawn[[9]])


def test_a_network_of_plain_averages_withstands(answering: Callable[..., Subject]) -> None:
    """A quarter of the pixels is brighter by 110 and more: that is 27 on average, against twice eps at most."""
    found = Adversarial().measure(answering(lambda pixels: pixels.mean(dim=(2, 3)), test=planted(30, seed=2)))
    errors = by_setting(found, "robust_error")
    assert errors.pop("pgd20 eps=255/255") == 1
    assert set(errors.values()) == {0.0}
    assert at_8(found, "masked_gradients") == at_8(found, "masked_one_step") == 0


@pytest.mark.parametrize("with_chain", [True, False])
def test_constant_answers_cannot_be_changed(with_chain: bool, answering: Callable[..., Subject]) -> None:
    def constant(pixels: Tensor) -> Tensor:
        return torch.eye(3)[[1]].expand(len(pixels), 3) + (0 * pixels.sum() if with_chain else 0)

    found = Adversarial().measure(answering(constant, test=planted(30, seed=2)))
    assert list(by_setting(found, "robust_error").values()) == pytest.approx([2 / 3] * 14)
    assert by_setting(found, "zero_gradient")[""] == 1
    assert at_8(found, "masked_gradients") == 1  # by what gradients say it could be anything


def test_who_is_always_wrong_is_not_attacked(answering: Callable[..., Subject]) -> None:
    images = planted(30, seed=2)
    found = Adversarial().measure(answering(lambda pixels: -pixels.mean(dim=(2, 3)), test=images))
    assert by_setting(found, "clean_error")[""] == 1
    assert set(by_setting(found, "robust_error").values()) == {1.0}
    assert np.isnan(at_8(found, "masked_gradients"))
    assert np.isnan(by_setting(found, "zero_gradient")[""])


class TestMaskedGradients:
    """Networks whose gradients mislead the attacker."""

    def measured(self, answering: Callable[..., Subject], images: ImageSet, turned: Callable[[Tensor], Tensor]) -> Any:
        """Measure a linear network whose gradient is turned round where ``turned``, bool [B, 1, 1, 1], says so."""
        right = linear(*two_classes(images))

        def network(pixels: Tensor) -> Tensor:
            return right(torch.where(turned(pixels), 2 * pixels.detach() - pixels, pixels))

        return Adversarial().measure(answering(network, test=images))

    def test_turned_at_the_images_alone_fools_one_step(self, answering: Any, images: ImageSet) -> None:
        originals = torch.from_numpy(images.images.copy()).permute(0, 3, 1, 2).flatten(1).float() / 255

        def at_images(pixels: Tensor) -> Tensor:
            distance = (pixels.detach().flatten(1)[:, None] - originals).abs().amax(dim=2).amin(dim=1)
            return (distance < 1e-6).view(-1, 1, 1, 1)

        found = self.measured(answering, images, at_images)
        assert by_setting(found, "robust_error")["fgsm eps=8/255"] == 0
        assert by_setting(found, "robust_error")["pgd20 eps=8/255"] > 0.5
        assert at_8(found, "fgsm_minus_pgd") > 0.5
        assert at_8(found, "masked_one_step") == 1
        assert at_8(found, "masked_gradients") == 0

    def test_turned_everywhere_fools_all(self, answering: Any, images: ImageSet) -> None:
        found = self.measured(answering, images, lambda pixels: torch.ones(len(pixels), 1, 1, 1, dtype=torch.bool))
        assert by_setting(found, "robust_error")["pgd20 eps=8/255"] == 0
        assert by_setting(found, "robust_error")["pgd20 eps=255/255"] < 0.95
        assert at_8(found, "masked_gradients") == 1
        assert at_8(found, "masked_one_step") == 0

    def test_steps_leave_nothing_to_follow(self, answering: Any, images: ImageSet) -> None:
        right = linear(*two_classes(images))
        found = Adversarial().measure(answering(lambda pixels: right((pixels * 255).round() / 255), test=images))
        assert by_setting(found, "zero_gradient")[""] == 1
        assert at_8(found, "masked_gradients") == 1


HONEST: dict[str, Any] = {
    "fgsm": 0.5, "random": 0.9, "pgd": {2.0: 0.7, 8.0: 0.4}, "unbounded": 0.0, "zero_gradient": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "masked"),
    [
        ({}, False),
        ({"fgsm": 0.395}, False),  # within the margin
        ({"fgsm": 0.38}, True),
        ({"random": 0.38}, True),
        ({"pgd": {2.0: 0.38, 8.0: 0.4}}, True),
        ({"unbounded": 0.1}, True),
        ({"zero_gradient": 0.1}, True),
    ],
)
def test_each_sign_is_one(change: dict[str, Any], masked: bool) -> None:
    assert masked_gradients(**(HONEST | change)) == masked


@pytest.mark.parametrize(
    ("fgsm", "pgd", "masked"),
    [(0.31, 0.0, True), (0.561, 0.458, False), (0.05, 0.0, False), (0.4, 0.4, False), (0.1, 0.3, False)],
)
def test_one_step_is_far_above_many(fgsm: float, pgd: float, masked: bool) -> None:
    """The first is CutMix in its paper were it to fall to PGD, the second Madry et al.'s network."""
    assert masked_one_step(fgsm, pgd) == masked


def test_twice_and_in_other_batches_it_is_the_same(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    axis = Adversarial(n_images=30, eps_255=(8.0, 24.0), pgd_steps=(2,))
    state = torch.get_rng_state()
    found = axis.measure(subject)
    assert torch.equal(torch.get_rng_state(), state)
    assert axis.measure(subject) == found
    monkeypatch.setattr(subject, "_batch_size", lambda images: 7)
    assert axis.measure(subject) == found
    assert not any(parameter.requires_grad for parameter in subject.saved.model.parameters())


def test_eight_is_always_among_the_distances(subject: Subject) -> None:
    found = by_setting(Adversarial(n_images=6, eps_255=(3.0,), pgd_steps=(1, 2)).measure(subject), "robust_error")
    assert list(found) == [
        *("fgsm eps=3/255", "fgsm eps=8/255", "pgd1 eps=3/255", "pgd1 eps=8/255", "pgd2 eps=3/255", "pgd2 eps=8/255"),
        *("pgd2 eps=255/255", "random eps=8/255"),
    ]


def test_autoattack_needs_four_classes(subject: Subject) -> None:
    Adversarial().check(subject.about)
    Adversarial(autoattack=True).check(replace(subject.about, classes=("a", "b", "c", "d")))
    with pytest.raises(UserError, match=r"adversarial\.autoattack needs 4 classes .* have 3: set .* false"):
        Adversarial(autoattack=True).check(subject.about)


@pytest.mark.parametrize("settings", [{"eps_255": [0]}, {"eps_255": [4, 2]}, {"pgd_steps": []}, {"pgd_steps": [0]}])
def test_settings_that_make_no_attack_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        Adversarial.model_validate(settings)
