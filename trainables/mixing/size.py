"""Laws of the pasted fraction: how much of an image a mask asks to replace, before any clipping."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from trainables.strict import Frozen


class BetaSize(Frozen):
    """``lam ~ Beta(alpha, alpha)``, the law of Mixup and CutMix (Yun et al., ICCV 2019, section 3.1).

    Symmetric, so the pasted fraction ``1 - lam`` has the same law. ``alpha = 1`` is uniform; small values paste
    almost nothing or almost everything.
    """

    kind: Literal["beta"] = "beta"
    alpha: float = Field(default=1.0, gt=0)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw pasted fractions: float64 [count] in [0, 1]."""
        return rng.beta(self.alpha, self.alpha, size=count)


class UniformSize(Frozen):
    """Pasted fraction uniform on [lo, hi], the law of Random Erasing (Zhong et al., AAAI 2020, algorithm 1)."""

    kind: Literal["uniform"] = "uniform"
    lo: float = Field(default=0.02, ge=0, le=1)
    hi: float = Field(default=0.4, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> UniformSize:
        if self.lo > self.hi:
            raise ValueError(f"lo must be <= hi, got {self.lo} > {self.hi}")
        return self

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw pasted fractions: float64 [count] in [lo, hi]."""
        return rng.uniform(self.lo, self.hi, size=count)


class FixedSize(Frozen):
    """The same pasted fraction for every sample, the law of Cutout (DeVries and Taylor, 2017)."""

    kind: Literal["fixed"] = "fixed"
    frac: float = Field(default=0.25, ge=0, le=1)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``frac`` for every sample: float64 [count]."""
        return np.full(count, self.frac)


Size = Annotated[BetaSize | UniformSize | FixedSize, Field(discriminator="kind")]
