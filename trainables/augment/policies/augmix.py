"""AugMix: a random average of an image and of several chains of operations on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.augment.operations import CODES, Levels, Space, spread
from trainables.augment.policies.base import Policy

if TYPE_CHECKING:
    from torch import Tensor

N_LEVELS = 10
"""Levels of strength; a level is drawn below ``severity``."""

DEEPEST = 3
"""Operations of the longest chain if ``depth`` is random."""

_EVERY: Space = {**spread(0.3, 1 / 3, 30.0, 0.9, unit="frac"), "posterize": Levels(4, 0, whole="nearest")}
_CORRUPTIONS = ("brightness", "color", "contrast", "sharpness")


class AugMix(Policy):
    """AugMix (Hendrycks et al., ICLR 2020, algorithm 1), without its consistency loss.

    The result is m x + (1 - m) (w_1 chain_1(x) + ... + w_k chain_k(x)), with m from Beta(alpha, alpha) and w from a
    symmetric Dirichlet distribution. The paper leaves out brightness, color, contrast and sharpness, because its test
    images are corrupted alike; ``all_ops`` does so too if it is false. Ranges are those of torchvision's ``AugMix``.

    Attributes:
        severity: number of the lowest of 10 levels of strength that are drawn from.
        width: number of chains.
        depth: operations per chain; None: drawn from 1 to 3 for each chain.
        alpha: parameter of both distributions.
        all_ops: whether brightness, color, contrast and sharpness are drawn as well.
        interpolation: bilinear by default, as in the authors' code.

    Examples:
        >>> drawn = AugMix(width=2).draw(5, height_px=32, width_px=32, rng=np.random.default_rng(0))
        >>> drawn["codes"].shape, drawn["weights"].sum(1).round(4).tolist()
        ((5, 2, 3), [1.0, 1.0, 1.0, 1.0, 1.0])
    """

    kind: Literal["augmix"] = "augmix"
    severity: int = Field(default=3, ge=1, le=N_LEVELS)
    width: int = Field(default=3, ge=1, le=16)
    depth: int | None = Field(default=None, ge=1, le=16)
    alpha: float = Field(default=1.0, gt=0, le=1e3)
    all_ops: bool = False
    interpolation: Literal["nearest", "bilinear"] = "bilinear"
    space: ClassVar[Space] = _EVERY

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of the operations that are drawn."""
        return tuple(name for name in self.space if self.all_ops or name not in _CORRUPTIONS)

    def draw(self, count: int, *, height_px: int, width_px: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw operations, levels, signs, lengths of the chains, then the weights of the average."""
        shape = (count, self.width, self.depth or DEEPEST)
        codes = self.draw_codes(shape, rng)
        levels = rng.integers(self.severity, size=shape)
        amounts = self.draw_amounts(codes, levels, N_LEVELS, height_px=height_px, width_px=width_px, rng=rng)
        if self.depth is None:
            lengths = rng.integers(1, DEEPEST + 1, size=shape[:2])
            skipped = np.arange(DEEPEST) >= lengths[..., None]
            codes, amounts = np.where(skipped, np.uint8(CODES["identity"]), codes), np.where(skipped, 0, amounts)
        original = rng.beta(self.alpha, self.alpha, size=(count, 1))
        chains = rng.dirichlet(np.full(self.width, self.alpha), size=count)
        weights = np.concatenate([original, (1 - original) * chains], axis=1).astype(np.float32)
        return {"codes": codes, "amounts": amounts.astype(np.float32), "weights": weights}

    def render(self, images: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the averages, uint8 [B, H, W, 3]; fractions of a grey level are cut off, as in torchvision."""
        chains = {name: parameters[name] for name in ("codes", "amounts", "matrices")}
        weights = parameters["weights"][:, :, None, None, None]
        average = images * weights[:, 0]
        for place in range(self.width):
            chain = super().render(images, {name: values[:, place] for name, values in chains.items()})
            average += chain * weights[:, 1 + place]
        return average.to(images.dtype)
