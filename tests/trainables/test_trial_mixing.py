"""Mixing as a trial does it: by any preset, at any layer, in any net."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from trainables import step as step_module
from trainables.config import Model, TrialConfig
from trainables.data.batches import Normalizer, TrainBatches
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData, prepare_data
from trainables.merging import merged
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import MixDrawer, draw_layer, draw_mix
from trainables.mixing.pastes import MixDraw
from trainables.mixing.presets import PRESETS
from trainables.models.build import build_model
from trainables.networks import NETWORKS
from trainables.networks.modules.staged import StagedNet
from trainables.optimizer import build_optimizer, lr_factor
from trainables.seeds import derive_seed, generator
from trainables.step import TrainStep
from trainables.trial import Trial

CPU = torch.device("cpu")
SIDE_PX, PAD_PX, N_TRAIN, N_VAL = 12, 2, 96, 60
WIDTHS = {"tiny": 0.5, "cifar_resnet8": 0.25, "resnet18": 0.0625}
"""Networks that are tried, and how narrow."""

LAYERS = [(name, layer) for name in WIDTHS for layer in range(NETWORKS[name].n_stages + 1)]

BOX: dict[str, Any] = {"preset": "cutmix", "apply": {"prob": 1.0}}
FLAT: dict[str, Any] = {"preset": "mixup"}
POLICIES: dict[str, dict[str, Any]] = {
    "box": BOX,
    "soft": BOX | {"mask": {"edge_px": 2.0}},
    "flat": FLAT,
    "displaced": BOX | {"source": "displaced", "position": {"kind": "inside"}},
    "resized": BOX | {"source": "resized"},
    "zero": BOX | {"content": "zero"},
    "noise": BOX | {"content": "noise"},
    "half": BOX | {"apply": {"prob": 0.5}},
    "shared": BOX | {"granularity": "batch"},
    "two": BOX | {"alternate": {"gate": "sample", "mix": FLAT}},
}
"""One policy for each way through the code."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> TrialData:
    """Three classes that differ in colour, under noise."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(N_TRAIN + N_VAL) % 3)
    colours = np.array([[150, 110, 110], [110, 150, 110], [110, 110, 150]])
    noise = rng.normal(scale=40, size=(len(labels), SIDE_PX, SIDE_PX, 3))
    images = (colours[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8)
    return TrialData(
        images=ImageSet(
            images=images,
            labels=labels,
            classes=("a", "b", "c"),
            boxes=np.tile(np.array([2, 3, 9, 8], dtype=np.int32), (len(labels), 1)),
            mean=np.full(3, 0.48, np.float32),
            std=np.full(3, 0.24, np.float32),
        ),
        padded=np.pad(images, ((0, 0), (PAD_PX, PAD_PX), (PAD_PX, PAD_PX), (0, 0))),
        train_rows=np.arange(N_TRAIN),
        val_rows=np.arange(N_TRAIN, N_TRAIN + N_VAL),
        flip=True,
    )


def config_of(name: str = "tiny", **parts: Any) -> TrialConfig:
    base = {
        "data": {"batch_size": 16, "pad_px": PAD_PX},
        "model": {"name": name, "width": WIDTHS[name], "precision": "fp32"},
        "optimizer": {"max_epochs": 5, "lr": 0.05},
        "seed": 1,
    }
    return TrialConfig.model_validate(merged(base, parts))


def at_layer(policy: dict[str, Any], layer: int | list[int]) -> dict[str, Any]:
    """A policy moved to a layer, and the one that may take its place with it."""
    other = policy.get("alternate")
    return policy | {"layer": layer} | ({"alternate": other | {"mix": at_layer(other["mix"], layer)}} if other else {})


def net_of(name: str, side_px: int = 32) -> StagedNet:
    model = Model(name=name, width=WIDTHS[name])
    net = build_model(model, n_classes=5, height_px=side_px, width_px=side_px, seed=0)
    return net.to(memory_format=torch.channels_last)


def record(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[tuple[Any, ...]]:
    """Note arguments and results of a function that trials call."""
    calls: list[tuple[Any, ...]] = []
    plain: Callable[..., Any] = getattr(owner, name)

    def noting(*args: Any, **kwargs: Any) -> Any:
        result = plain(*args, **kwargs)
        calls.append((*args, kwargs, result))
        return result

    monkeypatch.setattr(owner, name, noting)
    return calls


# ---------------------------------------------------------------- it trains


@pytest.mark.parametrize("policy", ["box", "flat"])
@pytest.mark.parametrize(("name", "layer"), LAYERS)
def test_the_loss_falls(name: str, layer: int, policy: str, data: TrialData) -> None:
    trial = Trial(config_of(name, mix=at_layer(POLICIES[policy], layer)), data)
    losses = [trial.run_epoch().train_loss for _ in range(5)]
    assert losses[-1] < losses[0] - 0.1
    assert trial.history[-1].val_nll < 0.8 * math.log(3)
    assert {result.effective_prob for result in trial.history} == {1.0}
    assert all(0.1 < result.pasted_frac < 0.65 for result in trial.history)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_loss_falls_with_every_preset(preset: str, data: TrialData) -> None:
    trial = Trial(config_of(mix=preset), data)
    losses = [trial.run_epoch().train_loss for _ in range(5)]
    assert losses[-1] < losses[0] - 0.1
    assert trial.history[-1].val_nll < 0.8 * math.log(3)
    assert (trial.history[-1].effective_prob > 0) == (preset != "off")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("layer", [0, [0, 1, 2, 3]])
@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("batch_size", [1, 19])
def test_odd_batches_and_batches_of_one_train(
    batch_size: int, policy: str, layer: int | list[int], precision: str, data: TrialData
) -> None:
    """19 of 20 leave a last batch of one."""
    few = TrialData(data.images, data.padded, data.train_rows[:20], data.val_rows[:5], flip=True)
    config = config_of(
        data={"batch_size": batch_size},
        model={"width": 0.1, "precision": precision},
        optimizer={"lr": 1e-3},
        mix=at_layer(POLICIES[policy], layer),
    )
    trial = Trial(config, few)
    before = {name: weight.clone() for name, weight in trial.weights().items()}
    assert not trial.run_epoch().diverged
    assert not all(torch.equal(before[name], weight) for name, weight in trial.weights().items())


# ---------------------------------------------------------------- layer 0 are the images


def plain_losses(config: TrialConfig, data: TrialData, epochs: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train as one would write it down: mix the images, then let the network see them."""
    images, rngs = data.images, {name: generator(config.seed, name) for name in ("order", "augment", "mix")}
    net = build_model(
        config.model, n_classes=3, height_px=SIDE_PX, width_px=SIDE_PX, seed=derive_seed(config.seed, "weights")
    ).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(net, config.optimizer)
    normalize = Normalizer.from_statistics(images.mean, images.std, width_px=SIDE_PX, device=CPU)
    batches = TrainBatches(
        data.padded, images.labels, data.train_rows, pad_px=PAD_PX, batch_size=16, flip=True, device=CPU
    )
    step, losses = 0, []
    for _ in range(epochs):
        drawer = MixDrawer(config.mix, rng=rngs["mix"], device=CPU, n_samples=len(data.train_rows))
        for batch in batches.epoch(order_rng=rngs["order"], augment_rng=rngs["augment"]):
            t = step / (config.optimizer.max_epochs * len(batches))
            pixels = normalize(batch.images)
            view = BatchView((len(pixels), 3, SIDE_PX, SIDE_PX), batch.classes)
            draw = drawer.draw(view, t)
            logits = net(mix_images(pixels, draw))
            loss = torch.nn.functional.cross_entropy(logits, mix_targets(batch.labels, draw, n_classes=3))
            for group in optimizer.param_groups:
                group["lr"] = config.optimizer.lr * lr_factor(config.optimizer.schedule, t)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.item())
            step += 1
    return losses, net.state_dict()


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_layer_0_equals_mixing_images_before_the_net(policy: str, data: TrialData) -> None:
    config = config_of(mix=at_layer(POLICIES[policy], 0))
    trial = Trial(config, data)
    results = [trial.run_epoch().train_loss for _ in range(2)]
    losses, weights = plain_losses(config, data, 2)
    assert results == pytest.approx(np.reshape(losses, (2, -1)).mean(axis=1), rel=1e-6)
    for name, weight in trial.weights().items():
        assert torch.equal(weight, weights[name]), name


