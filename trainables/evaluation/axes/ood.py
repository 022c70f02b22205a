"""Detection of out-of-distribution (OOD) images: is the network less confident on unknown classes?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator
from torch import Tensor

from trainables.data.image_set import ImageSet
from trainables.evaluation.base import Axis, Measured, Value, library
from trainables.evaluation.ood_sets import OutSet, check_names, check_not_trained_on, default_sets, out_sets
from trainables.evaluation.subject import ModelInfo

if TYPE_CHECKING:
    from trainables.evaluation.subject import Subject

Score = Literal["msp", "energy", "odin"]
Scores = dict[str, np.ndarray]
"""Float64 [N] by the name of the score; larger for images that look out of distribution."""

LEAST_TPR = 0.95


class OutOfDistribution(Axis):
    """How well a confidence score separates test images from images of other sets.

    Test images are in distribution and count as positive, as in Liang et al. (ICLR 2018) and in section 4.4 of Yun et
    al. (ICCV 2019). A detector accepts images whose score reaches a threshold; images of equal score are treated alike.

    - ``auroc``: probability that a test image scores higher than an OOD image; ties count half.
    - ``fpr_at_tpr95``: fraction of OOD images that are accepted at the strictest threshold that accepts at least
      95 % of the test images; ``tnr_at_tpr95`` is 1 minus this.
    - ``detection_accuracy``: mean of the fractions of test images and OOD images that are classified correctly, at the
      best threshold; at least 0.5.

    The condition is the set and the score, for example ``natural tiny-imagenet crop / msp`` or ``noise uniform /
    energy``. Natural images that are larger than the network's images are both cropped and scaled down, see
    :func:`trainables.evaluation.ood_sets.out_sets`. ``natural mean / msp`` and ``noise mean / msp`` are plain means
    over the sets of a kind; a crop and a resize count as two sets. There is no mean over both kinds, because noise is
    very easy for some networks and would dominate it.

    Scores: ``msp``, the largest probability (Hendrycks and Gimpel, ICLR 2017; used in section 4.4); ``energy``, T *
    logsumexp(logits / T) (Liu et al., NeurIPS 2020); ``odin``, the largest probability at a temperature after a step of
    ``odin_eps`` against the sign of the loss's gradient (Liang et al.). The step applies to pixels in [0, 1], without
    clipping. The authors' code does the same: it divides the step by the standard deviation of its normalisation.
    Nothing is tuned on OOD images.

    Attributes:
        sets: kinds of noise (``uniform``, ``gaussian``) and data sources (for example ``cifar100`` or
            ``imagefolder:PATH``), of which the test images are used; None: both kinds of noise and ``digits``, unless
            the network was trained on digits.
        scores: names of the scores.
        energy_temperature: T of ``energy``.
        odin_temperature: temperature of ``odin``.
        odin_eps: step of ``odin``.
        n_images: largest number of test images and of images per set.

    Examples:
        >>> OutOfDistribution(sets=("uniform", "cifar100"), scores=("msp",)).n_images
        2000
    """

    name: ClassVar[str] = "ood"
    packages: ClassVar[tuple[str, ...]] = ("pytorch_ood",)
    headline: ClassVar[tuple[tuple[str, str], ...]] = (
        ("natural mean / msp", "auroc"),
        ("natural mean / energy", "auroc"),
        ("natural mean / odin", "auroc"),
        ("noise mean / msp", "auroc"),
        ("noise mean / energy", "auroc"),
        ("noise mean / odin", "auroc"),
    )

    n_images: int | None = Field(default=2000, ge=1)
    sets: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    scores: Annotated[tuple[Score, ...], Field(strict=False, min_length=1)] = ("msp", "energy", "odin")
    energy_temperature: float = Field(default=1.0, gt=0)
    odin_temperature: float = Field(default=1000.0, gt=0)
    odin_eps: float = Field(default=0.0014, ge=0)

    @field_validator("sets")
    @classmethod
    def _known_sets(cls, sets: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if sets is not None:
            check_names(sets)
        return sets

    def check(self, about: ModelInfo) -> None:
        """Refuse sets that do not exist, and sets with the source or with classes that the network was trained on."""
        for ood_set in self.sets or ():
            check_not_trained_on(ood_set, about)

    def measure(self, subject: Subject) -> Measured:
        """Score the test images once, then the images of each set."""
        rows = subject.sample(self.n_images, seed=self.seed)
        test_scores = self._scored(subject, subject.test, rows)
        height_px, width_px = subject.test.images.shape[1:3]
        values: list[Value] = []
        for ood_set in default_sets(subject.about) if self.sets is None else self.sets:
            for out in out_sets(ood_set, height_px=height_px, width_px=width_px, count=len(rows), seed=self.seed):
                ood_scores = self._scored(subject, _as_image_set(out), np.arange(len(out.images)))
                values += _separations(test_scores, ood_scores, f"{out.kind} {out.name}")
        return Measured(
            (*values, *(mean for kind in ("natural", "noise") for mean in _means(values, kind, n_test=len(rows))))
        )

    def _scored(self, subject: Subject, images: ImageSet, rows: np.ndarray) -> Scores:
        from pytorch_ood.detector import EnergyBased, MaxSoftmax

        logits = subject.logits(images, rows).double()  # in float32, very confident predictions have equal scores
        scores: Scores = {}
        for name in self.scores:
            match name:
                case "msp":
                    score = MaxSoftmax.score(logits)
                case "energy":
                    score = EnergyBased.score(logits, t=self.energy_temperature)
                case "odin":
                    score = MaxSoftmax.score(self._after_a_step(subject, images, rows), t=self.odin_temperature)
            scores[name] = score.numpy()
        return scores

    def _after_a_step(self, subject: Subject, images: ImageSet, rows: np.ndarray) -> Tensor:
        """Return the logits, float64 [n, C], of images after a step towards their predicted class."""
        from pytorch_ood.detector import odin_preprocessing

        model = subject.saved.model

        def moved(pixels: Tensor, _: Tensor) -> Tensor:
            logits: Tensor = model(
                odin_preprocessing(model, pixels, eps=self.odin_eps, temperature=self.odin_temperature)
            )
            return logits

        return subject.over_batches(moved, images, rows, grad=True).double()


def separation(test_scores: np.ndarray, ood_scores: np.ndarray) -> dict[str, float]:
    """Return the metrics of :class:`OutOfDistribution`; NaN if a score is not finite.

    Args:
        test_scores: scores of images in distribution, float64 [N]; larger means less in distribution, as in
            pytorch-ood.
        ood_scores: scores of OOD images, float64 [M].

    Examples:
        >>> metrics = separation(np.array([0.1, 0.2, 0.6]), np.array([0.5, 0.9]))
        >>> round(metrics["auroc"], 3), metrics["fpr_at_tpr95"]
        (0.833, 0.5)
    """
    from sklearn.metrics import auc, roc_curve

    scores = np.concatenate([test_scores, ood_scores])
    if not np.isfinite(scores).all():
        return dict.fromkeys(("auroc", "fpr_at_tpr95", "tnr_at_tpr95", "detection_accuracy"), math.nan)
    in_distribution = np.arange(len(scores)) < len(test_scores)
    fpr, tpr, _ = roc_curve(in_distribution, -scores, drop_intermediate=False)
    at_tpr95 = fpr[np.argmax(tpr >= LEAST_TPR)]
    return {
        "auroc": float(auc(fpr, tpr)),
        "fpr_at_tpr95": float(at_tpr95),
        "tnr_at_tpr95": float(1 - at_tpr95),
        "detection_accuracy": float(((tpr + 1 - fpr) / 2).max()),
    }


def _separations(test_scores: Scores, ood_scores: Scores, where: str) -> list[Value]:
    return [
        Value(
            metric,
            value,
            len(test_scores[score]) + len(ood_scores[score]),
            f"{where} / {score}",
            library=library("pytorch-ood", "scikit-learn"),
        )
        for score in test_scores
        for metric, value in separation(test_scores[score], ood_scores[score]).items()
    ]


def _means(values: list[Value], kind: str, *, n_test: int) -> list[Value]:
    """Return the mean over the sets of a kind for each metric and score."""
    groups: dict[tuple[str, str], list[Value]] = {}
    for value in values:
        if value.setting.startswith(kind):
            score = value.setting.rpartition(" / ")[2]
            groups.setdefault((score, value.metric), []).append(value)
    return [
        Value(
            metric,
            float(np.mean([value.value for value in group])),
            n_test + sum(value.n - n_test for value in group),
            f"{kind} mean / {score}",
            library=library("pytorch-ood", "scikit-learn"),
        )
        for (score, metric), group in groups.items()
    ]


def _as_image_set(out: OutSet) -> ImageSet:
    """Wrap images without labels; their label, the class ``none``, is not used."""
    count, blank = len(out.images), np.zeros(3, dtype=np.float32)
    return ImageSet(out.images, np.zeros(count, dtype=np.int64), ("none",), None, blank, blank)
