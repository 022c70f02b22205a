"""Draws of stochastic depth and ShakeDrop: the factors of all residual branches for one training step."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from trainables.config import ShakeDrop, StochasticDepth, TrialConfig
from trainables.errors import UserError
from trainables.networks.modules.branches import BranchScale
from trainables.networks.modules.staged import StagedNet
from trainables.seeds import derive_seed
from trainables.share import Share


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


class BranchScaler:
    """Draws the factors of a network's residual branches for each training step, with its own generator.

    A step draws all factors at once, before its forward pass, also those of the backward pass. They are written to
    memory that stays the same from step to step, per size of batch, and nothing is read from the device.

    Attributes:
        generator: the only source of randomness, on the device of the maps.

    Examples:
        >>> from trainables.config import Model
        >>> from trainables.models.build import build_model
        >>> model = Model(name="tiny", stochastic_depth=StochasticDepth(survival_prob=0.7))
        >>> net = build_model(model, n_classes=10, height_px=32, width_px=32, seed=0)
        >>> scaler = BranchScaler(net, model.stochastic_depth, seed=0, device=torch.device("cpu"))
        >>> scaler.draw(4)
        >>> net.branch_scales[-1].factors.shape
        torch.Size([2, 4])
    """

    def __init__(self, net: StagedNet, option: StochasticDepth | ShakeDrop, *, seed: int, device: torch.device) -> None:
        """Draw for the branches of ``net``, which :func:`~trainables.models.build.build_model` built."""
        self.generator = torch.Generator(device).manual_seed(seed)
        self._option = option
        self._scales = net.branch_scales
        probs = [scale.survival_prob for scale in self._scales]
        self._probs = torch.tensor(probs, dtype=torch.float32, device=device)[:, None]
        self._memory: dict[int, Tensor] = {}

    @classmethod
    def of(cls, net: StagedNet, config: TrialConfig, *, device: torch.device) -> BranchScaler | None:
        """Return what draws for a trial; None if its configuration scales no branches."""
        option = config.model.branches
        return None if option is None else cls(net, option, seed=derive_seed(config.seed, "branches"), device=device)

    def draw(self, n_batch: int, *, share: Share | None = None) -> None:
        """Draw the factors of the next step, and give them to the network.

        Args:
            n_batch: images of the whole batch; factors are drawn for all of them.
            share: rows of the batch that this worker computes; None: all of them.
        """
        if n_batch not in self._memory:
            self._memory[n_batch] = self._probs.new_empty(2, len(self._scales), n_batch)
        memory = self._memory[n_batch]
        self._fill(memory)
        rows = slice(None) if share is None else share.rows
        for number, scale in enumerate(self._scales):
            scale.factors = memory[:, number, rows]

    def _fill(self, memory: Tensor) -> None:
        """Write new factors, float32 [2, L, B], in place."""
        _, n_branches, n_batch = memory.shape
        n_gates = n_batch if self._option.granularity == "sample" else 1
        kept = self._uniform(n_branches, n_gates) < self._probs
        if isinstance(self._option, StochasticDepth):
            memory.copy_(kept)
            return
        for factors, (low, high) in zip(memory, (self._option.alpha, self._option.beta), strict=True):
            drawn = low + (high - low) * self._uniform(n_branches, n_batch)
            factors.copy_(torch.where(kept, 1.0, drawn))

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self._probs.device)
