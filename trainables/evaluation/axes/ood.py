"""Whether the network is less sure of images of no class that it knows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator
from torch import Tensor

from trainables.data.image_set import ImageSet
from trainables.evaluation.base import Axis, Measured, Value, library
from trainables.evaluation.ood_sets import OutSet, check_names, check_not_own, default_sets, out_sets
from trainables.evaluation.subject import ModelInfo

if TYPE_CHECKING:
    from trainables.evaluation.subject import Subject

Score = Literal["msp", "energy", "odin"]
Scores = dict[str, np.ndarray]
"""By the name of the score: float64 [N], larger for images that look foreign."""

LEAST_TPR = 0.95


class OutOfDistribution(Axis):
    """How well a score of the network's answer parts test images from those of other sets.

    The images known, the test images, are the positive ones, as in Liang et al. (ICLR 2018) and in section 4.4 of Yun
    et al. (ICCV 2019). A threshold calls an image known from a score on; images of equal score are on one side.

    - ``auroc``: chance that a known image scores higher than a foreign one, a tie counting half.
    - ``fpr_at_tpr95``: share of foreign images called known at the strictest threshold that calls at least 95 % of
      the known ones so; ``tnr_at_tpr95`` is 1 minus that.
    - ``detection_accuracy``: mean of the shares of known and of foreign images that are called right, at the best
      threshold: 0.5 at least.

    Setting: the set and the score, as ``natural tiny-imagenet crop / msp`` or ``noise uniform / energy``. Natural
    images that are larger than the network's are both cropped and scaled down: see
    :func:`trainables.evaluation.ood_sets.out_sets`. ``natural mean / msp`` and ``noise mean / msp`` are plain means
    over the sets of a kind, a crop and a resize counting as two. There is no mean over both kinds: noise is so easy for
    some networks that it would make most of the number.

    Scores: ``msp``, the largest probability (Hendrycks and Gimpel, ICLR 2017; the one of section 4.4); ``energy``, T *
    logsumexp(logits / T) (Liu et al., NeurIPS 2020); ``odin``, the largest probability at a temperature after a step
    of ``odin_eps`` against the sign of the loss's gradient (Liang et al.). The step is in pixels in [0, 1], without
    clipping, as in the authors' code, which divides it by the deviation that it normalises by. Nothing is tuned on
    foreign images.

    Attributes:
        sets: kinds of noise (``uniform``, ``gaussian``) and data sources (``digits``, ``cifar100``,
            ``tiny-imagenet:PATH``, ``imagefolder:PATH``), whose test images are taken; None: noise of both kinds and
            ``digits``, unless that is what the network was trained on.
        scores: which scores.
        energy_temperature: T of ``energy``.
        odin_temperature: temperature of ``odin``.
        odin_eps: step of ``odin``.
        n_images: test images, and as many of each set.
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
        """Refuse sets that are not there, or that the network was trained on, by their source or by their classes."""
        for given in self.sets or ():
            check_not_own(given, about)

    def measure(self, subject: Subject) -> Measured:
        """Score test images once, and every set after another."""
        rows = subject.sample(self.n_images, seed=self.seed)
        known = self._scored(subject, subject.test, rows)
        height_px, width_px = subject.test.images.shape[1:3]
        values: list[Value] = []
        for given in default_sets(subject.about) if self.sets is None else self.sets:
            for out in out_sets(given, height_px=height_px, width_px=width_px, count=len(rows), seed=self.seed):
                foreign = self._scored(subject, _as_image_set(out), np.arange(len(out.images)))
                values += _separations(known, foreign, f"{out.kind} {out.name}")
        return Measured(
            (*values, *(mean for kind in ("natural", "noise") for mean in _means(values, kind, n_known=len(rows))))
        )

    def _scored(self, subject: Subject, images: ImageSet, rows: np.ndarray) -> Scores:
        from pytorch_ood.detector import EnergyBased, MaxSoftmax

        logits = subject.logits(images, rows).double()  # in float32 answers that are very sure would all be equal
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
        """Return the logits, float64 [n, C], of images that were moved towards the class predicted for them."""
        from pytorch_ood.detector import odin_preprocessing

        model = subject.saved.model

        def moved(pixels: Tensor, _: Tensor) -> Tensor:
            logits: Tensor = model(
                odin_preprocessing(model, pixels, eps=self.odin_eps, temperature=self.odin_temperature)
            )
            return logits

        return subject.over_batches(moved, images, rows, grad=True).double()


def separation(known: np.ndarray, foreign: np.ndarray) -> dict[str, float]:
    """Return what :class:`OutOfDistribution` describes; nan where a score is not finite.

    Args:
        known: scores of images in distribution, float64 [N]: larger ones look more foreign, as pytorch-ood has it.
        foreign: scores of images out of distribution, float64 [M].
    """
    from sklearn.metrics import auc, roc_curve

    scores = np.concatenate([known, foreign])
    if not np.isfinite(scores).all():
        return dict.fromkeys(("auroc", "fpr_at_tpr95", "tnr_at_tpr95", "detection_accuracy"), math.nan)
    is_known = np.arange(len(scores)) < len(known)
    fpr, tpr, _ = roc_curve(is_known, -scores, drop_intermediate=False)
    at_tpr95 = fpr[np.argmax(tpr >= LEAST_TPR)]
    return {
        "auroc": float(auc(fpr, tpr)),
        "fpr_at_tpr95": float(at_tpr95),
        "tnr_at_tpr95": float(1 - at_tpr95),
        "detection_accuracy": float(((tpr + 1 - fpr) / 2).max()),
    }


def _separations(known: Scores, foreign: Scores, where: str) -> list[Value]:
    return [
        Value(
            metric,
            value,
            len(known[score]) + len(foreign[score]),
            f"{where} / {score}",
            library=library("pytorch-ood", "scikit-learn"),
        )
        for score in known
        for metric, value in separation(known[score], foreign[score]).items()
    ]


def _means(values: list[Value], kind: str, *, n_known: int) -> list[Value]:
    """Return the mean over the sets of a kind of every metric by every score."""
    groups: dict[tuple[str, str], list[Value]] = {}
    for value in values:
        if value.setting.startswith(kind):
            score = value.setting.rpartition(" / ")[2]
            groups.setdefault((score, value.metric), []).append(value)
    return [
        Value(
            metric,
            float(np.mean([value.value for value in group])),
            n_known + sum(value.n - n_known for value in group),
            f"{kind} mean / {score}",
            library=library("pytorch-ood", "scikit-learn"),
        )
        for (score, metric), group in groups.items()
    ]


def _as_image_set(out: OutSet) -> ImageSet:
    """Wrap images that have no label: the first class is none of theirs."""
    count, blank = len(out.images), np.zeros(3, dtype=np.float32)
    return ImageSet(out.images, np.zeros(count, dtype=np.int64), ("none",), None, blank, blank)
