"""Bounds of recorded metrics: an interval of a rate ends at 0 and 1."""

from __future__ import annotations

import math

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
}


def bounds_of(metric: str) -> tuple[float, float]:
    """Return the smallest and the largest possible value of a metric; infinite if it has no bound, or is not known.

    Args:
        metric: a recorded metric, a column of the final values, or a quantity as ``values_of`` names it.

    Examples:
        >>> bounds_of("val_top1_error"), bounds_of("adversarial robust_error (fgsm eps=8/255)")
        ((0.0, 1.0), (0.0, 1.0))
        >>> bounds_of("signed_ece"), bounds_of("train_s")
        ((-1.0, 1.0), (-inf, inf))
    """
    name = metric.partition(" (")[0].rpartition(" ")[2]
    if name in _OTHERS:
        return _OTHERS[name]
    return RATE if name.endswith(_RATE_ENDINGS) else UNBOUNDED


def cut(low: float, high: float, *, value: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of an interval, moved inside the bounds; unchanged if the value itself lies outside of them.

    A part of your own may give the name of a rate to a metric that is none: then its values are not held to be one.

    Examples:
        >>> cut(-0.02, 0.06, value=0.02, bounds=RATE), cut(0.8, 2.0, value=1.4, bounds=RATE)
        ((0.0, 0.06), (0.8, 2.0))
    """
    least, largest = bounds
    if not least <= value <= largest:
        return low, high
    # comparisons with nan are false: a missing end stays missing
    return (least if low < least else low), (largest if high > largest else high)
