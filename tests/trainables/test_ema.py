from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from trainables.ema import MovingAverage, factor_at

DECAY = 0.9


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)).train()


def reference(model: nn.Module) -> AveragedModel:
    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - min(DECAY, (1 + int(count)) / (10 + int(count))))
        else:
            torch._foreach_copy_(averaged, current)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)  # type: ignore[arg-type]


def move(model: nn.Module, step: int) -> None:
    random = torch.Generator().manual_seed(step)
    with torch.no_grad():
        model(torch.rand(2, 3, 5, 5, generator=random))
        for parameter in model.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=random))


@pytest.mark.parametrize("is_tensor", [False, True], ids=["float", "tensor"])
def test_the_average_is_that_of_torch_to_the_bit(is_tensor: bool) -> None:
    model = net()
    ours, theirs = MovingAverage(model), reference(model)
    for step in range(25):
        move(model, step)
        factor = factor_at(step, DECAY)
        ours.update(torch.tensor(factor, dtype=torch.float32) if is_tensor else factor)
        theirs.update_parameters(model)
        for name, value in theirs.module.state_dict().items():
            assert torch.equal(ours.net.state_dict()[name], value), (step, name)


def test_states_of_torch_and_its_own_are_loaded_into_the_same_tensors() -> None:
    model = net()
    theirs = reference(model)
    for step in range(3):
        move(model, step)
        theirs.update_parameters(model)
    old = theirs.state_dict()
    assert isinstance(old["n_averaged"], Tensor)
    loaded = MovingAverage(net())
    before = [tensor.data_ptr() for tensor in loaded.net.state_dict().values()]
    loaded.load_state_dict(old)
    assert loaded.count == 3
    assert [tensor.data_ptr() for tensor in loaded.net.state_dict().values()] == before
    again = MovingAverage(net())
    again.load_state_dict(loaded.state_dict())
    assert again.state_dict()["n_averaged"] == 3
    for name, value in theirs.module.state_dict().items():
        assert torch.equal(again.net.state_dict()[name], value), name


def test_the_first_step_copies_weights_that_are_not_finite() -> None:
    model = nn.Linear(1, 1)
    ema = MovingAverage(model)
    nn.init.constant_(model.weight, math.inf)
    ema.update(factor_at(0, DECAY))
    assert ema.net.weight.item() == math.inf  # type: ignore[union-attr,operator]
