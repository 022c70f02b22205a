from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.config import Model, TrialConfig
from trainables.evaluation.axes import cost
from trainables.evaluation.axes.cost import Cost, activation_bytes, forward_flops, training_flops
from trainables.evaluation.base import Value
from trainables.evaluation.subject import Subject
from trainables.models.build import build_model
from trainables.models.saved import read_model
from trainables.networks.modules.staged import StagedNet

N_TRAIN, MAX_EPOCHS, BATCH_SIZE = 120, 6, 16
"""Of the subject that all tests here share."""


def by_metric(subject: Subject) -> dict[str, Value]:
    values = Cost(n_images=8, repeats=2).measure(subject).values
    assert len({value.metric for value in values}) == len(values)
    return {value.metric: value for value in values}


def by_layer(net: StagedNet, side_px: int) -> list[int]:
    """Operations of each convolution and of the classifier on one image, by hand, in the order they run."""
    counted: list[int] = []

    def count(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            per_output = module.in_channels // module.groups * math.prod(module.kernel_size)
            counted.append(2 * output.numel() * per_output)
        elif isinstance(module, nn.Linear):
            counted.append(2 * module.in_features * module.out_features)

    hooks = [module.register_forward_hook(count) for module in net.modules()]
    net(torch.zeros(1, 3, side_px, side_px))
    for hook in hooks:
        hook.remove()
    return counted


# ---------------------------------------------------------------- arithmetic


@pytest.mark.parametrize("name", ["tiny", "cifar_resnet14", "resnet18", "resnext11_4x4d"])
def test_operations_are_those_of_the_layers(name: str) -> None:
    config = TrialConfig(model=Model(name=name, width=0.25))
    net = build_model(config.model, n_classes=5, height_px=20, width_px=20, seed=0).eval()
    layers = by_layer(net, 20)
    assert forward_flops(net, height_px=20, width_px=20) == sum(layers)
    # backward: once for the weights, once for what came in, but not for the images
    assert training_flops(net, config, height_px=20, width_px=20) == 3 * sum(layers) - layers[0]


@pytest.mark.parametrize(("name", "multiply_adds"), [("resnet18", 1.814e9), ("resnet50", 4.089e9)])
def test_torchvisions_published_numbers_are_met(name: str, multiply_adds: float) -> None:
    """The "GFLOPS" of its table of weights are multiply-adds."""
    net = build_model(Model(name=name), n_classes=1000, height_px=224, width_px=224, seed=0)
    assert forward_flops(net, height_px=224, width_px=224) == pytest.approx(2 * multiply_adds, rel=1e-3)


@pytest.mark.parametrize(
    ("attack", "steps"),
    [({"kind": "fgsm"}, 1), ({"kind": "pgd", "steps": 3}, 3), ({"kind": "pgd", "steps": 2, "random_start": False}, 2)],
)
def test_attacks_add_their_passes(attack: dict[str, object], steps: int) -> None:
    config = TrialConfig.model_validate({"model": {"width": 0.25}, "adversarial": attack})
    net = build_model(config.model, n_classes=3, height_px=16, width_px=16, seed=0)
    plain = training_flops(net, TrialConfig(model=config.model), height_px=16, width_px=16)
    forward = forward_flops(net, height_px=16, width_px=16)
    # forward, and backward to the images without the weights' gradients
    assert training_flops(net, config, height_px=16, width_px=16) == plain + steps * 2 * forward


@pytest.mark.parametrize(
    ("mix", "passes"),
    [
        ("snapmix", 1),
        ("puzzlemix_no_transport", 2),
        ({"preset": "attentivemix", "alternate": {"mix": "puzzlemix_no_transport"}}, 3),
        ({"preset": "snapmix", "apply": {"prob": 0.0}}, 0),
        ({"preset": "attentivemix", "apply": {"prob": 0.0}, "alternate": {"mix": "puzzlemix_no_transport"}}, 2),
    ],
)
def test_maps_add_their_passes(mix: Any, passes: int) -> None:
    config = TrialConfig.model_validate({"model": {"width": 0.25}, "mix": mix})
    net = build_model(config.model, n_classes=3, height_px=16, width_px=16, seed=0)
    plain = training_flops(net, TrialConfig(model=config.model), height_px=16, width_px=16)
    forward = forward_flops(net, height_px=16, width_px=16)
    assert training_flops(net, config, height_px=16, width_px=16) == plain + passes * forward


def test_sides_are_not_exchanged() -> None:
    config = TrialConfig(model=Model(width=0.25))
    net = build_model(config.model, n_classes=3, height_px=16, width_px=48, seed=0)
    wide, square = forward_flops(net, height_px=16, width_px=48), forward_flops(net, height_px=16, width_px=16)
    classifier = 2 * 16 * 3
    assert wide - classifier == 3 * (square - classifier)


def test_the_whole_training_counts_what_the_record_says(trained: Path, subject: Subject) -> None:
    values = by_metric(subject)
    a_step = values["train_flops_per_image"].value
    assert values["train_flops"].value == a_step * N_TRAIN * MAX_EPOCHS
    assert values["train_flops"].n == N_TRAIN * MAX_EPOCHS
    recorded = Subject(read_model(trained), record={"epochs": 3, "n_train": 50, "seconds": 7.5, "images_per_s": 42.0})
    recorded.__dict__["test"] = subject.test  # its training images are not opened
    values = by_metric(recorded)
    assert values["train_flops"].value == a_step * 150
    assert (values["train_seconds"].value, values["train_seconds"].n) == (7.5, 150)
    assert (values["train_images_per_s"].value, values["train_images_per_s"].n) == (42.0, 150)


@pytest.mark.parametrize("record", [{}, {"seconds": None, "images_per_s": math.nan, "n_train": math.nan}])
def test_what_was_not_recorded_is_not_defined(record: dict[str, float | None], subject: Subject) -> None:
    subject.record.clear()
    subject.record.update(record)
    values = by_metric(subject)
    for metric in ("train_seconds", "train_images_per_s"):
        assert math.isnan(values[metric].value)
        assert values[metric].n == 0
    assert values["train_flops"].n == N_TRAIN * MAX_EPOCHS


# ---------------------------------------------------------------- size and memory


def test_parameters_and_bytes_by_hand(subject: Subject, tmp_path: Path) -> None:
    channels = [(3, 8), (8, 8), (8, 8), (8, 16), (16, 16), (16, 32), (32, 32)]  # of tiny at half its width
    norms = sum(out for _, out in channels)
    parameters = sum(9 * into * out for into, out in channels) + 2 * norms + 3 * (32 + 1)
    values = by_metric(subject)
    assert values["parameters"].value == parameters
    assert values["state_bytes"].value == 4 * (parameters + 2 * norms) + 8 * len(channels)
    torch.save(subject.saved.net.state_dict(), tmp_path / "state.pt")
    container_bytes = (tmp_path / "state.pt").stat().st_size - values["state_bytes"].value
    assert 0 < container_bytes < 25_000


def test_activations_of_one_layer_by_hand() -> None:
    stem = nn.Conv2d(3, 6, 3, padding=1)
    net = StagedNet(stem=stem, stages=[nn.ReLU()], classifier=nn.Linear(6, 10))
    # images; what the rectifier gives; what the classifier sees; log-probabilities and targets
    by_hand = 4 * (7 * 3 * 5 * 9 + 7 * 6 * 5 * 9 + 7 * 6 + 2 * 7 * 10)
    assert activation_bytes(net, batch_size=7, height_px=5, width_px=9) == by_hand


@pytest.mark.parametrize("name", ["tiny", "cifar_resnet8", "resnet18"])
def test_activations_are_those_that_a_cpu_keeps(name: str) -> None:
    """By the addresses of real tensors."""
    net = build_model(Model(name=name, width=0.25), n_classes=3, height_px=16, width_px=16, seed=0)
    net = net.to(memory_format=torch.channels_last)
    images = torch.rand(4, 3, 16, 16).to(memory_format=torch.channels_last)
    own = {parameter.data_ptr() for parameter in net.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = nn.functional.cross_entropy(net(images), torch.full((4, 3), 1 / 3))
    assert loss.requires_grad
    on_cpu = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert activation_bytes(net, batch_size=4, height_px=16, width_px=16) == on_cpu


def test_activations_are_of_the_batch_trained_on(subject: Subject) -> None:
    value = by_metric(subject)["peak_activation_bytes"]
    assert value.n == BATCH_SIZE
    assert value.value == activation_bytes(subject.saved.net, batch_size=BATCH_SIZE, height_px=16, width_px=16)
    once, twice, thrice = (
        activation_bytes(subject.saved.net, batch_size=count, height_px=16, width_px=16) for count in (8, 16, 24)
    )
    assert twice - once == thrice - twice > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_tells_its_memory(trained: Path, subject: Subject) -> None:
    on_gpu = Subject(read_model(trained), device="cuda")
    on_gpu.__dict__.update(test=subject.test, data=subject.data)
    values = by_metric(on_gpu)
    assert values["peak_memory_bytes"].value > values["state_bytes"].value
    assert values["peak_memory_bytes"].n == BATCH_SIZE


# ---------------------------------------------------------------- time


def test_speed_is_the_median_without_the_first_batch(
    answering: Callable[..., Subject], subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, passes = 0.0, iter([100.0, 1.0, 50.0, 2.0, 4.0, 3.0])

    def answer(images: Tensor) -> Tensor:
        nonlocal now_s
        assert not torch.is_grad_enabled()
        now_s += next(passes)
        return torch.zeros(len(images), 3)

    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: now_s))
    values = Cost(n_images=12, repeats=5).measure(answering(answer, test=subject.test)).values
    speed = next(value for value in values if value.metric == "inference_images_per_s")
    assert speed.value == 12 / 3.0
    assert speed.n == 12
    assert speed.library.endswith("cpu with 1 thread")
    assert next(passes, None) is None


def test_all_but_times_is_the_same_again(subject: Subject) -> None:
    before = copy.deepcopy(subject.saved.net.state_dict())
    rng = torch.get_rng_state()
    first, again = by_metric(subject), by_metric(subject)
    assert first.keys() == again.keys()
    assert Cost.noisy <= first.keys()
    for metric in first.keys() - Cost.noisy:
        assert first[metric] == again[metric]
    assert torch.equal(torch.get_rng_state(), rng)
    assert not subject.saved.net.training
    assert not any(parameter.requires_grad for parameter in subject.saved.net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in subject.saved.net.state_dict().items())
