"""Classification error: overall, per class, and at the epoch with the lowest validation error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from trainables.evaluation.base import Axis, Measured, Value, library
from trainables.metrics import classification_metrics

if TYPE_CHECKING:
    from trainables.evaluation.subject import Subject

LIBRARY = library("torch")


class Classification(Axis):
    """Fraction of images whose label is not among the classes with the largest logits.

    Values, all fractions except the epochs:

    - ``top1_error``, ``top5_error``; condition ``last, float32`` (weights of the last step) and, with a moving average,
      ``ema, float32``. Values that were measured in the precision of training are recorded as ``last`` and ``ema``.
    - ``class_top1_error``; condition: name of the class. Error on the images of the class, with the moving average if
      there is one. ``n``: number of images of the class. Absent for a class without images.
    - ``worst_class_top1_error``; conditions as for ``top1_error``: the largest class error.
    - ``optimistic_best_epoch_val_top1_error``, ``optimistic_best_epoch`` (the first such epoch, from 1) and
      ``optimistic_best_epoch_gap`` (error of the last epoch minus error of the best epoch), on validation images;
      condition ``curve``. The minimum of many noisy numbers is too optimistic, and more so for noisier curves. It shows
      how much an arm would gain by choosing the best epoch; do not report it. Absent if the curve is unknown.

    Examples:
        >>> Classification(n_images=1000).headline[0]
        ('last, float32', 'top1_error')
    """

    name: ClassVar[str] = "classification"
    headline: ClassVar[tuple[tuple[str, str], ...]] = (
        ("last, float32", "top1_error"),
        ("last, float32", "top5_error"),
        ("last, float32", "worst_class_top1_error"),
        ("ema, float32", "top1_error"),
        ("ema, float32", "top5_error"),
        ("ema, float32", "worst_class_top1_error"),
        ("curve", "optimistic_best_epoch_gap"),
    )

    def measure(self, subject: Subject) -> Measured:
        """Measure both sets of weights on test images, and find the best epoch of the validation curve."""
        rows = subject.sample(self.n_images, seed=self.seed)
        labels = torch.from_numpy(subject.test.labels[rows])
        logits = subject.logits(subject.test, rows)
        condition = _condition(subject.saved.weights_name)
        values = [*_overall(logits, labels, condition), *_by_class(logits, labels, subject.test.classes, condition)]
        if subject.saved.last is not subject.saved.model:
            last = subject.over_batches(lambda pixels, _: subject.saved.last(pixels), subject.test, rows)
            values += _overall(last, labels, _condition("last"))
        if subject.curve.get("val_top1_error"):
            values += _best_epoch(subject.curve, n=subject.about.n_val)
        return Measured(tuple(values))


def _condition(weights: str) -> str:
    return f"{weights}, float32"


def _overall(logits: Tensor, labels: Tensor, condition: str) -> list[Value]:
    return [
        Value(metric, _error(logits, labels, metric), len(labels), condition, library=LIBRARY)
        for metric in ("top1_error", "top5_error")
    ]


def _by_class(logits: Tensor, labels: Tensor, classes: tuple[str, ...], condition: str) -> list[Value]:
    """Return the error of each class, and the largest of them."""
    values = []
    for label, name in enumerate(classes):
        in_class = labels == label
        if in_class.any():
            error = _error(logits[in_class], labels[in_class], "top1_error")
            values.append(Value("class_top1_error", error, int(in_class.sum()), name, library=LIBRARY))
    worst = max(values, key=lambda value: value.value)
    return [*values, Value("worst_class_top1_error", worst.value, worst.n, condition, library=LIBRARY)]


def _error(logits: Tensor, labels: Tensor, metric: str) -> float:
    return classification_metrics(logits, labels, ece_bins=1)[metric]


def _best_epoch(curve: Mapping[str, list[float]], *, n: int) -> list[Value]:
    """Return the lowest error of a curve, its epoch, and the error of the last epoch minus the lowest error."""
    errors = np.array(curve["val_top1_error"])
    epochs = np.array(curve.get("epoch", range(1, len(errors) + 1)))
    best = np.lexsort((epochs, errors))[0]
    results = {
        "optimistic_best_epoch_val_top1_error": errors[best],
        "optimistic_best_epoch": epochs[best],
        "optimistic_best_epoch_gap": errors[epochs.argmax()] - errors[best],
    }
    return [Value(metric, float(value), n, "curve", split="val", library=LIBRARY) for metric, value in results.items()]
