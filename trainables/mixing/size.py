"""Laws of the pasted fraction: how much of an image a mask asks to replace, before any clipping."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from trainables.strict import Frozen

LEAST_MASS = 1e-9
"""A law that is cut off must keep this much, or nothing accurate can be drawn from what is left."""


class _Bounded(Frozen):
    """Bounds of the pasted fraction."""

    lo: float = Field(default=0.0, ge=0, le=1)
    hi: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> _Bounded:
        if self.lo > self.hi:
            raise ValueError(f"lo must be <= hi, got {self.lo} > {self.hi}")
        return self


class BetaSize(_Bounded):
    """``lam ~ Beta(alpha, beta)``, the law of Mixup and CutMix (Yun et al., ICCV 2019, section 3.1).

    Attributes:
        alpha: ``alpha = 1`` with no ``beta`` is uniform; small values paste almost nothing or almost everything.
        beta: second parameter; None takes ``alpha``, so that the pasted fraction ``1 - lam`` has the same law as lam.
            ``beta < alpha`` favours small pastes.
        lo: the law is cut off below this pasted fraction (not moved: the rest keeps its proportions).
        hi: the law is cut off above this pasted fraction.
    """

    kind: Literal["beta"] = "beta"
    alpha: float = Field(default=1.0, gt=0)
    beta: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _possible(self) -> BetaSize:
        if self.lo == self.hi:
            raise ValueError(f"lo must be < hi, got {self.lo} = {self.hi}: use kind fixed for a single fraction")
        low, high = self._quantiles()
        if high - low < LEAST_MASS:
            raise ValueError(
                f"Beta with alpha {self.alpha} and beta {self.beta or self.alpha} has no mass between lo {self.lo} and "
                f"hi {self.hi}: widen them, or use kind uniform or fixed"
            )
        return self

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw pasted fractions: float64 [count] in [lo, hi]."""
        first, second = self._parameters
        if (self.lo, self.hi) == (0.0, 1.0):
            if first == second == 1:  # the uniform law, in a tenth of the time
                return rng.random(count)
            return rng.beta(first, second, size=count)
        from scipy.special import betaincinv

        low, high = self._quantiles()
        drawn: np.ndarray = betaincinv(first, second, low + (high - low) * rng.random(count))
        inside: np.ndarray = np.clip(drawn, self.lo, self.hi)  # rounding may lead out by the last bit
        return inside

    @property
    def _parameters(self) -> tuple[float, float]:
        """Of the law of the pasted fraction, which is that of lam mirrored."""
        return self.alpha if self.beta is None else self.beta, self.alpha

    def _quantiles(self) -> tuple[float, float]:
        """Chance of a fraction below ``lo`` and of one below ``hi``, before the law is cut off."""
        if (self.lo, self.hi) == (0.0, 1.0):
            return 0.0, 1.0
        from scipy.special import betainc

        return float(betainc(*self._parameters, self.lo)), float(betainc(*self._parameters, self.hi))


class UniformSize(_Bounded):
    """Pasted fraction uniform on [lo, hi], the law of Random Erasing (Zhong et al., AAAI 2020, algorithm 1).

    Attributes:
        lo: least value.
        hi: greatest value.
        of: what is uniform: the ``area``, or the ``side``, whose square is then the area (ResizeMix).
    """

    kind: Literal["uniform"] = "uniform"
    lo: float = Field(default=0.02, ge=0, le=1)
    hi: float = Field(default=0.4, ge=0, le=1)
    of: Literal["area", "side"] = "area"

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw pasted fractions: float64 [count]."""
        drawn = rng.uniform(self.lo, self.hi, size=count)
        return drawn * drawn if self.of == "side" else drawn


class FixedSize(Frozen):
    """The same pasted fraction for every sample, the law of Cutout (DeVries and Taylor, 2017)."""

    kind: Literal["fixed"] = "fixed"
    frac: float = Field(default=0.25, ge=0, le=1)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``frac`` for every sample: float64 [count]."""
        return np.full(count, self.frac)


Size = Annotated[BetaSize | UniformSize | FixedSize, Field(discriminator="kind")]
