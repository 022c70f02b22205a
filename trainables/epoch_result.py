"""What a trial reports after each epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochResult:
    """Results of one epoch.

    Attributes:
        epoch: number of the epoch, from 1.
        train_loss: mean cross-entropy on the mixed targets, nats; in adversarial training, on the attacked images.
        val_top1_error: fraction of validation images whose class is not the first prediction.
        val_top5_error: fraction of validation images whose class is not among the first five predictions.
        val_nll: mean negative log likelihood on validation images, nats.
        val_ece: expected calibration error on validation images.
        lr: learning rate of the last step.
        effective_prob: fraction of the samples of the epoch that were mixed.
        pasted_frac: mean fraction of pixels from the partner over all samples; 0 for a sample that was not mixed.
        seconds: duration of training and validation.
        images_per_s: training images per second of training.

    Examples:
        >>> errors = {"val_top1_error": 0.2, "val_top5_error": 0.0, "val_nll": math.nan, "val_ece": math.nan}
        >>> mixing = {"effective_prob": 0.5, "pasted_frac": 0.25}
        >>> EpochResult(epoch=1, train_loss=1.5, **errors, lr=0.1, **mixing, seconds=2, images_per_s=500).diverged
        True
    """

    epoch: int
    train_loss: float
    val_top1_error: float
    val_top5_error: float
    val_nll: float
    val_ece: float
    lr: float
    effective_prob: float
    pasted_frac: float
    seconds: float
    images_per_s: float

    @property
    def diverged(self) -> bool:
        """Whether a loss is not finite; further epochs cannot repair it."""
        return not (math.isfinite(self.train_loss) and math.isfinite(self.val_nll))
