"""Factors of the residual branches of a network, for stochastic depth and ShakeDrop."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trainables.config import ShakeDrop, StochasticDepth
from trainables.errors import UserError
from trainables.networks.modules.staged import StagedNet


class BranchScale:
    """Multiplies the output of a residual branch; a forward hook of the module that ends the branch.

    Attributes:
        survival_prob: p_l, the probability that the branch is left as it is in a training step.
        expected: expected value of the factor, used in evaluation, and in training without drawn factors.
        factors: float32 [2, B], factors in the forward and the backward pass of the next training step, on the same
            device as the maps; None: none are drawn.
    """

    def __init__(self, survival_prob: float, expected: float) -> None:
        """Take the probability, and the expected value of the factor."""
        self.survival_prob, self.expected = survival_prob, expected
        self.factors: Tensor | None = None

    def __call__(self, module: nn.Module, inputs: Any, maps: Tensor) -> Tensor:
        """Return the scaled output of the branch, of the same type and memory layout."""
        if self.factors is None or not module.training:
            return maps * self.expected
        forward, backward = self.factors.view(2, -1, *[1] * (maps.ndim - 1)).to(maps.dtype)
        scaled: Tensor = _Scaled.apply(maps, forward, backward)
        return scaled


def scale_branches(net: StagedNet, residuals: str, option: StochasticDepth | ShakeDrop) -> None:
    """Scale the residual branches of a network; :attr:`StagedNet.branch_scales` then has their factors.

    Args:
        net: the network, changed in place; its parameters and their names stay.
        residuals: regular expression of the paths of the modules that end a branch.
        option: configuration of the factors.

    Raises:
        UserError: the network has no such module.

    Examples:
        >>> from trainables.networks import NETWORKS
        >>> net = NETWORKS["cifar_resnet14"]().build(n_classes=10, side_px=32, width=0.25)
        >>> scale_branches(net, NETWORKS["cifar_resnet14"].residuals, StochasticDepth())
        >>> [round(scale.expected, 3) for scale in net.branch_scales]
        [0.917, 0.833, 0.75, 0.667, 0.583, 0.5]
    """
    ends = [module for path, module in net.named_modules() if re.fullmatch(residuals, path)]
    if not ends:
        raise UserError("model.stochastic_depth and model.shakedrop: the network shows no residual branch: remove them")
    mean_alpha = sum(option.alpha) / 2 if isinstance(option, ShakeDrop) else 0.0
    scales = []
    for number, module in enumerate(ends, start=1):
        prob = 1 - number / len(ends) * (1 - option.survival_prob)
        scale = BranchScale(prob, prob + (1 - prob) * mean_alpha)
        module.register_forward_hook(scale)
        scales.append(scale)
    net.branch_scales = tuple(scales)


class _Scaled(torch.autograd.Function):
    """Product of maps and one factor per sample; the gradient is multiplied by another factor."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
        ctx.save_for_backward(backward)
        return maps * forward

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (factor,) = ctx.saved_tensors
        return gradients[0] * factor, None, None
