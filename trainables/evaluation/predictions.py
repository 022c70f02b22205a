"""The class that a network names."""

from __future__ import annotations

from torch import Tensor


def predicted(logits: Tensor) -> Tensor:
    """Return the class of the largest logit, int64 [B]; of equal ones the first.

    Where the softmax is undefined (a NaN, a positive infinity, negative infinities only) it is -1, which no label is.

    Args:
        logits: float32 [B, C].
    """
    undefined = logits.log_softmax(dim=1).amax(dim=1).isnan()
    return logits.argmax(dim=1).masked_fill(undefined, -1)


def wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """Return which samples are taken for another class than theirs, bool [B], from logits, float32 [B, C]."""
    return predicted(logits) != labels


def share(flags: Tensor) -> float:
    """Return how many of the flags are set, as a fraction."""
    return float(flags.double().mean())
