"""What a network sees where before mixing: each map by its definition, and a network that is left as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainables.config import Model, TrialConfig
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData
from trainables.merging import merged
from trainables.mixing.batch_view import MapKind
from trainables.models.branches import BranchScaler
from trainables.models.build import build_model
from trainables.net_maps import net_maps
from trainables.networks.modules.staged import StagedNet
from trainables.trial import Trial

SIDE_PX, N_TRAIN, N_VAL = 16, 48, 24
KINDS: tuple[MapKind, ...] = ("cam", "attention", "gradient")
OPTION = {"stochastic_depth": {"granularity": "sample"}}
NEEDING = {
    "attentivemix": "attentivemix",
    "snapmix": "snapmix",
    "puzzlemix_no_transport": "puzzlemix_no_transport",
    "two kinds": {"preset": "attentivemix", "alternate": {"prob": 0.5, "gate": "sample", "mix": "snapmix"}},
}


def trained_net() -> tuple[StagedNet, Tensor, Tensor]:
    """A network with batch statistics that are not those of the batch, and the batch."""
    model = Model(name="tiny", width=0.25, **OPTION)
    net = build_model(model, n_classes=4, height_px=SIDE_PX, width_px=SIDE_PX, seed=0).train()
    images = torch.randn(5, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(1))
    BranchScaler(net, model.stochastic_depth, seed=0, device=torch.device("cpu")).draw(5)  # type: ignore[arg-type]
    net(2 * images + 1)
    return net, images, torch.tensor([0, 1, 2, 3, 1])


def by_definition(net: StagedNet, image: Tensor, label: Tensor, kind: MapKind) -> Tensor:
    """One image at a time, in loops."""
    net.eval()
    seen = image[None].clone().requires_grad_()
    maps = net.features(seen)[0]
    if kind == "cam":
        weights = net.classifier.weight[label]
        return torch.stack([weight * channel for weight, channel in zip(weights, maps, strict=True)]).sum(dim=0)
    if kind == "attention":
        return maps.abs().mean(dim=0)
    cross_entropy(net(seen), label[None]).backward()
    assert seen.grad is not None
    return (seen.grad[0] ** 2).mean(dim=0) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_maps_of_each_image_by_their_definition(kind: MapKind) -> None:
    net, images, labels = trained_net()
    maps = net_maps(net, images, labels, kind)
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    for image, label, found in zip(images, labels, maps, strict=True):
        torch.testing.assert_close(found, by_definition(net, image, label, kind), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_left_as_it_was(kind: MapKind) -> None:
    """Also the modules of a network in training that evaluate, and inside a block without gradients."""
    net, images, labels = trained_net()
    next(module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)).eval()
    before = {name: values.clone() for name, values in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    plain = net_maps(net, images, labels, kind)
    with torch.no_grad():
        assert torch.equal(net_maps(net, images, labels, kind, loss_scale=64.0), plain)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(values, before[name]) for name, values in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.fixture(scope="module")
def data() -> TrialData:
    """Two classes that differ in the place of a bright square."""
    rng = np.random.default_rng(0)
    labels = np.arange(N_TRAIN + N_VAL) % 2
    images = rng.integers(0, 120, size=(len(labels), SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    images[labels == 0, 2:6, 2:6] += 120
    images[labels == 1, 9:13, 9:13] += 120
    statistics = (np.full(3, 0.3, np.float32), np.full(3, 0.2, np.float32))
    return TrialData(
        images=ImageSet(images, labels, ("a", "b"), None, *statistics),
        padded=np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))),
        train_rows=np.arange(N_TRAIN),
        val_rows=np.arange(N_TRAIN, N_TRAIN + N_VAL),
        flip=False,
    )


def trial_of(data: TrialData, **parts: Any) -> Trial:
    base = {
        "data": {"batch_size": 16, "pad_px": 2},
        "model": {"name": "tiny", "width": 0.25, "precision": "fp32"},
        "optimizer": {"max_epochs": 2, "lr": 0.05},
    }
    return Trial(TrialConfig.model_validate(merged(base, parts)), data)


@pytest.mark.parametrize("policy", NEEDING)
def test_a_resumed_trial_has_the_bits_of_an_uninterrupted_one(policy: str, data: TrialData) -> None:
    """With moving average, stochastic depth and bf16: the pass for the maps draws and changes nothing."""
    parts = {"mix": NEEDING[policy], "optimizer": {"ema_decay": 0.9}, "model": {"precision": "bf16", **OPTION}}
    whole, first, resumed = (trial_of(data, **parts) for _ in range(3))
    for _ in range(2):
        whole.run_epoch()
    first.run_epoch()
    resumed.load_state_dict(first.state_dict())
    resumed.run_epoch()
    for name, values in whole.weights().items():
        assert torch.equal(values, resumed.weights()[name]), name
    assert whole.history[1].train_loss == resumed.history[1].train_loss


@pytest.mark.parametrize("policy", NEEDING)
def test_every_weight_learns_in_bf16(policy: str, data: TrialData) -> None:
    """Weights that the pass for the maps has cast must not be those of the pass that trains: they have no gradient."""
    trial = trial_of(data, mix=NEEDING[policy], model={"precision": "bf16"})
    before = {name: values.detach().clone() for name, values in trial._net.named_parameters()}
    trial.run_epoch()
    still = [name for name, values in trial._net.named_parameters() if torch.equal(values, before[name])]
    assert still == []


def test_nothing_is_computed_where_nothing_is_needed(data: TrialData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for other policies, and not in the steps at which the schedule is 0; else once per step and kind of maps."""
    calls: list[str] = []
    trial = trial_of(data, mix="cutmix")
    for schedule, expected in (({}, 6), ({"ramp_up_start": 0.5, "ramp_up_end": 0.5}, 3)):
        both = {"apply": {"schedule": schedule}, "label": {"by": "class_map"}}
        mixing = trial_of(data, mix={"preset": "attentivemix", "mask": {"maps": "cam"}} | both)
        for each in (trial, mixing):
            plain = each._step.net_maps
            monkeypatch.setattr(
                each._step, "net_maps", lambda *args, plain=plain: (calls.append(args[2]), plain(*args))[1]
            )
        for _ in range(2):
            mixing.run_epoch()
        assert calls == ["cam"] * expected
        calls.clear()
    trial.run_epoch()
    assert calls == []


def test_it_sees_what_it_has_learned(data: TrialData) -> None:
    """After some epochs the attention is on the squares, where the classes differ."""
    trial = trial_of(data, mix="attentivemix", optimizer={"max_epochs": 12}, model={"width": 1.0})
    for _ in range(12):
        trial.run_epoch()
    assert trial.history[-1].val_top1_error < 0.1
    pixels = torch.from_numpy(data.images.images[:16].copy())
    labels = torch.from_numpy(data.images.labels[:16].copy())
    maps = net_maps(trial._net, trial._normalize(pixels), labels, "gradient")
    squares = torch.zeros(2, SIDE_PX, SIDE_PX, dtype=torch.bool)
    squares[0, 2:6, 2:6] = squares[1, 9:13, 9:13] = True
    inside = torch.stack([each[squares.any(dim=0)].mean() for each in maps])
    outside = torch.stack([each[~squares.any(dim=0)].mean() for each in maps])
    assert (inside > 1.2 * outside).float().mean() > 0.8
