"""Which of two images each block of a grid shows: the mask of PuzzleMix, as the labels of least energy.

Kim, Choo and Song (ICML 2020, section 4.1) choose a label z from 0 to 1, the partner's fraction, for each block i of a
grid. The energy is, with saliencies s (original) and p (partner) that sum to 1 over the blocks, neighbours i ~ j, and n
blocks per side:

    E(z) = sum_i [z_i s_i + (1 - z_i) p_i]             saliency that is lost
         + sum_i a_i z_i + sum_(i~j) w_ij (z_i - z_j)^2    differences between neighbours, in labels and in pixels
         - eta / n^2 sum_i log Binomial(z_i)               prior: a mean label of about the requested fraction

The authors minimise it by swaps of graph cuts (alpha-beta swap) on the host, one sample after another, which finds a
local minimum. Here each block in turn takes the label of least energy given its neighbours (iterated conditional modes,
Besag 1986), all samples and every second block at a time, from several starts; the start with the least energy counts.
That is also a local minimum. It needs no copy to the host, no loop over samples and no library.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SWEEPS = 8
"""Times that each block is set; later sweeps change almost nothing."""


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

    The starts are the label of least cost at each block, and each label everywhere. Nothing is read back from the
    device, and neither shapes nor branches depend on a value.

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
    starts = [costs.argmin(dim=3), *(torch.full(costs.shape[:3], k, device=costs.device) for k in range(n_labels))]
    best, least = None, None
    for start in starts:
        choice = _settled(energy, start)
        value = energy.of(choice)
        if best is None or least is None:
            best, least = choice, value
        else:
            better = value < least
            best, least = torch.where(better[:, None, None], choice, best), torch.where(better, value, least)
    assert best is not None
    return best


def _settled(energy: BlockEnergy, choice: Tensor) -> Tensor:
    """Return a local minimum near some labels: no single block can lower the energy, or ``SWEEPS`` are over."""
    costs, pad = energy.costs, torch.nn.functional.pad
    n, n_labels = costs.shape[2], costs.shape[3]
    z = torch.arange(n_labels, device=costs.device) / max(1, n_labels - 1)
    up, down = pad(energy.down, (0, 0, 1, 0)), pad(energy.down, (0, 0, 0, 1))
    left, right = pad(energy.across, (1, 0)), pad(energy.across, (0, 1))
    # w (z - z_j)^2 summed over the neighbours, without the part that z does not change
    fixed = costs + (up + down + left + right)[..., None] * z.square()
    place = torch.arange(n, device=costs.device)
    is_even = (place[:, None] + place) % 2 == 0
    for _ in range(SWEEPS):
        for turn in (is_even, ~is_even):  # blocks of one colour of a chessboard are no neighbours
            around = pad(choice / max(1, n_labels - 1), (1, 1, 1, 1))
            pull = up * around[:, :-2, 1:-1] + down * around[:, 2:, 1:-1]
            pull = pull + left * around[:, 1:-1, :-2] + right * around[:, 1:-1, 2:]
            choice = torch.where(turn, (fixed - 2 * pull[..., None] * z).argmin(dim=3), choice)
    return choice
