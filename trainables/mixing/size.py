"""Distributions of the pasted fraction: how much of an image a mask is to replace, before any clipping."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from trainables.strict import Frozen

LEAST_MASS = 1e-9
"""Least probability between the bounds of a truncated distribution; below it nothing accurate can be drawn."""


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
    """``lam ~ Beta(alpha, beta)``, the distribution of Mixup and CutMix (Yun et al., ICCV 2019, section 3.1).

    Attributes:
        alpha: ``alpha = 1`` without ``beta`` is uniform; small values make fractions near 0 and near 1 likely.
        beta: second parameter; None: equal to ``alpha``, so that the pasted fraction ``1 - lam`` has the same
            distribution as lam. ``beta < alpha`` makes small fractions more likely.
        lo: the distribution is truncated below this pasted fraction; it keeps its shape above.
        hi: the distribution is truncated above this pasted fraction.

    Examples:
        >>> BetaSize(alpha=1.0).draw(3, np.random.default_rng(0)).round(2).tolist()
        [0.64, 0.27, 0.04]
        >>> fracs = BetaSize(alpha=0.2, hi=0.5).draw(1000, np.random.default_rng(0))
        >>> bool((fracs <= 0.5).all()), round(float(np.median(fracs)), 2)
        (True, 0.03)
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
                f"hi {self.hi}: widen these bounds, or use kind uniform or fixed"
            )
        return self

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw pasted fractions: float64 [count] in [lo, hi]."""
        first, second = self._parameters
        if (self.lo, self.hi) == (0.0, 1.0):
            if first == second == 1:  # uniform: a tenth of the time of rng.beta
                return rng.random(count)
            return rng.beta(first, second, size=count)
        from scipy.special import betaincinv

        low, high = self._quantiles()
        fracs: np.ndarray = betaincinv(first, second, low + (high - low) * rng.random(count))
        inside: np.ndarray = np.clip(fracs, self.lo, self.hi)  # the last bit of rounding may leave the bounds
        return inside

    @property
    def _parameters(self) -> tuple[float, float]:
        """Parameters of the pasted fraction's distribution: those of lam, swapped, because it is ``1 - lam``."""
        return self.alpha if self.beta is None else self.beta, self.alpha

    def _quantiles(self) -> tuple[float, float]:
        """Return the probabilities of a fraction below ``lo`` and of one below ``hi``, before truncation."""
        if (self.lo, self.hi) == (0.0, 1.0):
            return 0.0, 1.0
        from scipy.special import betainc

        return float(betainc(*self._parameters, self.lo)), float(betainc(*self._parameters, self.hi))


class UniformSize(_Bounded):
    """Pasted fraction uniform on [lo, hi], the distribution of Random Erasing (Zhong et al., AAAI 2020, algorithm 1).

    Attributes:
        lo: least value.
        hi: greatest value.
        of: what is uniform: the ``area``, or the ``side``, the square of which is then the area (ResizeMix).

    Examples:
        >>> UniformSize(lo=0.1, hi=0.3).draw(3, np.random.default_rng(0)).round(2).tolist()
        [0.23, 0.15, 0.11]
        >>> UniformSize(lo=0.5, hi=0.5, of="side").draw(2, np.random.default_rng(0)).tolist()
        [0.25, 0.25]
    """

    kind: Literal["uniform"] = "uniform"
    lo: float = Field(default=0.02, ge=0, le=1)
    hi: float = Field(default=0.4, ge=0, le=1)
    of: Literal["area", "side"] = "area"

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw pasted fractions: float64 [count]."""
        values = rng.uniform(self.lo, self.hi, size=count)
        return values * values if self.of == "side" else values


class FixedSize(Frozen):
    """The same pasted fraction for every sample, as Cutout has (DeVries and Taylor, 2017).

    Examples:
        >>> FixedSize(frac=0.25).draw(3, np.random.default_rng(0)).tolist()
        [0.25, 0.25, 0.25]
    """

    kind: Literal["fixed"] = "fixed"
    frac: float = Field(default=0.25, ge=0, le=1)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``frac`` for every sample: float64 [count]."""
        return np.full(count, self.frac)


Size = Annotated[BetaSize | UniformSize | FixedSize, Field(discriminator="kind")]