@pytest.mark.parametrize("name", sorted(WIDTHS))
def test_a_change_of_layer_0_is_a_change_of_images(name: str) -> None:
    net, images = net_of(name).eval(), torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    view = BatchView((6, 3, 32, 32), np.arange(6))
    draw = draw_mix(Mix.model_validate(BOX), view, rng=np.random.default_rng(0), device=CPU)
    inside = net(images, changes=[(0, lambda maps: mix_images(maps, draw))])
    assert torch.equal(inside, net(mix_images(images, draw)))
    assert not torch.equal(inside, net(images))


# ---------------------------------------------------------------- gradients


def gradients(name: str, layer: int, policy: dict[str, Any], wanted: int) -> tuple[torch.Tensor, torch.Tensor, MixDraw]:
    """Gradients of one sample's logits, in the maps before mixing and in the mixed ones, and the draw."""
    net = net_of(name).eval()  # batch norm in training would let samples see each other
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    kept: list[Any] = []

    def mixed(maps: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = maps.shape
        view = BatchView((count, channels, height, width), np.arange(count))
        mix = Mix.model_validate(policy | {"pairing": {"kind": "derange"}})
        draw = draw_mix(mix, view, rng=np.random.default_rng(3), device=CPU)
        result = mix_images(maps, draw)
        maps.retain_grad()
        result.retain_grad()
        kept.extend([maps, result, draw])
        return result

    logits = net(images, changes=[(layer, mixed)])
    torch.autograd.backward(logits[wanted].square().sum())
    maps, result, draw = kept
    assert maps.grad is not None
    assert result.grad is not None
    return maps.grad, result.grad, draw


@pytest.mark.parametrize(("name", "layer"), LAYERS)
def test_gradients_of_a_hard_mask_part_at_its_border(name: str, layer: int) -> None:
    size = {"kind": "fixed", "frac": 0.4}
    for wanted in (0, 5):
        before, after, draw = gradients(name, layer, BOX | {"size": size, "position": {"kind": "torus"}}, wanted)
        (paste,) = draw.pastes
        partner = int(draw.partner[wanted])
        mask = paste.mask[wanted].expand(after.shape[1:])
        assert partner != wanted
        assert after[wanted][mask].any()
        assert after[wanted][~mask].any()
        assert torch.equal(before[wanted], after[wanted] * ~mask)  # the partner's pixels are not its own
        assert torch.equal(before[partner], after[wanted] * mask)  # and it has none of the partner's others
        others = [index for index in range(6) if index not in (wanted, partner)]
        assert not before[others].any()


@pytest.mark.parametrize(("name", "layer"), LAYERS)
def test_gradients_of_a_blend_are_shared_by_weight(name: str, layer: int) -> None:
    before, after, draw = gradients(name, layer, FLAT, 2)
    partner, lam = int(draw.partner[2]), draw.lam[2]
    assert 0 < lam < 1
    assert after[2].any()
    torch.testing.assert_close(before[2], lam * after[2])
    torch.testing.assert_close(before[partner], (1 - lam) * after[2])


# ---------------------------------------------------------------- which layer


@pytest.mark.parametrize("layers", [[0, 1], [0, 1, 2], [3, 1]])
def test_a_list_draws_its_layers_equally(layers: list[int]) -> None:
    mix = Mix.model_validate(BOX | {"layer": layers})
    rng = np.random.default_rng(0)
    drawn = np.array([draw_layer(mix, rng) for _ in range(6000)])
    assert set(drawn.tolist()) == set(layers)
    for layer in layers:
        assert np.mean(drawn == layer) == pytest.approx(1 / len(layers), abs=0.03)  # SD 0.006
    assert np.mean(drawn[1:] == drawn[:-1]) == pytest.approx(1 / len(layers), abs=0.03)


def test_one_layer_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert draw_layer(Mix.model_validate(BOX | {"layer": 2}), rng) == 2
    assert draw_layer(Mix.model_validate(BOX | {"layer": [2]}), rng) == 2
    assert rng.bit_generator.state == before


def test_each_batch_draws_a_layer_from_the_trials_own_generator(
    data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = record(monkeypatch, MixDrawer, "draw")
    layers = []
    for global_seed, seed in ((1, 1), (2, 1), (1, 2)):
        torch.manual_seed(global_seed)
        calls.clear()
        trial = Trial(config_of(mix=BOX | {"layer": [0, 1, 2, 3]}, seed=seed), data)
        for _ in range(5):
            trial.run_epoch()
        # maps of the tiny net at 12 px: 3, 8, 16 and 32 channels
        layers.append([(3, 8, 16, 32).index(view.shape[1]) for _, view, *_ in calls])
    assert layers[0] == layers[1] != layers[2]
    assert len(layers[0]) == 5 * 6
    assert set(layers[0]) == {0, 1, 2, 3}
    rng = generator(1, "mix")
    assert layers[0][0] == draw_layer(trial.config.mix, rng)


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize(("name", "precision"), [("tiny", "fp32"), ("tiny", "bf16"), ("resnet18", "fp32")])
def test_type_and_memory_layout_are_kept_through_mixed_maps(
    name: str, precision: str, policy: str, data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = TrialData(data.images, data.padded, data.train_rows[:16], data.val_rows[:5], flip=True)
    calls = record(monkeypatch, step_module, "mix_images")
    for layer in range(NETWORKS[name].n_stages + 1):
        mix = at_layer(POLICIES[policy], layer)
        Trial(config_of(name, mix=mix, model={"width": 0.125, "precision": precision}), few).run_epoch()
        maps, *_, mixed = calls[-1]
        assert maps.is_contiguous(memory_format=torch.channels_last)
        assert mixed.is_contiguous(memory_format=torch.channels_last), layer
        assert mixed.dtype == maps.dtype
        assert (mixed.dtype == torch.bfloat16) == (layer > 0 and precision == "bf16")
    assert len(calls) == NETWORKS[name].n_stages + 1


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_memory_that_is_used_again_changes_no_bit(
    policy: str, precision: str, data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(data={"batch_size": 20}, model={"precision": precision}, mix=at_layer(POLICIES[policy], [0, 2]))
    reusing = Trial(config, data)
    for _ in range(2):
        reusing.run_epoch()
    monkeypatch.setattr(TrainStep, "_spare_for", lambda self, images: None)
    fresh = Trial(config, data)
    for _ in range(2):
        fresh.run_epoch()
    for name, weight in reusing.weights().items():
        assert torch.equal(weight, fresh.weights()[name]), name
    assert reusing.history[-1].train_loss == fresh.history[-1].train_loss


def test_memory_is_allocated_once(data: TrialData, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record(monkeypatch, step_module, "mix_images")
    trial = Trial(config_of(mix=BOX, data={"batch_size": 20}), data)
    for _ in range(2):
        trial.run_epoch()
    assert [len(images) for images, *_ in calls] == [20, 20, 20, 20, 16] * 2
    assert len({mixed.data_ptr() for *_, mixed in calls}) == 1
    for images, _, _, mixed in calls:
        assert mixed.shape == images.shape
        assert mixed.stride() == images.stride()


# ---------------------------------------------------------------- what a policy sees


@pytest.mark.parametrize("mix", [{"position": {"kind": "saliency"}}, BOX | {"mask": {"edge_px": 3.0}}, FLAT])
def test_a_mask_does_not_depend_on_the_precision(
    mix: dict[str, Any], data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = record(monkeypatch, MixDrawer, "draw")
    for precision in ("fp32", "bf16"):
        Trial(config_of(model={"precision": precision}, mix=mix), data).run_epoch()
    drawn = [call[-1] for call in calls]
    for exact, rounded in zip(drawn[:6], drawn[6:], strict=True):
        assert torch.equal(exact.pastes[0].mask, rounded.pastes[0].mask)
        assert rounded.lam.dtype == torch.float32
        assert torch.equal(exact.lam, rounded.lam)


def test_boxes_reach_the_policy_that_looks_at_them(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record(monkeypatch, MixDrawer, "draw")
    parts: dict[str, Any] = {"data": {"train_frac": 0.03, "batch_size": 64, "pad_px": 8, "image_size_px": 16}}
    for mix in ({"position": {"kind": "object"}}, BOX):
        config = config_of(mix=mix, **parts)
        assert not Trial(config, prepare_data(config.data)).run_epoch().diverged
    views = [view for _, view, *_ in calls]
    looking, other = views[: len(views) // 2], views[len(views) // 2 :]
    for view in looking:
        assert view.boxes is not None
        assert view.boxes.shape == (view.shape[0], 4)
        assert view.images.shape == view.shape
        y0, x0, y1, x1 = view.boxes.T
        assert ((y0 >= 0) & (y0 <= y1) & (y1 <= 16) & (x0 >= 0) & (x0 <= x1) & (x1 <= 16)).all()
    assert all(view.boxes is None for view in other)
