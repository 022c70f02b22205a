"""Factors of the residual branches of a network, for stochastic depth and ShakeDrop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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
