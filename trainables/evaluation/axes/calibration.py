"""Calibration of probabilities, without and with a temperature that is fitted on validation images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from trainables.evaluation.base import Axis, Measured, Value, library
from trainables.metrics import accuracy_surplus, expected_calibration_error

if TYPE_CHECKING:
    from trainables.evaluation.subject import Subject

TEMPERATURES = (0.01, 100.0)
"""Range of the fitted temperature; a network that is always right has no optimum: lower is always better."""


class Calibration(Axis):
    """Difference between confidence (the probability of the predicted class) and accuracy, over bins of confidence.

    With b_m the fraction of images in bin m of ``bins`` of equal width, and gap_m the mean confidence in this bin minus
    its accuracy:

    - ``ece``: the sum of b_m * |gap_m| (Guo et al., ICML 2017, equation 3).
    - ``over_confidence``, ``under_confidence``: the parts of this sum with gap_m > 0 and with gap_m < 0, both as
      positive numbers. Their sum is ``ece``.
    - ``signed_ece``: the sum of b_m * gap_m, the first part minus the second; positive if confidence is too high on
      average. It equals the mean confidence minus the accuracy for any bins, and may be 0 although ``ece`` is not.
    - ``adaptive_ece``: like ``ece``, over bins with equal numbers of images (Mukhoti et al., NeurIPS 2020). Images of
      equal confidence count with their mean accuracy, in any bin.
    - ``nll``: mean negative log likelihood in nats.
    - ``brier``: squared distance of the probabilities from the label, summed over classes, mean over images: from 0 to
      2.

    Each metric has the conditions ``raw`` and ``temperature scaled``. The second divides the logits by the temperature
    with the least negative log likelihood on validation images (Guo et al., section 4.2). This temperature is the value
    ``temperature``, split ``val``. A temperature above 1 means that the network was over-confident. The predicted class
    is the same in both conditions.

    Attributes:
        bins: number of bins of confidence, for all metrics.

    Examples:
        >>> Calibration(bins=10).name
        'calibration'
    """

    name: ClassVar[str] = "calibration"
    headline: ClassVar[tuple[tuple[str, str], ...]] = (
        ("raw", "ece"),
        ("raw", "signed_ece"),
        ("raw", "nll"),
        ("temperature scaled", "ece"),
        ("temperature scaled", "temperature"),
    )

    bins: int = Field(default=15, ge=1)

    def measure(self, subject: Subject) -> Measured:
        """Fit the temperature on all validation images, then measure test images with and without it."""
        rows, val_rows = subject.sample(self.n_images, seed=self.seed), subject.data.val_rows
        logits, labels = subject.logits(subject.test, rows), torch.from_numpy(subject.test.labels[rows])
        val = subject.data.images
        temperature = fitted_temperature(subject.logits(val, val_rows), torch.from_numpy(val.labels[val_rows]))
        conditions = {"raw": logits, "temperature scaled": logits.double() / temperature}
        values = [
            Value(metric, value, len(rows), condition, library=library("torch"))
            for condition, scaled in conditions.items()
            for metric, value in calibration_metrics(scaled, labels, self.bins).items()
        ]
        fitted = Value(
            "temperature", temperature, len(val_rows), "temperature scaled", split="val", library=library("scipy")
        )
        return Measured((*values, fitted))


def calibration_metrics(logits: Tensor, labels: Tensor, bins: int) -> dict[str, float]:
    """Return the metrics of :class:`Calibration`; NaN if a logit is NaN.

    Args:
        logits: float [N, C] on the CPU.
        labels: int64 [N].
        bins: number of bins of confidence, at least 1.

    Examples:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> metrics = calibration_metrics(logits, torch.tensor([0, 0]), bins=10)
        >>> round(metrics["signed_ece"], 3), round(metrics["nll"], 3)
        (0.381, 1.127)
    """
    probs = logits.double().softmax(dim=1)
    confidence, predicted = probs.max(dim=1)
    correct = predicted == labels
    gaps = -accuracy_surplus(confidence, correct, bins) / len(labels)
    one_hot = functional.one_hot(labels, probs.shape[1])
    return {
        "ece": expected_calibration_error(confidence, correct, bins),
        "signed_ece": gaps.sum().item(),
        "over_confidence": gaps.clamp_min(0).sum().item(),
        "under_confidence": (-gaps).clamp_min(0).sum().item(),
        "adaptive_ece": adaptive_calibration_error(confidence.numpy(), correct.numpy(), bins),
        "nll": functional.cross_entropy(logits.double(), labels).item(),
        "brier": (probs - one_hot).square().sum(dim=1).mean().item(),
    }


def adaptive_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """Return the mean distance between accuracy and confidence over bins with equal numbers of samples.

    Args:
        confidence: float64 [N].
        correct: bool [N].
        bins: number of bins, at least 1; with fewer samples each sample has its own bin.
    """
    values, which, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    # the order of equal confidences is arbitrary: each gets their mean accuracy
    accuracy = np.bincount(which, weights=correct) / counts
    gaps = np.repeat(values - accuracy, counts)
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, bins)) / len(confidence))


def fitted_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature with the least negative log likelihood, in ``TEMPERATURES``; NaN if a logit is not finite.

    This likelihood is convex in 1 / T. Its slope, the mean over samples of the expected logit minus the label's logit,
    falls as T grows; the result is the root of the slope. If the temperature has no effect, the result is 1.

    Args:
        logits: float [N, C] on the CPU.
        labels: int64 [N].
    """
    from scipy.optimize import brentq

    if not logits.isfinite().all():
        return math.nan
    below_largest = logits.double() - logits.double().amax(dim=1, keepdim=True)
    label_mean = below_largest.gather(1, labels[:, None]).mean()

    def slope(log_temperature: float) -> float:
        probs = (below_largest / math.exp(log_temperature)).softmax(dim=1)
        return float((probs * below_largest).sum(dim=1).mean() - label_mean)

    if slope(0.0) == 0:
        return 1.0
    lowest, highest = (math.log(temperature) for temperature in TEMPERATURES)
    if slope(lowest) <= 0:
        return TEMPERATURES[0]
    if slope(highest) >= 0:
        return TEMPERATURES[1]
    return math.exp(brentq(slope, lowest, highest))
