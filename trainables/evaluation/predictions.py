"""Predicted classes and their errors."""

from __future__ import annotations

from torch import Tensor


def predicted(logits: Tensor) -> Tensor:
    """Return the class of the largest logit, int64 [B]; among equal logits the first.

    If the softmax is undefined (a NaN, a positive infinity, or negative infinities only), the result is -1, which
    equals no label.

    Args:
        logits: float32 [B, C].

    Examples:
        >>> import torch
        >>> predicted(torch.tensor([[0.0, 2.0], [1.0, 1.0], [float("nan"), 0.0]]))
        tensor([ 1,  0, -1])
    """
    undefined = logits.log_softmax(dim=1).amax(dim=1).isnan()
    return logits.argmax(dim=1).masked_fill(undefined, -1)


def wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """Return which samples are predicted wrongly, bool [B], from logits, float32 [B, C], and labels, int64 [B]."""
    return predicted(logits) != labels


def fraction(flags: Tensor) -> float:
    """Return the fraction of flags that are set."""
    return float(flags.double().mean())
