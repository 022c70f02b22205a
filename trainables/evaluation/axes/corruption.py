"""Images as bad cameras, weather and compression leave them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field, field_validator

from trainables.data.image_set import ImageSet
from trainables.errors import did_you_mean
from trainables.evaluation.base import Axis, Measured, Value, library
from trainables.evaluation.corrupted_images import EXTRA, STANDARD, CorruptedImages
from trainables.evaluation.predictions import share, wrong

if TYPE_CHECKING:
    from trainables.evaluation.subject import Subject

LARGEST_CACHE_BYTES = 1 << 30
"""Corrupted images that would take more are made anew for every model: 500 of 32 px at 45 settings take 70 MB."""


class Corruption(Axis):
    """How well a network does on images that are noisy, blurred, snowed on or compressed.

    The kinds of ImageNet-C (Hendrycks and Dietterich, ICLR 2019) as ``corrupt-tta`` has them: rewritten, so that
    figures are not those of the published ImageNet-C or CIFAR-10-C, and with the severities of ImageNet at every size.
    On images much smaller than 224 px those that reach over a number of pixels hide more than was meant: blurs, and
    ``elastic_transform``, which moves by more at severities 1 and 2 than at 3 to 5. Compare models, not kinds. All
    models see the same pixels.

    Values, with n images:

    - ``clean_error``: top-1 error on the images as they are.
    - ``error``, setting ``gaussian_noise 3``: at one severity of one kind.
    - ``mean_error``, setting ``gaussian_noise``: mean over the severities; without a setting: mean of that over the
      kinds. It is the mCE of the paper without its division by the errors of AlexNet.
    - ``relative_error``, with the same settings: ``mean_error`` minus ``clean_error``.

    Attributes:
        kinds: what is done to the images; by default the fifteen of the benchmark. There are ``speckle_noise``,
            ``gaussian_blur``, ``spatter`` and ``saturate`` besides, which the authors keep for choosing settings by.
        severities: how badly, 1 to 5.
    """

    name: ClassVar[str] = "corruption"
    packages: ClassVar[tuple[str, ...]] = ("corrupt_tta",)
    headline: ClassVar[tuple[tuple[str, str], ...]] = (
        ("", "clean_error"),
        ("", "mean_error"),
        ("", "relative_error"),
    )

    n_images: int | None = Field(default=500, ge=1)
    kinds: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = STANDARD
    severities: Annotated[tuple[Annotated[int, Field(ge=1, le=5)], ...], Field(strict=False, min_length=1)] = (1, 3, 5)

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for kind in kinds:
            if kind not in (*STANDARD, *EXTRA):
                raise ValueError(f"unknown corruption {kind!r}{did_you_mean(kind, (*STANDARD, *EXTRA))}")
        return kinds

    @field_validator("kinds", "severities")
    @classmethod
    def _each_once(cls, items: tuple[int | str, ...]) -> tuple[int | str, ...]:
        if len(set(items)) < len(items):
            raise ValueError(f"must hold each once, got {list(items)}")
        return items

    def measure(self, subject: Subject) -> Measured:
        """Measure the error on clean images and at each severity of each kind."""
        rows = subject.sample(self.n_images, seed=self.seed)
        n, clean = len(rows), _error(subject, subject.test, rows)
        images = CorruptedImages(subject.test.images, rows, seed=self.seed, keep=self._fits(subject.test, n))
        values, means = [Value("clean_error", clean, n)], []
        for kind in self.kinds:
            errors = [
                _error(subject, _with(subject.test, rows, images.of(kind, severity=severity)), np.arange(n))
                for severity in self.severities
            ]
            values += [
                Value("error", error, n, f"{kind} {severity}", library=library("corrupt-tta"))
                for severity, error in zip(self.severities, errors, strict=True)
            ]
            means.append(float(np.mean(errors)))
        for kind, mean in zip((*self.kinds, ""), (*means, float(np.mean(means))), strict=True):
            values.append(Value("mean_error", mean, n, kind, library=library("corrupt-tta")))
            values.append(Value("relative_error", mean - clean, n, kind, library=library("corrupt-tta")))
        return Measured(tuple(values))

    def _fits(self, images: ImageSet, count: int) -> bool:
        image_bytes = int(np.prod(images.images.shape[1:]))
        return count * image_bytes * len(self.kinds) * len(self.severities) <= LARGEST_CACHE_BYTES


def _error(subject: Subject, images: ImageSet, rows: np.ndarray) -> float:
    return share(wrong(subject.logits(images, rows), torch.from_numpy(images.labels[rows])))


def _with(images: ImageSet, rows: np.ndarray, pixels: np.ndarray) -> ImageSet:
    return replace(images, images=pixels, labels=images.labels[rows], boxes=None)
