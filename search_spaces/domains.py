"""Domains: the values that one parameter may take."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from trainables.strict import Frozen


class Domain(Frozen, ABC):
    """Values of one parameter, to be sampled or laid out as a grid."""

    @abstractmethod
    def at(self, u: float) -> Any:
        """Return the value at quantile ``u`` in [0, 1): of a uniform ``u`` it is a draw."""

    def sample(self, rng: np.random.Generator) -> Any:
        """Draw one value."""
        return self.at(rng.random())

    @abstractmethod
    def grid(self) -> list[Any]:
        """List the values of a grid.

        Raises:
            ValueError: the domain is continuous and says no number of ``points``.
        """

    @abstractmethod
    def corners(self) -> list[Any]:
        """List the extreme values: if the configuration accepts these, it accepts all."""


class _Interval(Domain):
    lo: float
    hi: float
    points: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _ordered(self) -> _Interval:
        if self.lo >= self.hi:
            raise ValueError(f"lo must be < hi, got {self.lo} >= {self.hi}")
        return self

    def corners(self) -> list[Any]:
        return [self.lo, self.hi]

    def _n_points(self) -> int:
        if self.points is None:
            raise ValueError("a grid over an interval needs 'points', the number of values")
        return self.points


class Uniform(_Interval):
    """Real numbers between ``lo`` and ``hi``, each equally likely; a grid has ``points`` evenly spaced values."""

    kind: Literal["uniform"] = "uniform"

    def at(self, u: float) -> float:
        """Return the value at quantile ``u``."""
        return min(self.lo + (self.hi - self.lo) * u, self.hi)

    def grid(self) -> list[float]:
        """List ``points`` evenly spaced values, both ends among them."""
        return [float(value) for value in np.linspace(self.lo, self.hi, self._n_points())]


class LogUniform(_Interval):
    """Positive real numbers whose logarithm is uniform; a grid has ``points`` values of equal ratio."""

    kind: Literal["loguniform"] = "loguniform"
    lo: float = Field(gt=0)

    def at(self, u: float) -> float:
        """Return the value at quantile ``u``."""
        lo, hi = math.log(self.lo), math.log(self.hi)
        return min(max(math.exp(lo + (hi - lo) * u), self.lo), self.hi)

    def grid(self) -> list[float]:
        """List ``points`` values of equal ratio, both ends among them."""
        inner = np.geomspace(self.lo, self.hi, self._n_points())[1:-1]
        return [self.lo, *(float(value) for value in inner), self.hi]


class Integers(Domain):
    """Whole numbers from ``lo`` to ``hi``, both included; a grid has all of them."""

    kind: Literal["integers"] = "integers"
    lo: int
    hi: int

    @model_validator(mode="after")
    def _ordered(self) -> Integers:
        if self.lo > self.hi:
            raise ValueError(f"lo must be <= hi, got {self.lo} > {self.hi}")
        return self

    def at(self, u: float) -> int:
        """Return the value at quantile ``u``."""
        return self.lo + int(u * (self.hi - self.lo + 1))

    def grid(self) -> list[int]:
        """List all values."""
        return list(range(self.lo, self.hi + 1))

    def corners(self) -> list[Any]:
        """List both ends."""
        return [self.lo, self.hi]


class Choice(Domain):
    """One of the listed values, each equally likely; a grid has all of them."""

    kind: Literal["choice"] = "choice"
    values: Annotated[tuple[bool | int | float | str | None, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Choice:
        if len({(type(value), value) for value in self.values}) < len(self.values):
            raise ValueError(f"values must be distinct, got {list(self.values)}")
        return self

    def at(self, u: float) -> Any:
        """Return the value at quantile ``u``, in the order listed."""
        return self.values[int(u * len(self.values))]

    def grid(self) -> list[Any]:
        """List all values."""
        return list(self.values)

    def corners(self) -> list[Any]:
        """List all values."""
        return list(self.values)


class Fixed(Domain):
    """Always the same value: it stands in the records as a parameter of the arm."""

    kind: Literal["fixed"] = "fixed"
    value: bool | int | float | str | None

    def at(self, u: float) -> Any:
        """Return the value."""
        return self.value

    def grid(self) -> list[Any]:
        """List the value."""
        return [self.value]

    def corners(self) -> list[Any]:
        """List the value."""
        return [self.value]


AnyDomain = Annotated[Uniform | LogUniform | Integers | Choice | Fixed, Field(discriminator="kind")]
