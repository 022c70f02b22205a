"""Several partners per image: how many there are, and what each of them gets of the pasted fraction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from trainables.strict import Frozen

if TYPE_CHECKING:
    import torch


class Partners(Frozen):
    """How many images are pasted into each image, and how they divide the pasted fraction.

    Each partner is drawn by ``pairing`` and has its own mask. Masks are pasted one after another, and a later one
    covers an earlier one. Their sizes are chosen so that independent masks show each partner as much as was drawn for
    it: exactly for a constant mask (Mixup), on average where places are uniform (torus). A family that divides the
    image, for example ``quadrants``, has no overlap.

    Attributes:
        count: partners per image.
        alpha: the pasted fraction is divided by Dirichlet(alpha, ..., alpha); None: in equal parts. With ``size``
            beta(alpha, count * alpha), the fractions of all images, the original among them, are
            Dirichlet(alpha, ..., alpha): Mixup of several images (Zhang et al., ICLR 2018, section 3).

    Examples:
        >>> Partners(count=3).divided(np.array([0.75]), np.random.default_rng(0)).tolist()
        [[0.25, 0.25, 0.25]]
        >>> Partners(count=2, alpha=1.0).divided(np.array([0.5]), np.random.default_rng(0)).round(2).tolist()
        [[0.2, 0.3]]
    """

    count: int = Field(default=1, ge=1, le=8)
    alpha: float | None = Field(default=None, gt=0)

    def divided(self, pasted_frac: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return each partner's fraction of the image, float64 [n, count]: ``pasted_frac``, float64 [n], divided."""
        if self.count == 1:
            return pasted_frac[:, None]
        if self.alpha is None:
            return np.repeat(pasted_frac[:, None] / self.count, self.count, axis=1)
        return pasted_frac[:, None] * rng.dirichlet(np.full(self.count, self.alpha), size=len(pasted_frac))


def own_fracs(fracs: np.ndarray) -> np.ndarray:
    """Return the sizes at which masks that are pasted one after another show the wanted fractions: float64 [n, K].

    The last mask covers the others: mask j has ``f_j / (1 - f_(j+1) - ... - f_K)``. If places are independent and
    uniform, mask j then shows f_j on average.

    Args:
        fracs: what each partner shall show of the image, float64 [n, K].

    Examples:
        >>> own_fracs(np.array([[0.2, 0.4, 0.2], [0.0, 0.0, 1.0]])).round(3).tolist()
        [[0.5, 0.5, 0.2], [0.0, 0.0, 1.0]]
    """
    covered = np.zeros_like(fracs)
    covered[:, :-1] = np.cumsum(fracs[:, :0:-1], axis=1)[:, ::-1]
    rest = 1 - covered
    # nothing is left below masks that cover all; rounding must not make a mask larger than the image
    own: np.ndarray = np.minimum(np.divide(fracs, rest, out=np.zeros_like(fracs), where=rest > 0), 1.0)
    return own


def shown_parts(masks: torch.Tensor) -> torch.Tensor:
    """Return what is visible of masks that are pasted one after another, [n, K, H, W]: the last one wholly.

    Examples:
        >>> import torch
        >>> masks = torch.tensor([[True, True, False], [False, True, True]]).view(1, 2, 1, 3)
        >>> shown_parts(masks).int().flatten(2).tolist()
        [[[1, 0, 0], [0, 1, 1]]]
    """
    import torch

    n_masks = masks.shape[1]
    if n_masks == 1:
        return masks
    shown, rest = [masks[:, -1]], 1 - masks[:, -1] if masks.is_floating_point() else ~masks[:, -1]
    for index in range(n_masks - 2, -1, -1):
        shown.append(masks[:, index] * rest)
        rest = rest * (1 - masks[:, index]) if masks.is_floating_point() else rest & ~masks[:, index]
    return torch.stack(shown[::-1], dim=1)
