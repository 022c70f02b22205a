"""TrivialAugment: one operation per image, at a random strength."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from trainables.augment.operations import Levels, Space, spread
from trainables.augment.policies.base import Policy

N_LEVELS = 31
"""Levels of strength, from 0 to 30."""


class TrivialAugment(Policy):
    """TrivialAugment with its wide ranges (Müller and Hutter, ICCV 2021, algorithm 1 and table 1).

    It has no parameter to tune. The ranges are those of torchvision's ``TrivialAugmentWide``.

    Examples:
        >>> drawn = TrivialAugment().draw(3, height_px=32, width_px=32, rng=np.random.default_rng(0))
        >>> drawn["codes"].shape
        (3, 1)
    """

    kind: Literal["trivial_augment"] = "trivial_augment"
    space: ClassVar[Space] = {
        "identity": Levels(),
        **spread(0.99, 32.0, 135.0, 0.99, unit="px"),
        "posterize": Levels(8, 2, whole="nearest"),
    }

    def draw(self, count: int, *, height_px: int, width_px: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw an operation per image, then its level, then its sign."""
        codes = self.draw_codes((count, 1), rng)
        levels = rng.integers(N_LEVELS, size=codes.shape)
        amounts = self.draw_amounts(codes, levels, N_LEVELS, height_px=height_px, width_px=width_px, rng=rng)
        return {"codes": codes, "amounts": amounts}
