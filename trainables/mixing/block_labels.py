"""Which of two images each block of a grid shows: the mask of PuzzleMix, as labels of low energy.

Kim, Choo and Song (ICML 2020, section 4.1) choose a label z from 0 to 1, the partner's fraction, for each block i of a
grid. The energy is, with saliencies s (original) and p (partner) that sum to 1 over the blocks, neighbours i ~ j, n
blocks per side, and the weights a and w of :class:`~trainables.mixing.masks.puzzle.Puzzle`:

    E(z) = sum_i [z_i s_i + (1 - z_i) p_i]                 saliency that is lost
         + sum_i a_i z_i + sum_(i~j) w_ij (z_i - z_j)^2    differences between neighbours, in pixels and in labels
         - eta / n^2 sum_i log Binomial(z_i)               prior: labels of about the requested fraction

The authors minimise it by swaps of graph cuts (alpha-beta swap) on the host, one sample after another. Here each block
takes the label of least energy given its neighbours (iterated conditional modes, Besag 1986), every second block at a
time and all samples at once, from several starts; the end with the least energy counts. It needs no copy to the host.

It is a local minimum. On 96 images of CIFAR-10, with gradients of a network after two epochs, the exact minimum (by
a minimum cut) was reached for 100, 98, 68 and 49 % of the samples with 2, 4, 8 and 16 blocks per side. The energy was
above it by 0.00, 0.01, 0.26 and 1.01 % of the difference between the worst uniform label and the minimum.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SWEEPS = 4
"""Times that each block is set; later sweeps change almost nothing."""

WINDOWS = (1, 3, 5, 9)
"""Sides, in blocks, over which costs are averaged for the starts: distant blocks agree from the beginning."""


class BlockEnergy(NamedTuple):
    """The energy of labels, E(z) = sum_i cost_i(z_i) + sum_(i~j) w_ij (z_i - z_j)^2.

    Attributes:
        costs: cost of each label at each block, float32 [B, n, n, K]; infinite for labels of probability 0.
        down: weights between a block and the next one below it, float32 [B, n - 1, n], at least 0.
        across: weights between a block and the next one to its right, float32 [B, n, n - 1].
    """

    costs: Tensor
    down: Tensor
    across: Tensor

    def of(self, choice: Tensor) -> Tensor:
        """Return the energy of chosen labels, int64 [B, n, n]: float32 [B]."""
        z = choice / max(1, self.costs.shape[3] - 1)
        chosen = self.costs.gather(3, choice[..., None]).sum(dim=(1, 2, 3))
        down = (self.down * (z[:, 1:] - z[:, :-1]).square()).sum(dim=(1, 2))
        return chosen + down + (self.across * (z[:, :, 1:] - z[:, :, :-1]).square()).sum(dim=(1, 2))


def least_energy(energy: BlockEnergy) -> Tensor:
    """Return labels of low energy, int64 [B, n, n] from 0 to K - 1: the best of several local minima.

    The starts are the labels of least cost, averaged over windows, and each label everywhere. Nothing is read back from
    the device, and neither shapes nor branches depend on a value.

    Examples:
        >>> costs = torch.tensor([0.0, 1.0]).expand(1, 3, 3, 2).clone()
        >>> costs[0, 1, 1] = torch.tensor([1.0, 0.0])  # the middle prefers label 1, all others label 0
        >>> for weight in (0.1, 1.0):  # strong ties to the neighbours
        ...     ties = torch.full((1, 2, 3), weight)
        ...     print(least_energy(BlockEnergy(costs, ties, ties.mT))[0, 1].tolist())
        [0, 1, 0]
        [0, 0, 0]
    """
    costs, n_labels = energy.costs, energy.costs.shape[3]
    count, per_side, _, _ = costs.shape
    by_label = costs.permute(3, 0, 1, 2).clamp(max=torch.finfo(costs.dtype).max / 1e4)  # an average of inf is inf
    smooth = [
        torch.nn.functional.avg_pool2d(by_label.flatten(0, 1), side, 1, side // 2, count_include_pad=False)
        for side in WINDOWS
    ]
    starts = [each.view(by_label.shape).argmin(dim=0) for each in smooth]
    starts += [torch.full((count, per_side, per_side), label, device=costs.device) for label in range(n_labels)]
    ends = _settled(energy, torch.stack(starts))
    energies = torch.stack([energy.of(end) for end in ends])
    best = energies.argmin(dim=0)[None, :, None, None].expand(1, count, per_side, per_side)
    return ends.gather(0, best)[0]


def _settled(energy: BlockEnergy, starts: Tensor) -> Tensor:
    """Return labels, int64 [S, B, n, n], near each of S starts that no single block can improve, or almost so."""
    pad, last = torch.nn.functional.pad, max(1, energy.costs.shape[3] - 1)
    up, down = pad(energy.down, (0, 0, 1, 0)), pad(energy.down, (0, 0, 0, 1))
    left, right = pad(energy.across, (1, 0)), pad(energy.across, (0, 1))
    ties = up + down + left + right
    labels = range(energy.costs.shape[3])
    # w (z - z_j)^2 summed over the neighbours, without the part that z does not change
    fixed = [energy.costs[..., label] + (label / last) ** 2 * ties for label in labels]
    place = torch.arange(energy.costs.shape[2], device=starts.device)
    is_even = (place[:, None] + place) % 2 == 0
    choice = starts
    for _ in range(SWEEPS):
        for turn in (is_even, ~is_even):  # blocks of one colour of a chessboard are no neighbours
            around = pad(choice / last, (1, 1, 1, 1))
            pull = up * around[..., :-2, 1:-1] + down * around[..., 2:, 1:-1]
            pull = pull + left * around[..., 1:-1, :-2] + right * around[..., 1:-1, 2:]
            least, better = fixed[0].expand_as(pull), torch.zeros_like(choice)
            for label in labels[1:]:
                value = fixed[label] - 2 * label / last * pull
                better = torch.where(value < least, label, better)
                least = torch.minimum(value, least)
            choice = torch.where(turn, better, choice)
    return choice
