"""RandAugment: operations with equal probability, all at the same strength."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.augment.operations import Levels, Space, spread
from trainables.augment.policies.base import Policy

N_LEVELS = 31
"""Levels of strength, from 0 to 30."""


class RandAugment(Policy):
    """RandAugment (Cubuk et al., NeurIPS 2020, section 3).

    Operations and ends of their ranges are those of torchvision's ``RandAugment``. Other published codes have other
    ranges, so that a magnitude is comparable only within one code.

    Attributes:
        n_ops: operations per image, drawn with replacement.
        magnitude: level of strength of all operations, from 0 to 30. The paper used 9 for ResNet-50 on ImageNet.

    Examples:
        >>> policy = RandAugment(n_ops=2, magnitude=9)
        >>> drawn = policy.draw(3, height_px=32, width_px=32, rng=np.random.default_rng(0))
        >>> drawn["codes"].shape, drawn["amounts"].dtype
        ((3, 2), dtype('float32'))
    """

    kind: Literal["rand_augment"] = "rand_augment"
    n_ops: int = Field(default=2, ge=1, le=16)
    magnitude: int = Field(default=9, ge=0, lt=N_LEVELS)
    space: ClassVar[Space] = {
        "identity": Levels(),
        **spread(0.3, 150 / 331, 30.0, 0.9, unit="frac"),
        "posterize": Levels(8, 4, whole="nearest"),
    }

    def draw(self, count: int, *, height_px: int, width_px: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw operations, then their signs."""
        codes = self.draw_codes((count, self.n_ops), rng)
        amounts = self.draw_amounts(codes, self.magnitude, N_LEVELS, height_px=height_px, width_px=width_px, rng=rng)
        return {"codes": codes, "amounts": amounts}
