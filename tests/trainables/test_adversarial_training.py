"""Attacks: what they find and where they stop; adversarial training as an option of a trial."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables.adversarial_training import Fgsm, Pgd, attacked, sign_ascent, unrecorded
from trainables.config import TrialConfig
from trainables.counter_draws import draw_key
from trainables.data.batches import Normalizer
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData
from trainables.merging import merged
from trainables.trial import Trial

MEAN, STD = np.array([0.5, 0.4, 0.3], dtype=np.float32), np.array([0.25, 0.2, 0.1], dtype=np.float32)
SIDE_PX, N_TRAIN, N_VAL = 8, 48, 24
NORMALIZE = Normalizer.from_statistics(MEAN, STD, width_px=SIDE_PX, device=torch.device("cpu"))

ATTACKS = {
    "fgsm": Fgsm(),
    "fgsm from the image": Fgsm(random_start=False, step_size_255=8.0),
    "pgd": Pgd(),
    "pgd of long steps": Pgd(eps_255=4.0, steps=3, step_size_255=20.0),
    "no distance": Pgd(eps_255=0.0),
}


def images_of(seed: int = 0, count: int = 6) -> Tensor:
    """Normalised images, black and white pixels among them."""
    pixels = np.random.default_rng(seed).integers(-60, 316, size=(count, SIDE_PX, SIDE_PX, 3)).clip(0, 255)
    return NORMALIZE(torch.from_numpy(pixels.astype(np.uint8)))


def linear_net(n_classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE_PX**2, n_classes))


def targets_of(count: int, n_classes: int = 4) -> Tensor:
    """Mixed targets: two classes a sample."""
    weights = torch.linspace(0.5, 1.0, count)[:, None]
    first = torch.arange(count) % n_classes
    one_hot = torch.eye(n_classes)
    return weights * one_hot[first] + (1 - weights) * one_hot[(first + 1) % n_classes]


def attack_linear(attack: Fgsm | Pgd, images: Tensor, *, seed: int = 0, net: nn.Module | None = None) -> Tensor:
    return attacked(
        images,
        targets_of(len(images)),
        attack,
        logits_of=net or linear_net(),
        normalize=NORMALIZE,
        key=torch.from_numpy(draw_key(seed)),
    )


def pixels_of(images: Tensor) -> Tensor:
    """Values from 0 to 255 of normalised images."""
    return 255 * (images * torch.from_numpy(STD)[:, None, None] + torch.from_numpy(MEAN)[:, None, None])


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
class TestAttack:
    def test_stays_within_its_distance_and_the_range_of_pixels(self, attack: Fgsm | Pgd) -> None:
        images = images_of()
        found = attack_linear(attack, images)
        assert (pixels_of(found) - pixels_of(images)).abs().max() <= attack.eps_255 + 1e-3
        assert pixels_of(found).min() >= -1e-3
        assert pixels_of(found).max() <= 255 + 1e-3

    def test_raises_the_loss_against_mixed_targets(self, attack: Fgsm | Pgd) -> None:
        images, net = images_of(), linear_net()
        found = attack_linear(attack, images, net=net)
        before, after = (cross_entropy(net(given), targets_of(6), reduction="none") for given in (images, found))
        assert bool((after > before).all()) == (attack.eps_255 > 0)

    def test_leaves_everything_else_as_it_was(self, attack: Fgsm | Pgd) -> None:
        images, net = images_of(), linear_net()
        before, state = images.clone(), torch.get_rng_state()
        found = attack_linear(attack, images, net=net)
        assert torch.equal(images, before)
        assert all(parameter.grad is None for parameter in net.parameters())
        assert torch.equal(torch.get_rng_state(), state)
        assert not found.requires_grad
        assert found.is_contiguous(memory_format=torch.channels_last)

    def test_draws_from_its_generator_alone(self, attack: Fgsm | Pgd) -> None:
        images = images_of()
        found = attack_linear(attack, images)
        assert torch.equal(attack_linear(attack, images), found)
        other = attack_linear(attack, images, seed=1)
        if isinstance(attack, Fgsm):  # where steps are many, they end at the border from everywhere
            assert torch.equal(other, found) != attack.random_start


@given(st.floats(0, 64), st.floats(0.1, 64), st.integers(1, 4), st.booleans(), st.integers(0, 5))
def test_any_attack_stays_within_its_distance(
    eps: float, step: float, steps: int, random_start: bool, seed: int
) -> None:
    images = images_of(seed)
    attack = Pgd(eps_255=eps, step_size_255=step, steps=steps, random_start=random_start)
    found = pixels_of(attack_linear(attack, images, seed=seed))
    assert (found - pixels_of(images)).abs().max() <= eps + 1e-3
    assert found.min() >= -1e-3
    assert found.max() <= 255 + 1e-3


def test_one_step_is_the_sign_of_the_gradient() -> None:
    """Of a linear network it is known: the weights' mean over the classes by softmax minus target."""
    images, net = images_of(), linear_net()
    weight: Tensor = net[1].weight  # type: ignore[index,assignment]
    with torch.no_grad():
        slope = ((net(images).softmax(dim=1) - targets_of(6)) @ weight).view(6, 3, SIDE_PX, SIDE_PX)
    found = attack_linear(Fgsm(random_start=False, eps_255=8, step_size_255=8), images, net=net)
    expected = (pixels_of(images) + 8 * slope.sign()).clamp(0, 255)
    torch.testing.assert_close(pixels_of(found), expected, atol=2e-3, rtol=0)


