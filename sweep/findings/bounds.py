"""Bounds of recorded metrics: an interval of a rate ends at 0 and 1."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

UNBOUNDED = (-math.inf, math.inf)
RATE = (0.0, 1.0)

CUT_NOTE = (
    "Intervals of rates are cut at 0 and 100 %, and those of their differences at -100 and +100 points: with so few "
    "values the spread is hardly known."
)
"""Remark under a table with an interval that ends at a bound."""

_RATE_ENDINGS = ("error", "ece", "accuracy", "auroc", "at_tpr95", "_loc", "_iou", "box_acc", "box_acc_v2")
_OTHERS = {
    "relative_error": UNBOUNDED,
    "signed_ece": (-1.0, 1.0),
    "nll": (0.0, math.inf),
    "val_nll": (0.0, math.inf),
    "brier": (0.0, 2.0),
    "over_confidence": RATE,
    "under_confidence": RATE,
    "rouge_l": RATE,
    "meteor": RATE,
    "cider": (0.0, 10.0),
    **{f"bleu_{order}": RATE for order in range(1, 5)},
    "map": RATE,
    "map_50": RATE,
    "voc07_map": RATE,
}


def bounds_of(metric: str, values: ArrayLike = ()) -> tuple[float, float]:
    """Return the smallest and the largest possible value of a metric; infinite if it has no bound, or is not known.

    Args:
        metric: a recorded metric, a column of the final values, or a quantity as ``values_of`` names it.
        values: its values. If one of them lies outside, the metric only has the name of a rate, as one of your own
            parts may have, or is in percent: then it has no bounds.

    Examples:
        >>> bounds_of("val_top1_error"), bounds_of("adversarial robust_error (fgsm eps=8/255)")
        ((0.0, 1.0), (0.0, 1.0))
        >>> bounds_of("signed_ece"), bounds_of("train_s"), bounds_of("error", [25.0, 0.5])
        ((-1.0, 1.0), (-inf, inf), (-inf, inf))
    """
    name = metric.partition(" (")[0].rpartition(" ")[2]
    low, high = _OTHERS.get(name, RATE if name.endswith(_RATE_ENDINGS) else UNBOUNDED)
    array = np.asarray(values, dtype=np.float64)
    return UNBOUNDED if ((array < low) | (array > high)).any() else (low, high)


def cut(low: float, high: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of an interval, moved inside the bounds; a missing end stays NaN.

    Examples:
        >>> cut(-0.02, 0.06, RATE)
        (0.0, 0.06)
    """
    least, largest = bounds
    return (least if low < least else low), (largest if high > largest else high)  # false for nan
