"""Domains: the values that one parameter may take."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from trainables.errors import format_value, shorten
from trainables.strict import Frozen

MAX_POINTS = 10_000
"""Largest number of grid values of an interval: as many as an arm may have trials."""

MAX_CHOICES = 1_000
"""Largest number of listed values; each of them is checked in a configuration before a sweep starts."""


class Domain(Frozen, ABC):
    """Values of one parameter, for random sampling or for a grid."""

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return True

    @abstractmethod
    def at(self, u: float) -> Any:
        """Return the value at quantile ``u`` in [0, 1); a uniform ``u`` gives a random value of the domain."""

    def sample(self, rng: np.random.Generator) -> Any:
        """Draw one value."""
        return self.at(rng.random())

    @abstractmethod
    def grid(self) -> list[Any]:
        """Return the values of a grid.

        Raises:
            ValueError: the domain is continuous and has no number of ``points``.
        """

    @abstractmethod
    def n_values(self) -> int:
        """Return the number of values of a grid, without listing them.

        Raises:
            ValueError: the domain is continuous and has no number of ``points``.
        """

    @abstractmethod
    def member(self, value: Any) -> Any:
        """Return the value of the domain that is equal to ``value``, in the domain's type.

        Raises:
            ValueError: the domain has no such value.
        """

    @abstractmethod
    def corners(self) -> list[Any]:
        """Return the extreme values: a configuration that accepts them accepts all values."""


class _Interval(Domain):
    lo: float
    hi: float
    points: int | None = Field(default=None, ge=2, le=MAX_POINTS)

    @model_validator(mode="after")
    def _ordered(self) -> _Interval:
        if self.lo >= self.hi:
            raise ValueError(f"lo must be < hi, got {self.lo} >= {self.hi}")
        return self

    def corners(self) -> list[Any]:
        return [self.lo, self.hi]

    def n_values(self) -> int:
        if self.points is None:
            raise ValueError("a grid over an interval needs 'points', the number of values")
        return self.points

    def member(self, value: Any) -> float:
        if not _is_number(value) or not self.lo <= value <= self.hi:
            raise ValueError(f"must be a number from {self.lo:g} to {self.hi:g}, got {format_value(value)}")
        return float(value)


class Uniform(_Interval):
    """Real numbers between ``lo`` and ``hi``, all equally likely; a grid has ``points`` evenly spaced values.

    Examples:
        >>> Uniform(lo=0.0, hi=1.0, points=3).grid()
        [0.0, 0.5, 1.0]
    """

    kind: Literal["uniform"] = "uniform"

    def at(self, u: float) -> float:
        """Return the value at quantile ``u``."""
        return min(self.lo + (self.hi - self.lo) * u, self.hi)

    def grid(self) -> list[float]:
        """Return ``points`` evenly spaced values, including both ends."""
        return [float(value) for value in np.linspace(self.lo, self.hi, self.n_values())]


class LogUniform(_Interval):
    """Positive real numbers with a uniform logarithm; a grid has ``points`` values of equal ratio.

    Examples:
        >>> [round(value, 3) for value in LogUniform(lo=0.01, hi=1.0, points=3).grid()]
        [0.01, 0.1, 1.0]
    """

    kind: Literal["loguniform"] = "loguniform"
    lo: float = Field(gt=0)

    def at(self, u: float) -> float:
        """Return the value at quantile ``u``."""
        lo, hi = math.log(self.lo), math.log(self.hi)
        return min(max(math.exp(lo + (hi - lo) * u), self.lo), self.hi)

    def grid(self) -> list[float]:
        """Return ``points`` values of equal ratio, including both ends."""
        inner = np.geomspace(self.lo, self.hi, self.n_values())[1:-1]
        return [self.lo, *(float(value) for value in inner), self.hi]


class Integers(Domain):
    """Whole numbers from ``lo`` to ``hi``, both included; a grid has all of them.

    Examples:
        >>> Integers(lo=1, hi=4).grid()
        [1, 2, 3, 4]
    """

    kind: Literal["integers"] = "integers"
    lo: int
    hi: int

    @model_validator(mode="after")
    def _ordered(self) -> Integers:
        if self.lo > self.hi:
            raise ValueError(f"lo must be <= hi, got {self.lo} > {self.hi}")
        return self

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return self.lo < self.hi

    def at(self, u: float) -> int:
        """Return the value at quantile ``u``."""
        return self.lo + int(u * (self.hi - self.lo + 1))

    def grid(self) -> list[int]:
        """Return all values."""
        return list(range(self.lo, self.hi + 1))

    def n_values(self) -> int:
        """Return the number of values."""
        return self.hi - self.lo + 1

    def member(self, value: Any) -> int:
        """Return the value, which must be a whole number of the interval."""
        if type(value) is not int or not self.lo <= value <= self.hi:
            raise ValueError(f"must be a whole number from {self.lo} to {self.hi}, got {format_value(value)}")
        return int(value)

    def corners(self) -> list[Any]:
        """Return both ends."""
        return [self.lo, self.hi]


class Choice(Domain):
    """One of the listed values, all equally likely; a grid has all of them.

    Examples:
        >>> Choice(values=("sample", "batch")).at(0.7)
        'batch'
    """

    kind: Literal["choice"] = "choice"
    values: Annotated[
        tuple[bool | int | float | str | None, ...], Field(strict=False, min_length=1, max_length=MAX_CHOICES)
    ]

    @model_validator(mode="after")
    def _distinct(self) -> Choice:
        if len({(type(value), value) for value in self.values}) < len(self.values):
            raise ValueError(f"values must be distinct, got {format_value(list(self.values))}")
        return self

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return len(self.values) > 1

    def at(self, u: float) -> Any:
        """Return the value at quantile ``u``, in the order listed."""
        return self.values[int(u * len(self.values))]

    def grid(self) -> list[Any]:
        """Return all values."""
        return list(self.values)

    def n_values(self) -> int:
        """Return the number of values."""
        return len(self.values)

    def member(self, value: Any) -> Any:
        """Return the listed value that is equal."""
        return _equal_one(self.values, value)

    def corners(self) -> list[Any]:
        """Return all values."""
        return list(self.values)


class Fixed(Domain):
    """Always the same value, recorded as a parameter of the arm.

    Examples:
        >>> Fixed(value=0.5).grid()
        [0.5]
    """

    kind: Literal["fixed"] = "fixed"
    value: bool | int | float | str | None

    @property
    def varies(self) -> bool:
        """Whether there is more than one value: there is not."""
        return False

    def at(self, u: float) -> Any:
        """Return the value."""
        return self.value

    def grid(self) -> list[Any]:
        """Return the value."""
        return [self.value]

    def n_values(self) -> int:
        """Return one."""
        return 1

    def member(self, value: Any) -> Any:
        """Return the value, which must be equal."""
        return _equal_one((self.value,), value)

    def corners(self) -> list[Any]:
        """Return the value."""
        return [self.value]


def _equal_one(values: tuple[Any, ...], value: Any) -> Any:
    """Return the one of ``values`` that is equal: 1 equals 1.0, but not True."""
    equal = [item for item in values if item == value and _same_kind(item, value)]
    if equal:
        return next((item for item in equal if type(item) is type(value)), equal[0])
    listed = " | ".join(map(str, values[:10])) + (" | ..." if len(values) > 10 else "")
    raise ValueError(f"must be one of {shorten(listed, 200)}, got {format_value(value)}")


def _same_kind(one: Any, other: Any) -> bool:
    return type(one) is type(other) or (_is_number(one) and _is_number(other))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


AnyDomain = Annotated[Uniform | LogUniform | Integers | Choice | Fixed, Field(discriminator="kind")]
"""Any domain, chosen by its ``kind``."""
