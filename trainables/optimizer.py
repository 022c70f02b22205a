"""The optimiser and its learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import nn

from trainables.config import ADAMW_BETAS, CosineSchedule, Optimizer, StepSchedule, TriangularSchedule

SGDOrAdamW: TypeAlias = torch.optim.SGD | torch.optim.AdamW


def build_optimizer(model: nn.Module, optimizer: Optimizer) -> SGDOrAdamW:
    """Return the optimiser of the model's parameters, at the peak learning rate.

    Before each step the training loop sets the rate of each group to ``optimizer.lr * lr_factor(optimizer.schedule,
    t)``. The first group, weights of convolutions and linear layers, has weight decay: with ``sgd`` L2, added to the
    gradient; with ``adamw`` decoupled, a fraction lr * weight_decay of the weight per step. The second group, norm
    parameters and biases, has the same decay with ``decay_on`` "all", and none with "weights".

    Args:
        model: the network on its device, with float parameters.
        optimizer: name, learning rate, momentum or betas, weight decay and what it acts on.

    Examples:
        >>> groups = build_optimizer(nn.Linear(2, 1), Optimizer(lr=0.2)).param_groups
        >>> [(group["lr"], group["weight_decay"]) for group in groups]
        [(0.2, 0.0005), (0.2, 0.0)]
    """
    # norm parameters and biases are vectors, the weights of convolutions and linear layers are not
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": optimizer.weight_decay},
        {"params": vectors, "weight_decay": optimizer.weight_decay if optimizer.decay_on == "all" else 0.0},
    ]
    # fused: half the time of the default loop over parameters on one CPU thread
    if optimizer.name == "adamw":
        betas, is_on_gpu = optimizer.betas or ADAMW_BETAS, any(weight.is_cuda for weight in weights)
        return torch.optim.AdamW(groups, lr=optimizer.lr, betas=betas, fused=True, capturable=is_on_gpu)
    momentum = optimizer.momentum
    return torch.optim.SGD(groups, lr=optimizer.lr, momentum=momentum, nesterov=momentum > 0, fused=True)


def lr_factor(schedule: CosineSchedule | TriangularSchedule | StepSchedule, t: float) -> float:
    """Return the fraction of the peak learning rate, in [0, 1], at time ``t``.

    - cosine: t / warmup_frac, then (1 + cos(pi u)) / 2 with u from 0 to 1 over the rest (Loshchilov and
      Hutter, ICLR 2017, equation 5);
    - triangular: t / peak_frac, then (1 - t) / (1 - peak_frac);
    - step: factor ** (number of milestones at or before t).

    Args:
        schedule: kind of schedule and its parameters.
        t: step / planned_steps, in [0, 1].

    Raises:
        ValueError: ``t`` is outside [0, 1].

    Examples:
        >>> [round(lr_factor(CosineSchedule(), t), 2) for t in (0, 0.5, 1)]
        [1.0, 0.5, 0.0]
        >>> lr_factor(StepSchedule(milestones_frac=(0.5, 0.75)), 0.6)
        0.1
    """
    if not 0 <= t <= 1:
        raise ValueError(f"t must be in [0, 1], got {t}")
    match schedule:
        case CosineSchedule(warmup_frac=warmup):
            if t < warmup:
                return t / warmup
            return (1 + math.cos(math.pi * (t - warmup) / (1 - warmup))) / 2
        case TriangularSchedule(peak_frac=peak):
            return t / peak if t < peak else (1 - t) / (1 - peak)
        case StepSchedule(milestones_frac=milestones, factor=factor):
            return float(factor ** sum(mark <= t for mark in milestones))


def optimizer_state(optimizer: SGDOrAdamW, lr: float) -> dict[str, Any]:
    """Return the state of an optimiser, with its learning rate as a number: on a GPU it is a tensor."""
    state: dict[str, Any] = optimizer.state_dict()
    return state | {"param_groups": [group | {"lr": lr} for group in state["param_groups"]]}


def keep_averages(optimizer: SGDOrAdamW) -> None:
    """Make the averages of the gradients before the first step: a captured step reads and writes the same tensors.

    Averages of zero give the first step of a new optimiser.
    """
    for group in optimizer.param_groups:
        names = ("exp_avg", "exp_avg_sq") if "betas" in group else ("momentum_buffer",) if group["momentum"] else ()
        for parameter in group["params"] if names else ():
            averages = optimizer.state[parameter]
            for name in names:
                averages.setdefault(name, torch.zeros_like(parameter))
            if "betas" in group:
                averages.setdefault("step", torch.zeros((), device=parameter.device))


def load_averages(optimizer: SGDOrAdamW, state: Mapping[str, Any]) -> None:
    """Copy the averages of a saved optimiser into the present tensors; the rest of its state is the configuration.

    ``load_state_dict`` of torch would replace the tensors, which a captured step would not see.

    Args:
        optimizer: has the same parameters in the same order.
        state: ``state_dict()`` of an optimiser, on any device; parameters that have no averages yet are absent.

    Examples:
        >>> nets = [nn.Linear(2, 1), nn.Linear(2, 1)]
        >>> first, second = (build_optimizer(net, Optimizer()) for net in nets)
        >>> nets[0](torch.ones(1, 2)).sum().backward()
        >>> first.step()
        >>> load_averages(second, first.state_dict())
        >>> second.state[nets[1].bias]["momentum_buffer"]
        tensor([1.])
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    with torch.no_grad():
        for index, parameter in enumerate(parameters):
            saved = {name: value for name, value in state["state"].get(index, {}).items() if value is not None}
            present = optimizer.state[parameter] if saved or parameter in optimizer.state else {}
            for name, value in saved.items():
                like = parameter if value.shape == parameter.shape else value.to(parameter.device)
                present.setdefault(name, torch.empty_like(like, dtype=value.dtype)).copy_(value)
            for name in present.keys() - saved.keys():
                if present[name] is not None:
                    present[name].zero_()
