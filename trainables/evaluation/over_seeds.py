"""Several downstream trainings per model: their seeds, and the mean and interval over them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trainables.evaluation.base import Value
from trainables.seeds import derive_seed

LEVEL = 0.95
"""Probability that an interval covers the mean."""


def training_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Return the seeds of the downstream trainings of an axis; fewer seeds are the first of more.

    All models of a sweep get the same seeds: differences between models are paired.

    Args:
        seed: seed of the axis.
        count: number of trainings per model and condition.

    Examples:
        >>> training_seeds(7, 2) == training_seeds(7, 3)[:2]
        True
    """
    return tuple(derive_seed(seed, "downstream training", index) for index in range(count))


def over_seeds(
    metric: str, results: Sequence[float], *, n: int, setting: str = "", library: str = ""
) -> tuple[Value, Value, Value]:
    """Return the mean of a metric over trainings, and the ends of its 95 % t interval.

    The interval covers the luck of the downstream trainings of one model, not that of the model's own training: the
    latter shows in the differences between the trials of an arm. It may reach beyond the possible values of the metric.

    Args:
        metric: name of the mean; the ends are ``METRIC_low`` and ``METRIC_high``.
        results: the metric of each training, at least one.
        n: number of test images behind each of them.
        setting: condition within the axis.
        library: packages that computed the metric.

    Returns:
        The mean, the lower and the upper end; the ends are NaN for a single training, whose luck is unknown.

    Examples:
        >>> [f"{value.metric} {value.value:.3f}" for value in over_seeds("map_50", [0.30, 0.32, 0.31], n=100)]
        ['map_50 0.310', 'map_50_low 0.285', 'map_50_high 0.335']
    """
    from scipy import stats

    mean, count = float(np.mean(results)), len(results)
    half_width = math.nan
    if count > 1:
        half_width = float(stats.t.ppf((1 + LEVEL) / 2, count - 1) * np.std(results, ddof=1) / math.sqrt(count))
    numbers = {metric: mean, f"{metric}_low": mean - half_width, f"{metric}_high": mean + half_width}
    mean_value, low, high = (Value(name, number, n, setting, library=library) for name, number in numbers.items())
    return mean_value, low, high
