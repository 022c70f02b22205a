"""The optimiser, its learning rate schedule, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from trainables.config import ADAMW_BETAS, CosineSchedule, Optimizer, StepSchedule, TriangularSchedule

Tensors = tuple[Tensor, ...] | list[Tensor]


def build_optimizer(model: nn.Module, optimizer: Optimizer) -> torch.optim.SGD | torch.optim.AdamW:
    """Return the optimiser of the model's parameters, at the peak learning rate.

    Before each step the training loop sets the rate of each group to ``optimizer.lr * lr_factor(optimizer.schedule,
    t)``. The first group, weights of convolutions and linear layers, has weight decay: with ``sgd`` L2, added to the
    gradient; with ``adamw`` decoupled, a fraction lr * weight_decay of the weight per step. The second group, norm
    parameters and biases, has none.

    Args:
        model: the network on its device, with float parameters.
        optimizer: name, learning rate, momentum or betas, and weight decay.

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
        {"params": vectors, "weight_decay": 0.0},
    ]
    # fused: half the time of the default loop over parameters on one CPU thread
    if optimizer.name == "adamw":
        return torch.optim.AdamW(groups, lr=optimizer.lr, betas=optimizer.betas or ADAMW_BETAS, fused=True)
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


def build_ema(net: nn.Module, decay: float | None) -> AveragedModel | None:
    """Return a moving average of weights and batch statistics; its decay grows from 0.1 over the first steps.

    With a constant decay of 0.999, the first rungs of early stopping would judge almost the initial network.

    Args:
        net: the network whose state is averaged.
        decay: decay per step; None: no average.

    Returns:
        The average, or None.
    """
    if decay is None:
        return None

    def average(averaged: Tensors, current: Tensors, n_averaged: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            steps = int(n_averaged)
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + steps) / (10 + steps)))
        else:  # counters of batches
            torch._foreach_copy_(averaged, current)

    return AveragedModel(net, multi_avg_fn=average, use_buffers=True)
