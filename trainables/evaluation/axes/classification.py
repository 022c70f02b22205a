"""How often the network is wrong: overall, class by class, and at the epoch one would like best."""

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
    """Share of images whose label is not among the classes of largest logit.

    Values, all fractions but the epochs:

    - ``top1_error``, ``top5_error``; setting ``last, float32`` (weights of the last step) and, where there is one,
      ``ema, float32`` (their moving average). What was measured in training's own precision is recorded as ``last``
      and ``ema``.
    - ``class_top1_error``; setting: name of the class. Error among its images, with the weights that the network is
      judged by: the moving average where there is one. ``n``: its images; absent for a class without any.
    - ``worst_class_top1_error``; setting as of ``top1_error``: the largest of them.
    - ``optimistic_best_epoch_val_top1_error``, ``optimistic_best_epoch`` (the first such epoch, from 1) and
      ``optimistic_best_epoch_gap`` (error of the last epoch minus that of the best), on validation images; setting
      ``curve``. The least of many noisy numbers is below what the network is worth, and the more so the more the
      curve jumps: it is here to say how much an arm would gain by such a choice, not to be reported. Absent where
      the curve is not known.
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
        """Measure both sets of weights on test images, and look at the validation curve."""
        rows = subject.sample(self.n_images, seed=self.seed)
        labels = torch.from_numpy(subject.test.labels[rows])
        judged = subject.logits(subject.test, rows)
        setting = _setting(subject.saved.weights_name)
        values = [*_overall(judged, labels, setting), *_by_class(judged, labels, subject.test.classes, setting)]
        if subject.saved.last is not subject.saved.model:
            last = subject.over_batches(lambda pixels, _: subject.saved.last(pixels), subject.test, rows)
            values += _overall(last, labels, _setting("last"))
        if subject.curve.get("val_top1_error"):
            values += _best_epoch(subject.curve, n=subject.about.n_val)
        return Measured(tuple(values))


def _setting(weights: str) -> str:
    return f"{weights}, float32"


def _overall(logits: Tensor, labels: Tensor, setting: str) -> list[Value]:
    return [
        Value(metric, _error(logits, labels, metric), len(labels), setting, library=LIBRARY)
        for metric in ("top1_error", "top5_error")
    ]


def _by_class(logits: Tensor, labels: Tensor, classes: tuple[str, ...], setting: str) -> list[Value]:
    """Return the error of each class, and of the worst one."""
    values = []
    for label, name in enumerate(classes):
        mine = labels == label
        if mine.any():
            error = _error(logits[mine], labels[mine], "top1_error")
            values.append(Value("class_top1_error", error, int(mine.sum()), name, library=LIBRARY))
    worst = max(values, key=lambda value: value.value)
    return [*values, Value("worst_class_top1_error", worst.value, worst.n, setting, library=LIBRARY)]


def _error(logits: Tensor, labels: Tensor, metric: str) -> float:
    return classification_metrics(logits, labels, ece_bins=1)[metric]


def _best_epoch(curve: Mapping[str, list[float]], *, n: int) -> list[Value]:
    """Return the least error of a curve, where it is, and how far the end is from it."""
    errors = np.array(curve["val_top1_error"])
    epochs = np.array(curve.get("epoch", range(1, len(errors) + 1)))
    best = np.lexsort((epochs, errors))[0]
    found = {
        "optimistic_best_epoch_val_top1_error": errors[best],
        "optimistic_best_epoch": epochs[best],
        "optimistic_best_epoch_gap": errors[epochs.argmax()] - errors[best],
    }
    return [Value(metric, float(value), n, "curve", split="val", library=LIBRARY) for metric, value in found.items()]
