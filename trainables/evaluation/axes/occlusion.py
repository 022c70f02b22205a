"""Images of which a part is hidden, and images between two classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from trainables.errors import UserError
from trainables.evaluation.base import Axis, Measured, Value
from trainables.evaluation.predictions import predicted, share
from trainables.evaluation.subject import ModelInfo
from trainables.seeds import generator

if TYPE_CHECKING:
    from trainables.evaluation.subject import Subject

Frac = Annotated[float, Field(ge=0, le=1)]


class Occlusion(Axis):
    """What is left when a part of the image is hidden, or when it lies between two classes.

    After Yun et al. (ICCV 2019), section 4.4 and figure 4. A square hole in the middle is filled (``center``), or all
    that is outside of it (``boundary``). A pair of test images of two classes is mixed at a share ``lam`` of the first,
    blended (``mixup``) or with a box of the second in the first (``cutmix``): the error is to name neither class. Their
    text does not say where that box is; here it lies inside, uniformly, at the same place for all shares.

    Values, with n images or pairs:

    - ``error``, setting ``center 0.5`` or ``boundary 0.5``: top-1 error where the hole has that share of the sides.
    - ``area``, setting ``center`` or ``boundary``: area under this curve by trapezoids, over the range of the holes;
      smaller is better.
    - ``in_between_error``, setting ``mixup 0.3`` or ``cutmix 0.3``: share of the pairs at that ``lam`` of which neither
      class is named.
    - ``in_between_mean``, setting ``mixup`` or ``cutmix``: its mean over the ``lam``.

    Attributes:
        holes_frac: sides of the hole as shares of the sides of the image, rising; rounded to whole pixels.
        fill: ``mean`` is zero after normalisation, each channel's mean over the training images, as the paper's zeros
            and those of Cutout here are; ``black`` is zero before.
        lams: shares of the first image, rising.
    """

    name: ClassVar[str] = "occlusion"
    headline: ClassVar[tuple[tuple[str, str], ...]] = (
        ("center", "area"),
        ("boundary", "area"),
        ("mixup", "in_between_mean"),
        ("cutmix", "in_between_mean"),
    )

    n_images: int | None = Field(default=2000, ge=1)
    holes_frac: Annotated[tuple[Frac, ...], Field(strict=False, min_length=2)] = tuple(i / 8 for i in range(9))
    fill: Literal["mean", "black"] = "mean"
    lams: Annotated[tuple[Frac, ...], Field(strict=False, min_length=1)] = tuple(i / 10 for i in range(11))

    @field_validator("holes_frac", "lams")
    @classmethod
    def _rising(cls, fracs: tuple[float, ...]) -> tuple[float, ...]:
        if list(fracs) != sorted(set(fracs)):
            raise ValueError(f"must rise, got {list(fracs)}")
        return fracs

    def check(self, about: ModelInfo) -> None:
        """Refuse images of a single class: there is nothing between them."""
        if len(about.classes) < 2:
            raise UserError(f"occlusion mixes images of two classes, but the images have only '{about.classes[0]}'")

    def measure(self, subject: Subject) -> Measured:
        """Measure both curves of occlusion and both of samples between classes."""
        rows = subject.sample(self.n_images, seed=self.seed)
        return Measured((*self._occluded(subject, rows), *self._in_between(subject, rows)))

    def _occluded(self, subject: Subject, rows: np.ndarray) -> list[Value]:
        mean = subject.saved.normalize.mean
        assert isinstance(mean, Tensor)
        fill = mean if self.fill == "mean" else torch.zeros_like(mean)

        def wrongs(pixels: Tensor, labels: Tensor) -> Tensor:
            answers = [
                predicted(subject.saved.model(occluded(pixels, fill, hole_frac=hole_frac, outside=outside)))
                for outside in (False, True)
                for hole_frac in self.holes_frac
            ]
            return torch.stack(answers, dim=1) != labels[:, None]

        flags = subject.over_batches(wrongs, subject.test, rows)
        errors = [share(column) for column in flags.T]
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
        images, partners, corners = subject.test, *self._pairs(subject.test.labels)

        def neithers(chunk: np.ndarray) -> Tensor:
            first, labels = subject.shown(images, chunk)
            second, other_labels = subject.shown(images, partners[chunk])
            mixes = [blended(first, second, lam=lam) for lam in self.lams]
            mixes += [pasted(first, second, lam=lam, corners_frac=corners[chunk]) for lam in self.lams]
            answers = torch.stack([predicted(subject.saved.model(mix)) for mix in mixes], dim=1)
            return (answers != labels[:, None]) & (answers != other_labels[:, None])

        flags = subject.over_rows(neithers, images, rows)
        errors = [share(column) for column in flags.T]
        values: list[Value] = []
        for kind, curve in zip(("mixup", "cutmix"), np.split(np.array(errors), 2), strict=True):
            values += [
                Value("in_between_error", float(error), len(rows), f"{kind} {lam:g}")
                for lam, error in zip(self.lams, curve, strict=True)
            ]
            values.append(Value("in_between_mean", float(curve.mean()), len(rows), kind))
        return values

    def _pairs(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draw, for every test image, another of another class, int64 [N], and where its box is, float64 [N, 2].

        For all, so that a pair does not depend on ``n_images``.

        Raises:
            UserError: all are of one class.
        """
        if len(np.unique(labels)) < 2:
            raise UserError("occlusion mixes images of two classes, but all test images have the same")
        rng = generator(self.seed, "pairs in between classes")
        corners = rng.random((len(labels), 2))
        partners = np.arange(len(labels))
        while (same := np.flatnonzero(labels[partners] == labels)).size:
            partners[same] = rng.integers(len(labels), size=same.size)
        return partners, corners


