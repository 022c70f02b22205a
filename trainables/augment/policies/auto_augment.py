"""AutoAugment: pairs of operations that were found by a search on one data set."""

from __future__ import annotations

import functools
from typing import ClassVar, Literal

import numpy as np

from trainables.augment.operations import CODES, Levels, Space, spread
from trainables.augment.policies.base import Policy

N_LEVELS = 10
"""Levels of strength, from 0 to 9."""

_PUBLISHED = {
    "imagenet": """
        posterize 0.4 8, rotate 0.6 9
        solarize 0.6 5, auto_contrast 0.6 0
        equalize 0.8 0, equalize 0.6 0
        posterize 0.6 7, posterize 0.6 6
        equalize 0.4 0, solarize 0.2 4
        equalize 0.4 0, rotate 0.8 8
        solarize 0.6 3, equalize 0.6 0
        posterize 0.8 5, equalize 1.0 0
        rotate 0.2 3, solarize 0.6 8
        equalize 0.6 0, posterize 0.4 6
        rotate 0.8 8, color 0.4 0
        rotate 0.4 9, equalize 0.6 0
        equalize 0.0 0, equalize 0.8 0
        invert 0.6 0, equalize 1.0 0
        color 0.6 4, contrast 1.0 8
        rotate 0.8 8, color 1.0 2
        color 0.8 8, solarize 0.8 7
        sharpness 0.4 7, invert 0.6 0
        shear_x 0.6 5, equalize 1.0 0
        color 0.4 0, equalize 0.6 0
        equalize 0.4 0, solarize 0.2 4
        solarize 0.6 5, auto_contrast 0.6 0
        invert 0.6 0, equalize 1.0 0
        color 0.6 4, contrast 1.0 8
        equalize 0.8 0, equalize 0.6 0
    """,
    "cifar10": """
        invert 0.1 0, contrast 0.2 6
        rotate 0.7 2, translate_x 0.3 9
        sharpness 0.8 1, sharpness 0.9 3
        shear_y 0.5 8, translate_y 0.7 9
        auto_contrast 0.5 0, equalize 0.9 0
        shear_y 0.2 7, posterize 0.3 7
        color 0.4 3, brightness 0.6 7
        sharpness 0.3 9, brightness 0.7 9
        equalize 0.6 0, equalize 0.5 0
        contrast 0.6 7, sharpness 0.6 5
        color 0.7 7, translate_x 0.5 8
        equalize 0.3 0, auto_contrast 0.4 0
        translate_y 0.4 3, sharpness 0.2 6
        brightness 0.9 6, color 0.2 8
        solarize 0.5 2, invert 0.0 0
        equalize 0.2 0, auto_contrast 0.6 0
        equalize 0.2 0, equalize 0.6 0
        color 0.9 9, equalize 0.6 0
        auto_contrast 0.8 0, solarize 0.2 8
        brightness 0.1 3, color 0.7 0
        solarize 0.4 5, auto_contrast 0.9 0
        translate_y 0.9 9, translate_y 0.7 9
        auto_contrast 0.9 0, solarize 0.8 3
        equalize 0.8 0, invert 0.1 0
        translate_y 0.7 9, auto_contrast 0.9 0
    """,
    "svhn": """
        shear_x 0.9 4, invert 0.2 0
        shear_y 0.9 8, invert 0.7 0
        equalize 0.6 0, solarize 0.6 6
        invert 0.9 0, equalize 0.6 0
        equalize 0.6 0, rotate 0.9 3
        shear_x 0.9 4, auto_contrast 0.8 0
        shear_y 0.9 8, invert 0.4 0
        shear_y 0.9 5, solarize 0.2 6
        invert 0.9 0, auto_contrast 0.8 0
        equalize 0.6 0, rotate 0.9 3
        shear_x 0.9 4, solarize 0.3 3
        shear_y 0.8 8, invert 0.7 0
        equalize 0.9 0, translate_y 0.6 6
        invert 0.9 0, equalize 0.6 0
        contrast 0.3 3, rotate 0.8 4
        invert 0.8 0, translate_y 0.0 2
        shear_y 0.7 6, solarize 0.4 8
        invert 0.6 0, rotate 0.8 4
        shear_y 0.3 7, translate_x 0.9 3
        shear_x 0.1 6, invert 0.6 0
        solarize 0.7 2, translate_y 0.6 7
        shear_y 0.8 4, invert 0.8 0
        shear_x 0.7 9, translate_y 0.8 3
        shear_y 0.8 5, auto_contrast 0.7 0
        shear_x 0.7 2, invert 0.1 0
    """,
}
"""Pairs of operations by data set: name, probability and level of each; level 0 where the operation has none."""


class AutoAugment(Policy):
    """AutoAugment (Cubuk et al., CVPR 2019, section 3; tables 7 to 9 of its appendix).

    One of 25 pairs is drawn for each image. Each operation of the pair is then applied with its own probability.
    Ranges are those of torchvision's ``AutoAugment``.

    Attributes:
        policy: data set on which the pairs were found: ``imagenet``, ``cifar10`` or ``svhn``.

    Examples:
        >>> drawn = AutoAugment(policy="cifar10").draw(3, height_px=32, width_px=32, rng=np.random.default_rng(0))
        >>> drawn["codes"].shape
        (3, 2)
    """

    kind: Literal["auto_augment"] = "auto_augment"
    policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet"
    space: ClassVar[Space] = {
        **spread(0.3, 150 / 331, 30.0, 0.9, unit="frac"),
        "posterize": Levels(8, 4, whole="nearest"),
        "invert": Levels(),
    }

    def draw(self, count: int, *, height_px: int, width_px: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw a pair per image, then which of its operations are applied, then signs."""
        pairs, probs, levels = _pairs(self.policy)
        chosen = rng.integers(len(pairs), size=count)
        applied = rng.random((count, 2)) < probs[chosen]
        codes = np.where(applied, pairs[chosen], np.uint8(CODES["identity"]))
        amounts = self.draw_amounts(codes, levels[chosen], N_LEVELS, height_px=height_px, width_px=width_px, rng=rng)
        return {"codes": codes, "amounts": amounts}


@functools.cache
def _pairs(policy: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return codes (uint8), probabilities (float64) and levels (int64) of the published pairs, each [25, 2]."""
    pairs = [[part.split() for part in line.split(",")] for line in _PUBLISHED[policy].strip().splitlines()]
    codes = np.array([[CODES[name] for name, _, _ in pair] for pair in pairs], np.uint8)
    probs = np.array([[float(prob) for _, prob, _ in pair] for pair in pairs])
    levels = np.array([[int(level) for _, _, level in pair] for pair in pairs])
    return codes, probs, levels
