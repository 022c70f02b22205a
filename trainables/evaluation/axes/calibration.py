"""Whether probabilities can be believed, as they come and with a temperature fitted on validation images."""

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
"""Within which a temperature is sought: a network that is always right has none, it should be ever surer."""


class Calibration(Axis):
    """How far confidence, the probability of the predicted class, is from being right, over bins of confidence.

    With b_m the share of images in bin m of ``bins`` of equal width, and gap_m the mean confidence in it minus its
    accuracy:

    - ``ece``: the sum of b_m * |gap_m| (Guo et al., ICML 2017, equation 3).
    - ``over_confidence``, ``under_confidence``: the parts of that sum with gap_m > 0 and with gap_m < 0, both counted
      positive: ``ece`` is their sum, so that neither hides the other.
    - ``signed_ece``: the sum of b_m * gap_m, that is the first part minus the second: positive where confidence is
      too high on the whole. It is the mean confidence minus the accuracy, whatever the bins, and may be 0 where
      ``ece`` is not.
    - ``adaptive_ece``: as ``ece``, over bins that hold equally many images (Mukhoti et al., NeurIPS 2020).
      Images of equal confidence count as their mean, whichever bin they fall into.
    - ``nll``: mean negative log likelihood in nats.
    - ``brier``: mean over images of the squared distance of probabilities from the label, summed over classes: from
      0 to 2.

    Each of them in the setting ``raw``, and ``temperature scaled``: logits divided by the temperature of least
    negative log likelihood on validation images (Guo et al., section 4.2), which is the value ``temperature``, split
    ``val``. Above 1: the network was too sure. The predicted class is the same in both.

    Attributes:
        bins: of confidence, for all of them.
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
        """Fit the temperature on all validation images, and measure test images with it and without."""
        rows, val_rows = subject.sample(self.n_images, seed=self.seed), subject.data.val_rows
        logits, labels = subject.logits(subject.test, rows), torch.from_numpy(subject.test.labels[rows])
        val = subject.data.images
        temperature = fitted_temperature(subject.logits(val, val_rows), torch.from_numpy(val.labels[val_rows]))
        settings = {"raw": logits, "temperature scaled": logits.double() / temperature}
        values = [
            Value(metric, value, len(rows), setting, library=library("torch"))
            for setting, scaled in settings.items()
            for metric, value in calibration_metrics(scaled, labels, self.bins).items()
        ]
        fitted = Value(
            "temperature", temperature, len(val_rows), "temperature scaled", split="val", library=library("scipy")
        )
        return Measured((*values, fitted))


def calibration_metrics(logits: Tensor, labels: Tensor, bins: int) -> dict[str, float]:
    """Return what :class:`Calibration` describes; nan where a logit is.

    Args:
        logits: float [N, C] on the CPU.
        labels: int64 [N].
        bins: of confidence, at least 1.
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
    """Return the mean distance between accuracy and confidence over bins that hold equally many samples.

    Args:
        confidence: float64 [N].
        correct: bool [N].
        bins: at least 1; with fewer samples every one has its own.
    """
    values, which, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    # the order of equal confidences is an accident: each takes the accuracy that they have together
    accuracy = np.bincount(which, weights=correct) / counts
    gaps = np.repeat(values - accuracy, counts)
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, bins)) / len(confidence))


def fitted_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature of least negative log likelihood, within ``TEMPERATURES``; nan if a logit is not finite.

    That likelihood is convex in 1 / T: its slope, the mean over samples of the expected logit minus the label's one,
    only falls as T grows, and the zero is sought. Where T makes no difference it is 1.

    Args:
        logits: float [N, C] on the CPU.
        labels: int64 [N].
    """
    from scipy.optimize import brentq

    if not logits.isfinite().all():
        return math.nan
    below_largest = logits.double() - logits.double().amax(dim=1, keepdim=True)
    own = below_largest.gather(1, labels[:, None]).mean()

    def slope(log_temperature: float) -> float:
        probs = (below_largest / math.exp(log_temperature)).softmax(dim=1)
        return float((probs * below_largest).sum(dim=1).mean() - own)

    if slope(0.0) == 0:
        return 1.0
    lowest, highest = (math.log(temperature) for temperature in TEMPERATURES)
    if slope(lowest) <= 0:
        return TEMPERATURES[0]
    if slope(highest) >= 0:
        return TEMPERATURES[1]
    return math.exp(brentq(slope, lowest, highest))