def occluded(pixels: Tensor, fill: Tensor, *, hole_frac: float, outside: bool) -> Tensor:
    """Fill a hole in the middle, or all outside of it.

    Args:
        pixels: float32 [B, 3, H, W]; they stay as they were.
        fill: float32 [1, 3, 1, 1].
        hole_frac: side of the hole as a share of the sides.
        outside: keep what is in the hole instead.
    """
    height_px, width_px = pixels.shape[-2:]
    hole_h_px, hole_w_px = _box_px(height_px, width_px, hole_frac)
    y0, x0 = (height_px - hole_h_px) // 2, (width_px - hole_w_px) // 2
    hole = np.s_[..., y0 : y0 + hole_h_px, x0 : x0 + hole_w_px]
    filled = fill.expand_as(pixels)
    result, inside = (filled.clone(), pixels) if outside else (pixels.clone(), filled)
    result[hole] = inside[hole]
    return result


def blended(first: Tensor, second: Tensor, *, lam: float) -> Tensor:
    """Return ``lam * first + (1 - lam) * second``; blending commutes with normalisation."""
    return lam * first + (1 - lam) * second


def pasted(first: Tensor, second: Tensor, *, lam: float, corners_frac: np.ndarray) -> Tensor:
    """Return the first images, each with a box of the second whose sides are sqrt(1 - lam) of the image's.

    Args:
        first: float32 [B, 3, H, W].
        second: float32 [B, 3, H, W].
        lam: share of the first; the box is rounded to whole pixels.
        corners_frac: float64 [B, 2] in [0, 1), where the box is between the first and the last place that it fits in.
    """
    height_px, width_px = first.shape[-2:]
    box_px = np.array(_box_px(height_px, width_px, float(np.sqrt(1 - lam))))
    starts = np.floor(corners_frac * (np.array([height_px, width_px]) - box_px + 1)).astype(np.int64)
    y0, x0 = torch.from_numpy(starts).to(first.device)[..., None].unbind(dim=1)
    ys, xs = torch.arange(height_px, device=first.device), torch.arange(width_px, device=first.device)
    in_rows, in_columns = (ys >= y0) & (ys < y0 + int(box_px[0])), (xs >= x0) & (xs < x0 + int(box_px[1]))
    return torch.where((in_rows[:, :, None] & in_columns[:, None, :])[:, None], second, first)


def _box_px(height_px: int, width_px: int, side_frac: float) -> tuple[int, int]:
    return round(side_frac * height_px), round(side_frac * width_px)
