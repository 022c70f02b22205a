"""Robustness to hidden parts of images, and to images between two classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from trainables.errors import UserError
from trainables.evaluation.base import Axis, Measured, Value
from trainables.evaluation.predictions import fraction, predicted
from trainables.evaluation.subject import ModelInfo
from trainables.seeds import generator

if TYPE_CHECKING:
    from trainables.evaluation.subject import Subject

Frac = Annotated[float, Field(ge=0, le=1)]


class Occlusion(Axis):
    """Error on images with a hidden part, and on mixtures of two images of different classes.

    After Yun et al. (ICCV 2019), section 4.4, figure 5 and appendix E.1. A square hole in the middle is filled
    (``center``), or the area outside it (``boundary``). A pair of test images of two classes is mixed: blended with the
    fraction ``lam`` of the first image (``mixup``), or the hole in the middle of the first image shows the second one
    (``cutmix hole``). The error is to predict neither class. The paper draws 50,000 pairs. Here each measured image is
    the first image of one pair, and its partner is drawn among all test images of other classes.

    Values, with n images or pairs:

    - ``error``, condition ``center 0.5`` or ``boundary 0.5``: top-1 error if the hole's sides are this fraction of the
      image's sides.
    - ``area``, condition ``center`` or ``boundary``: area under this curve by the trapezoidal rule, divided by the
      range of the holes; smaller is better.
    - ``in_between_error``, condition ``mixup 0.3`` (``lam``) or ``cutmix hole 0.5`` (sides of the hole): fraction of
      the pairs for which neither class is predicted. Figure 5b plots the hole by the fraction of the first image,
      which is 1 minus the square of the hole's side.
    - ``in_between_mean``, condition ``mixup`` or ``cutmix hole``: mean of this error over ``lam`` or over the holes.

    Attributes:
        holes_frac: sides of the hole as fractions of the sides of the image, rising; rounded to whole pixels. The paper
            has 0 to 224 of 224 pixels, and does not give the steps.
        fill: ``mean`` fills with zero after normalisation, the mean of each channel over the training images, like the
            paper and like Cutout here; ``black`` fills with zero before normalisation.
        mixup_lams: fractions of the first image in a blend, rising.

    Examples:
        >>> Occlusion(holes_frac=(0.0, 0.5, 1.0), fill="black").mixup_lams[:3]
        (0.0, 0.1, 0.2)
    """

    name: ClassVar[str] = "occlusion"
    headline: ClassVar[tuple[tuple[str, str], ...]] = (
        ("center", "area"),
        ("boundary", "area"),
        ("mixup", "in_between_mean"),
        ("cutmix hole", "in_between_mean"),
    )

    n_images: int | None = Field(default=2000, ge=1)
    holes_frac: Annotated[tuple[Frac, ...], Field(strict=False, min_length=2)] = tuple(i / 8 for i in range(9))
    fill: Literal["mean", "black"] = "mean"
    mixup_lams: Annotated[tuple[Frac, ...], Field(strict=False, min_length=1)] = tuple(i / 10 for i in range(11))

    @field_validator("holes_frac", "mixup_lams")
    @classmethod
    def _rising(cls, fracs: tuple[float, ...]) -> tuple[float, ...]:
        if list(fracs) != sorted(set(fracs)):
            raise ValueError(f"must rise, got {list(fracs)}")
        return fracs

    def check(self, about: ModelInfo) -> None:
        """Refuse images of a single class: pairs of two classes are needed."""
        if len(about.classes) < 2:
            raise UserError(f"occlusion mixes images of two classes, but the only class is '{about.classes[0]}'")

    def measure(self, subject: Subject) -> Measured:
        """Measure both curves of hidden parts and both curves of mixed pairs."""
        rows = subject.sample(self.n_images, seed=self.seed)
        return Measured((*self._occluded(subject, rows), *self._in_between(subject, rows)))

    def _occluded(self, subject: Subject, rows: np.ndarray) -> list[Value]:
        mean = subject.saved.normalize.mean
        assert isinstance(mean, Tensor)
        fill = mean if self.fill == "mean" else torch.zeros_like(mean)

        def wrongs(pixels: Tensor, labels: Tensor) -> Tensor:
            predictions = [
                predicted(subject.saved.model(occluded(pixels, fill, hole_frac=hole_frac, outside=outside)))
                for outside in (False, True)
                for hole_frac in self.holes_frac
            ]
            return torch.stack(predictions, dim=1) != labels[:, None]

        flags = subject.over_batches(wrongs, subject.test, rows)
        errors = [fraction(column) for column in flags.T]
        values: list[Value] = []
        for kind, curve in zip(("center", "boundary"), np.split(np.array(errors), 2), strict=True):
            values += [
                Value("error", float(error), len(rows), f"{kind} {hole_frac:g}")
                for hole_frac, error in zip(self.holes_frac, curve, strict=True)
            ]
            area = np.trapezoid(curve, self.holes_frac) / (self.holes_frac[-1] - self.holes_frac[0])
            values.append(Value("area", float(area), len(rows), kind))
        return values

    def _in_between(self, subject: Subject, rows: np.ndarray) -> list[Value]:
        images, partners = subject.test, self._partners(subject.test.labels)

        def neithers(chunk: np.ndarray) -> Tensor:
            first, labels = subject.shown(images, chunk)
            second, other_labels = subject.shown(images, partners[chunk])
            mixes = [blended(first, second, lam=lam) for lam in self.mixup_lams]
            mixes += [occluded(first, second, hole_frac=hole_frac, outside=False) for hole_frac in self.holes_frac]
            predictions = torch.stack([predicted(subject.saved.model(mix)) for mix in mixes], dim=1)
            return (predictions != labels[:, None]) & (predictions != other_labels[:, None])

        flags = subject.over_rows(neithers, images, rows)
        errors = np.array([fraction(column) for column in flags.T])
        n_blends = len(self.mixup_lams)
        values: list[Value] = []
        for kind, mixed, curve in (
            ("mixup", self.mixup_lams, errors[:n_blends]),
            ("cutmix hole", self.holes_frac, errors[n_blends:]),
        ):
            values += [
                Value("in_between_error", float(error), len(rows), f"{kind} {frac:g}")
                for frac, error in zip(mixed, curve, strict=True)
            ]
            values.append(Value("in_between_mean", float(curve.mean()), len(rows), kind))
        return values

    def _partners(self, labels: np.ndarray) -> np.ndarray:
        """Draw a partner of another class for each test image, int64 [N].

        Partners are drawn for all test images, so that a pair does not depend on ``n_images``.

        Raises:
            UserError: all test images are of one class.
        """
        if len(np.unique(labels)) < 2:
            raise UserError("occlusion mixes images of two classes, but all test images have the same class")
        rng = generator(self.seed, "pairs in between classes")
        # numbers of the former random places of the box: skipped, so that the pairs remain those of earlier values
        rng.random((len(labels), 2))
        partners = np.arange(len(labels))
        while (same := np.flatnonzero(labels[partners] == labels)).size:
            partners[same] = rng.integers(len(labels), size=same.size)
        return partners


def occluded(pixels: Tensor, fill: Tensor, *, hole_frac: float, outside: bool) -> Tensor:
    """Return images with a filled hole in the middle, or with all outside the hole filled.

    Args:
        pixels: float32 [B, 3, H, W]; left unchanged.
        fill: what is shown instead, broadcasting to [B, 3, H, W]: a colour, or other images.
        hole_frac: side of the hole as a fraction of the sides of the image, rounded to whole pixels; if as many pixels
            cannot remain on both sides, one more remains below and on the right.
        outside: fill the area outside the hole, not the hole.

    Examples:
        >>> black = torch.zeros(1, 3, 1, 1)
        >>> occluded(torch.ones(1, 3, 4, 4), black, hole_frac=0.5, outside=True)[0, 0]
        tensor([[0., 0., 0., 0.],
                [0., 1., 1., 0.],
                [0., 1., 1., 0.],
                [0., 0., 0., 0.]])
    """
    height_px, width_px = pixels.shape[-2:]
    hole_h_px, hole_w_px = round(hole_frac * height_px), round(hole_frac * width_px)
    y0, x0 = (height_px - hole_h_px) // 2, (width_px - hole_w_px) // 2
    hole = np.s_[..., y0 : y0 + hole_h_px, x0 : x0 + hole_w_px]
    filled = fill.expand_as(pixels)
    result, inside = (filled.clone(), pixels) if outside else (pixels.clone(), filled)
    result[hole] = inside[hole]
    return result


def blended(first: Tensor, second: Tensor, *, lam: float) -> Tensor:
    """Return ``lam * first + (1 - lam) * second``; blending commutes with normalisation."""
    return lam * first + (1 - lam) * second
