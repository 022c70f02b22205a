"""The optimiser and the course of its learning rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from trainables.config import CosineSchedule, Optimizer, StepSchedule, TriangularSchedule

Tensors = tuple[Tensor, ...] | list[Tensor]


def build_optimizer(model: nn.Module, optimizer: Optimizer) -> torch.optim.SGD:
    """Return stochastic gradient descent on the model's parameters, at the peak learning rate.

    Before a step the loop sets every group's rate to ``optimizer.lr * lr_factor(optimizer.schedule, t)``. The
    first of the two groups, weights of convolutions and linear layers, is decayed (L2, added to the
    gradient); the second, norm parameters and biases, is not.

    Args:
        model: already on its device; float parameters.
        optimizer: rate, Nesterov momentum (0: none) and decay.
    """
    # norm parameters and biases are vectors, the weights of convolutions and linear layers are not
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return torch.optim.SGD(
        [
            {"params": weights, "weight_decay": optimizer.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=optimizer.lr,
        momentum=optimizer.momentum,
        nesterov=optimizer.momentum > 0,
        fused=True,  # on one CPU thread an update takes half the time of the default loop over parameters
    )


def lr_factor(schedule: CosineSchedule | TriangularSchedule | StepSchedule, t: float) -> float:
    """Return the share of the peak learning rate, in [0, 1], that is due at ``t``.

    - cosine: t / warmup_frac, then (1 + cos(pi u)) / 2 with u from 0 to 1 over the rest (Loshchilov and
      Hutter, ICLR 2017, equation 5);
    - triangular: t / peak_frac, then (1 - t) / (1 - peak_frac);
    - step: factor ** (number of milestones at or before t).

    Args:
        schedule: which course, and its parameters.
        t: step / planned_steps, in [0, 1].

    Raises:
        ValueError: ``t`` outside [0, 1].
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
    """Return the average of weights and batch statistics, with a decay that grows from 0.1 over the first steps.

    At a constant 0.999 the first rungs would judge what is nearly the initial network. Without a decay there is none.
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