def test_more_steps_find_worse_images() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 36, 4))
    losses = []
    for steps in (1, 3, 9):
        found = attack_linear(Pgd(eps_255=30, steps=steps, step_size_255=6), images_of(count=32), net=net)
        losses.append(cross_entropy(net(found), targets_of(32)).item())
    assert losses == sorted(losses)


def test_batch_norms_forget_what_the_search_showed_them() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    recorded = net(images_of())
    net.load_state_dict(state)
    with unrecorded(net):
        assert torch.equal(net(images_of()), recorded)  # batch statistics all the same
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    net(images_of())
    assert not torch.equal(net.state_dict()["1.running_mean"], state["1.running_mean"])


# ---------------------------------------------------------------- as an option of a trial


@pytest.fixture(scope="module")
def data() -> TrialData:
    """Three classes that differ in colour, plainly."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(N_TRAIN + N_VAL) % 3)
    colours = np.array([[220, 60, 60], [60, 220, 60], [60, 60, 220]])
    noise = rng.normal(scale=40, size=(len(labels), SIDE_PX, SIDE_PX, 3))
    images = (colours[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8)
    return TrialData(
        images=ImageSet(images=images, labels=labels, classes=("a", "b", "c"), boxes=None, mean=MEAN, std=STD),
        padded=images,
        train_rows=np.arange(N_TRAIN),
        val_rows=np.arange(N_TRAIN, N_TRAIN + N_VAL),
        flip=True,
    )


def config_of(**parts: Any) -> TrialConfig:
    base = {
        "data": {"batch_size": 16, "pad_px": 0},
        "model": {"name": "tiny", "width": 0.25, "precision": "fp32"},
        "optimizer": {"max_epochs": 30, "lr": 0.05},
    }
    return TrialConfig.model_validate(merged(base, parts))


def trained(data: TrialData, epochs: int, **parts: Any) -> Trial:
    trial = Trial(config_of(**parts), data)
    for _ in range(epochs):
        trial.run_epoch()
    return trial


@pytest.mark.parametrize(("kind", "mix"), [("fgsm", "cutmix"), ("fgsm", "mixup"), ("pgd", "off"), ("pgd", "cutmix")])
def test_a_network_learns_under_attack(kind: str, mix: str, data: TrialData) -> None:
    history = trained(data, 30, mix=mix, adversarial={"kind": kind}).history
    assert history[-1].train_loss < 0.6 * history[0].train_loss
    assert history[-1].val_top1_error < 0.1


def test_a_network_trained_under_attack_withstands_it_better(data: TrialData) -> None:
    attack = Pgd(eps_255=60.0, step_size_255=15.0)
    losses = []
    for adversarial in (None, attack.model_dump()):
        trial = trained(data, 30, adversarial=adversarial)
        net = trial._net.eval()
        images = NORMALIZE(torch.from_numpy(data.images.images[data.val_rows]))
        targets = torch.eye(3)[torch.from_numpy(data.images.labels[data.val_rows])]
        worst = attacked(images, targets, attack, logits_of=net, normalize=NORMALIZE, key=torch.from_numpy(draw_key(0)))
        losses.append(cross_entropy(net(worst), targets).item())
    assert losses[1] < 0.5 * losses[0]


@pytest.mark.parametrize("mix", ["off", "cutmix"])
def test_no_distance_trains_as_without(mix: str, data: TrialData) -> None:
    without = trained(data, 2, mix=mix).state_dict()
    never = trained(data, 2, mix=mix, adversarial={"kind": "pgd", "eps_255": 0.0}).state_dict()
    for name, value in without["model"].items():
        assert torch.equal(never["model"][name], value), name  # the counters of batch norms among them


def test_mixing_draws_what_it_does_without_an_attack(data: TrialData) -> None:
    without = trained(data, 2, mix="cutmix").state_dict()["generators"]
    under = trained(data, 2, mix="cutmix", adversarial={"kind": "fgsm"}).state_dict()["generators"]
    assert under == without


def test_the_mixed_image_is_attacked_against_its_mixed_target(data: TrialData, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def recording(images: Tensor, targets: Tensor, attack: Any, **given: Any) -> Tensor:
        seen.append((images.clone(), targets.clone()))
        return images

    monkeypatch.setattr("trainables.step.attacked", recording)
    mix = {"preset": "mixup", "size": {"kind": "fixed", "frac": 0.25}, "pairing": {"kind": "cross_class"}}
    trained(data, 1, mix=mix, adversarial={"kind": "fgsm"})
    assert len(seen) == 3
    for images, targets in seen:
        assert targets.sort(dim=1).values.tolist() == [[0.0, 0.25, 0.75]] * 16
        # three colours, blended 3 to 1: the channel of the larger share is the brightest
        assert (pixels_of(images).mean(dim=(2, 3)).argmax(dim=1) == targets.argmax(dim=1)).all()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"mix": "feature_cutmix"}, "mix.layer is 1"),
        ({"mix": "random_erasing"}, "mix.content 'noise'"),
        ({"model": {"dropblock": {}}}, "model.dropblock"),
        ({"adversarial": {"kind": "cw"}}, "'fgsm', 'pgd'"),
        ({"adversarial": {"kind": "fgsm", "steps": 3}}, "steps"),
        ({"adversarial": {"kind": "pgd", "eps_255": -1.0}}, "eps_255"),
        ({"adversarial": {"kind": "pgd", "steps": 0}}, "steps"),
    ],
)
def test_refuses_what_it_cannot_do(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config_of(**({"adversarial": {"kind": "fgsm"}} | parts))
    assert words in str(caught.value)


def small_network() -> nn.Module:
    """A network whose weights are given by a formula."""
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4 * 4, 3))
    with torch.no_grad():
        for scale, parameter in zip((4, 8, 8, 16), net.parameters(), strict=True):
            parameter.copy_((torch.arange(parameter.numel()) * 7 % 11 - 5).view(parameter.shape) / scale)
    return net.requires_grad_(False)


@pytest.mark.parametrize(
    ("steps", "step", "changes"),
    [
        (1, 8, "0 8 -8 -8 8 8 -8 -2 -8 -8 8 -8 8 8 -4 8 -8 8 8 -8 8 -6 -8 8 8 -8 8 -8 8 -8 8 -8"),
        (5, 2, "0 7 -8 -3 5 8 -5 -2 -8 -7 8 -8 8 8 -4 8 -6 2 7 -8 8 -6 -8 8 3 -8 8 -2 6 -8 8 -8"),
    ],
)
def test_attacked_pixels_are_those_of_the_first_measurements(steps: int, step: int, changes: str) -> None:
    """Changes in units of 1/256, computed by foolbox 3.3.4: FGSM from the image, PGD of 5 steps from a given start."""
    net, eps = small_network(), 8 / 256
    images = (torch.arange(32) * 37 % 257).clamp(max=256).view(2, 1, 4, 4) / 256
    start = images if steps == 1 else (images + eps * ((torch.arange(32) * 5 % 17 - 8) / 8).view_as(images)).clamp(0, 1)
    examples = sign_ascent(
        start,
        loss_of=lambda moved: cross_entropy(net(moved), torch.tensor([0, 2]), reduction="sum"),
        step=step / 256,
        steps=steps,
        project=lambda moved: (images + (moved - images).clamp(-eps, eps)).clamp(0, 1),
    )
    assert (256 * (examples - images)).flatten().tolist() == [int(change) for change in changes.split()]
