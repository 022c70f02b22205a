"""Monte Carlo means with standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A Monte Carlo mean.

    Attributes:
        value: the mean.
        se: standard error of the mean.
    """

    value: float
    se: float


def estimate_of(means: np.ndarray) -> Estimate:
    """Return the mean of the means of independent batches, float64 [n], with its standard error."""
    return Estimate(float(means.mean()), float(means.std(ddof=1) / math.sqrt(len(means))))


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean value and the mean error: exact if all errors have the same sign, otherwise an upper bound."""
    return Estimate(*(math.fsum(part) / len(estimates) for part in zip(*estimates, strict=True)))


def weighted_sum(parts: Sequence[tuple[float, Estimate]]) -> Estimate:
    """Return the sum of independent estimates, each times its fraction."""
    value = math.fsum(frac * estimate.value for frac, estimate in parts)
    return Estimate(value, math.sqrt(math.fsum((frac * estimate.se) ** 2 for frac, estimate in parts)))
