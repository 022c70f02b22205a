import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trainables.config import CosineSchedule, Model, Optimizer, StepSchedule, TriangularSchedule
from trainables.models.build import build_model
from trainables.networks.modules.staged import StagedNet
from trainables.optimizer import build_optimizer, lr_factor

FRACTIONS = st.floats(0, 1)
INNER = st.floats(0, 1, exclude_min=True, exclude_max=True)
SCHEDULES = st.one_of(
    st.builds(CosineSchedule, warmup_frac=st.floats(0, 1, exclude_max=True)),
    st.builds(TriangularSchedule, peak_frac=INNER),
    st.builds(
        StepSchedule,
        milestones_frac=st.lists(INNER, unique=True, max_size=4).map(lambda marks: tuple(sorted(marks))),
        factor=INNER,
    ),
)


def net(name: str = "tiny") -> StagedNet:
    return build_model(Model(name=name, width=0.25), n_classes=10, height_px=8, width_px=8, seed=0)


def backward(model: StagedNet, seed: int) -> None:
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    model.zero_grad()
    nn.functional.cross_entropy(model(images), torch.arange(4)).backward()


@pytest.mark.parametrize("name", ["tiny", "resnet50"])
def test_only_weights_of_convolutions_and_linear_layers_decay(name: str) -> None:
    model = net(name)
    decayed, free = build_optimizer(model, Optimizer(weight_decay=0.01)).param_groups
    weights = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert {id(parameter) for parameter in decayed["params"]} == weights
    assert {id(parameter) for parameter in free["params"]} == {id(p) for p in model.parameters()} - weights
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0.0)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.0, False)])
def test_momentum_is_nesterovs_and_zero_is_none(momentum: float, nesterov: bool) -> None:
    for group in build_optimizer(net(), Optimizer(lr=0.3, momentum=momentum)).param_groups:
        assert (group["lr"], group["momentum"], group["nesterov"]) == (0.3, momentum, nesterov)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_steps_follow_the_formula(momentum: float) -> None:
    model = net()
    settings = Optimizer(lr=0.1, momentum=momentum, weight_decay=0.01)
    optimizer = build_optimizer(model, settings)
    expected = [parameter.detach().double() for parameter in model.parameters()]
    velocity = [torch.zeros_like(weight) for weight in expected]
    for step in range(3):
        backward(model, seed=step)
        for index, parameter in enumerate(model.parameters()):
            assert parameter.grad is not None
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            gradient = parameter.grad.double() + decay * expected[index]
            velocity[index] = momentum * velocity[index] + gradient
            expected[index] = expected[index] - settings.lr * (gradient + momentum * velocity[index])
        optimizer.step()
    for parameter, weight in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach().double(), weight, rtol=1e-4, atol=1e-6)


def test_steps_of_adamw_follow_the_formula() -> None:
    """Loshchilov and Hutter (ICLR 2019), algorithm 2: the decay is a fraction of the weight, by the learning rate."""
    model = net()
    settings = Optimizer(name="adamw", lr=0.01, weight_decay=0.5, betas=(0.8, 0.9))
    optimizer = build_optimizer(model, settings)
    expected = [parameter.detach().double() for parameter in model.parameters()]
    means, squares = ([torch.zeros_like(weight) for weight in expected] for _ in range(2))
    for step in (1, 2, 3):
        backward(model, seed=step)
        for index, parameter in enumerate(model.parameters()):
            assert parameter.grad is not None
            gradient = parameter.grad.double()
            means[index] = 0.8 * means[index] + 0.2 * gradient
            squares[index] = 0.9 * squares[index] + 0.1 * gradient.square()
            move = means[index] / (1 - 0.8**step) / ((squares[index] / (1 - 0.9**step)).sqrt() + 1e-8)
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            expected[index] = expected[index] * (1 - settings.lr * decay) - settings.lr * move
        optimizer.step()
    for parameter, weight in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach().double(), weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_decay_on_all_is_torchs_optimizer_of_all_parameters(name: str) -> None:
    """To the bit, as ``torch.optim.SGD(model.parameters(), ...)`` in the code of Yun et al."""
    settings = Optimizer(name=name, lr=0.02, weight_decay=0.05, decay_on="all")
    ours, theirs, on_weights = net(), net(), net()
    options = {"lr": 0.02, "weight_decay": 0.05, "fused": True}
    if name == "sgd":
        reference: Any = torch.optim.SGD(theirs.parameters(), momentum=0.9, nesterov=True, **options)
    else:
        reference = torch.optim.AdamW(theirs.parameters(), **options)
    optimizers = build_optimizer(ours, settings), reference, build_optimizer(on_weights, Optimizer(name=name))
    for step in range(3):
        for model, optimizer in zip((ours, theirs, on_weights), optimizers, strict=True):
            backward(model, seed=step)
            optimizer.step()
    for mine, reference_weight in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, reference_weight)
    assert not torch.equal(ours.stem[1].weight, on_weights.stem[1].weight)


