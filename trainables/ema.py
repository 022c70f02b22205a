"""The moving average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_PREFIX = "module."
"""Before the name of each weight in a state: that of torch's ``AveragedModel``, which older states come from."""


def factor_at(step: int, decay: float) -> float:
    """Return the weight of the present network in the average after ``step`` earlier steps; at first 1.

    The decay grows from 0.1 over the first steps: with a constant decay of 0.999, the first rungs of early stopping
    would judge almost the initial network.

    Examples:
        >>> [round(factor_at(step, 0.5), 2) for step in (0, 1, 2, 100)]
        [1.0, 0.82, 0.75, 0.5]
    """
    return 1 - min(decay, (1 + step) / (10 + step)) if step else 1.0


class MovingAverage:
    """Exponential moving average of the weights and batch statistics of a network.

    Nothing is read from the device: the number of steps is a number of Python.

    Attributes:
        net: the network with the averaged weights, which is evaluated.
        count: number of steps that are averaged.

    Examples:
        >>> net = nn.Linear(1, 1)
        >>> ema = MovingAverage(net)
        >>> for step, weight in enumerate((1.0, 2.0)):
        ...     _ = nn.init.constant_(net.weight, weight)
        ...     ema.update(factor_at(step, decay=0.5))
        ...     ema.count += 1
        >>> ema.count, round(ema.net.weight.item(), 3)
        (2, 1.818)
    """

    def __init__(self, net: nn.Module) -> None:
        """Begin at the present weights of ``net``, whose tensors must stay the same objects."""
        self.net = copy.deepcopy(net)
        self.count = 0
        pairs = list(zip(_tensors(self.net), _tensors(net), strict=True))
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        counters = [pair for pair in pairs if not pair[0].is_floating_point()]
        self._averaged, self._current = [ours for ours, _ in averaged], [theirs for _, theirs in averaged]
        self._counters, self._current_counters = [ours for ours, _ in counters], [theirs for _, theirs in counters]

    def update(self, factor: float | Tensor) -> None:
        """Move the average to the present network by ``factor``; the caller counts the step.

        Args:
            factor: of :func:`factor_at`, or float32 [] on the device of the weights. Both give the same bits, except
                for the first step of a network with weights that are not finite.
        """
        if isinstance(factor, Tensor):
            torch._foreach_lerp_(self._averaged, self._current, [factor] * len(self._averaged))
        elif factor == 1:
            torch._foreach_copy_(self._averaged, self._current)
        else:
            torch._foreach_lerp_(self._averaged, self._current, factor)
        if self._counters:  # of batches
            torch._foreach_copy_(self._counters, self._current_counters)

    def restart(self) -> None:
        """Begin again at the present weights of the network."""
        self.count = 0
        torch._foreach_copy_([*self._averaged, *self._counters], [*self._current, *self._current_counters])

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and the number of steps."""
        return {"n_averaged": self.count, **{_PREFIX + name: value for name, value in self.net.state_dict().items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy a state into the present tensors; the number of steps may be a tensor, as in states of older versions.

        Raises:
            RuntimeError: the weights do not match the network.
        """
        weights = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
        self.net.load_state_dict(weights)
        self.count = int(state["n_averaged"])


def _tensors(net: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in (*net.parameters(), *net.buffers())]