def test_what_decays_is_recorded_only_where_it_is_not_the_default() -> None:
    assert "decay_on" not in Optimizer().model_dump()
    assert Optimizer(decay_on="all").model_dump()["decay_on"] == "all"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "adamw", "lr": 0.001, "momentum": 0.5}, "momentum has no effect with name 'adamw'"),
        ({"betas": [0.9, 0.99]}, "betas have no effect with name 'sgd'"),
    ],
)
def test_settings_of_the_other_optimizer_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Optimizer.model_validate(values)
    assert Optimizer(name="adamw", lr=0.001).betas is None


@pytest.mark.parametrize("settings", [Optimizer(), Optimizer(name="adamw", lr=0.001)], ids=lambda each: each.name)
def test_restored_optimizer_goes_on_bit_for_bit(settings: Optimizer) -> None:
    model = net()
    optimizer = build_optimizer(model, settings)
    backward(model, seed=0)
    optimizer.step()
    restored = copy.deepcopy(model)
    restored_optimizer = build_optimizer(restored, settings)
    restored_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each, its_optimizer in ((model, optimizer), (restored, restored_optimizer)):
        backward(each, seed=1)
        its_optimizer.step()
    for one, other in zip(model.parameters(), restored.parameters(), strict=True):
        assert torch.equal(one, other)


@settings(deadline=None)
@given(schedule=SCHEDULES, t=FRACTIONS)
def test_factor_is_between_zero_and_one(schedule: CosineSchedule | TriangularSchedule | StepSchedule, t: float) -> None:
    assert 0 <= lr_factor(schedule, t) <= 1


@settings(deadline=None)
@given(schedule=SCHEDULES, t=FRACTIONS, later=FRACTIONS)
def test_factor_never_rises_after_the_warm_up(
    schedule: CosineSchedule | TriangularSchedule | StepSchedule, t: float, later: float
) -> None:
    start = {"cosine": "warmup_frac", "triangular": "peak_frac"}.get(schedule.kind)
    earliest = getattr(schedule, start) if start else 0.0
    first, second = sorted((max(t, earliest), max(later, earliest)))
    assert lr_factor(schedule, first) >= lr_factor(schedule, second)


@pytest.mark.parametrize(("t", "factor"), [(0.0, 1.0), (0.25, (1 + math.sqrt(0.5)) / 2), (0.5, 0.5), (1.0, 0.0)])
def test_cosine_without_warm_up(t: float, factor: float) -> None:
    assert lr_factor(CosineSchedule(), t) == pytest.approx(factor)


@pytest.mark.parametrize(("t", "factor"), [(0.0, 0.0), (0.1, 0.5), (0.2, 1.0), (0.6, 0.5), (1.0, 0.0)])
def test_cosine_with_warm_up(t: float, factor: float) -> None:
    assert lr_factor(CosineSchedule(warmup_frac=0.2), t) == pytest.approx(factor)


@pytest.mark.parametrize(("t", "factor"), [(0.0, 0.0), (0.1, 0.5), (0.2, 1.0), (0.6, 0.5), (1.0, 0.0)])
def test_triangle(t: float, factor: float) -> None:
    assert lr_factor(TriangularSchedule(peak_frac=0.2), t) == pytest.approx(factor)


@pytest.mark.parametrize(("step", "factor"), [(0, 1.0), (149, 1.0), (150, 0.1), (224, 0.1), (225, 0.01), (300, 0.01)])
def test_steps_of_the_cifar_recipe(step: int, factor: float) -> None:
    assert lr_factor(StepSchedule(), step / 300) == pytest.approx(factor)


def test_no_milestone_is_a_constant_rate() -> None:
    assert lr_factor(StepSchedule(milestones_frac=()), 1.0) == 1.0


@pytest.mark.parametrize("t", [-0.01, 1.01, math.nan])
def test_time_outside_the_run_is_refused(t: float) -> None:
    with pytest.raises(ValueError, match=r"t must be in \[0, 1\], got"):
        lr_factor(CosineSchedule(), t)
