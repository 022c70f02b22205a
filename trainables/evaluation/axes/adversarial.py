"""Adversarial robustness: small changes of an image that are sought in order to mislead the network."""

from __future__ import annotations

import contextlib
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables.adversarial_training import sign_ascent
from trainables.errors import UserError
from trainables.evaluation.base import Axis, Measured, Value, library
from trainables.evaluation.predictions import fraction, wrong
from trainables.evaluation.subject import ModelInfo
from trainables.seeds import derive_seed, generator

if TYPE_CHECKING:
    from trainables.evaluation.subject import Subject

EPS_255 = 8.0
"""Distance of the attack in Yun et al.; always measured, and the distance at which masked gradients are judged."""

UNBOUNDED_EPS_255 = 255.0
"""Distance at which any image can become any other image."""

AUTOATTACK_CLASSES = 4
"""Fewest classes for AutoAttack: its targeted loss compares the four largest logits."""

AUTOATTACK_BATCH_BYTES = 1 << 26
"""Memory per batch in AutoAttack. It depends on the image size alone, because the random starts depend on the batch."""


class Adversarial(Axis):
    """How often a white-box attacker misleads the network by changes that are too small to be seen.

    An image counts as misled if the network is wrong about it before or after the attack. So images that the network
    is wrong about are not attacked. No pixel changes by more than eps, in units of 1/255 of its range, or leaves its
    range. ``fgsm`` is one step of length eps along the sign of the gradient from the image itself (Goodfellow et al.,
    ICLR 2015). ``pgd20`` is 20 steps from a uniform draw within eps, each projected back (Madry et al., ICLR 2018).
    ``random`` uses no gradient: it tries random corners of the cube of side 2 eps around the image.

    Values, with n images:

    - ``clean_error``: error before any attack, on the same images.
    - ``robust_error``, conditions ``fgsm eps=8/255``, ``pgd20 eps=8/255``, ``random eps=8/255``: fraction of misled
      images. ``pgd20 eps=255/255`` should mislead all images, since any image may become any other.
      ``autoattack eps=8/255`` is measured on request.
    - ``zero_gradient``: fraction of the correctly classified images whose loss has a gradient of exactly zero.
    - ``fgsm_minus_pgd``, condition ``eps=8/255``: accuracy under FGSM minus accuracy under PGD of most steps.
    - ``masked_one_step``, 0 or 1, condition ``eps=8/255``: whether the accuracy under FGSM holds for one step only
      (Tramèr et al., ICLR 2018): it is at least 0.1 above the accuracy under PGD and at least twice as high.
    - ``masked_gradients``, 0 or 1, condition ``eps=8/255``: whether the accuracy under PGD may be too high as well,
      because gradients point in useless directions. One of the signs of Athalye, Carlini and Wagner (ICML 2018,
      section 3.1) is enough: FGSM or ``random`` misleads more images than PGD by 0.01; PGD misleads fewer images by
      0.01 at a larger eps; PGD does not reach an error of 0.95 at 255/255; more than 0.05 of the images have no
      gradient. A 0 does not prove that gradients are not masked.

    The last four values are NaN if the network is wrong about every image.

    Attributes:
        eps_255: distances, rising, in units of 1/255; 8 is always measured.
        pgd_steps: numbers of steps of PGD, rising.
        step_frac: length of a step of PGD as a fraction of eps; 1/4 is the 2/255 of Madry et al. at 8/255.
        n_random: corners per image that ``random`` tries.
        autoattack: also run the standard AutoAttack (Croce and Hein, ICML 2020) at 8/255: minutes to hours on a CPU.
        autoattack_n_images: largest number of test images for AutoAttack, a subset of the other attacks' images.

    Examples:
        >>> Adversarial(eps_255=(2.0, 8.0), pgd_steps=(20,)).n_images
        500
    """

    name: ClassVar[str] = "adversarial"
    packages: ClassVar[tuple[str, ...]] = ("pyautoattack",)
    headline: ClassVar[tuple[tuple[str, str], ...]] = (
        ("", "clean_error"),
        ("fgsm eps=8/255", "robust_error"),
        ("pgd20 eps=2/255", "robust_error"),
        ("pgd20 eps=8/255", "robust_error"),
        ("eps=8/255", "masked_one_step"),
        ("eps=8/255", "masked_gradients"),
    )

    n_images: int | None = Field(default=500, ge=1)
    eps_255: Annotated[tuple[Annotated[float, Field(gt=0, le=255)], ...], Field(strict=False)] = (1.0, 2.0, 4.0, 8.0)
    pgd_steps: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=1)] = (10, 20)
    step_frac: float = Field(default=0.25, gt=0, le=2)
    n_random: int = Field(default=10, ge=1)
    autoattack: bool = False
    autoattack_n_images: int = Field(default=100, ge=1)

    @field_validator("eps_255", "pgd_steps")
    @classmethod
    def _rising(cls, numbers: tuple[float, ...]) -> tuple[float, ...]:
        if list(numbers) != sorted(set(numbers)):
            raise ValueError(f"must rise, got {list(numbers)}")
        return numbers

    def needed_packages(self) -> tuple[str, ...]:
        """Return the package of AutoAttack if it is measured; the other attacks need none."""
        return self.packages if self.autoattack else ()

    def check(self, about: ModelInfo) -> None:
        """Refuse AutoAttack if there are too few classes for its loss."""
        if self.autoattack and len(about.classes) < AUTOATTACK_CLASSES:
            raise UserError(
                f"adversarial.autoattack needs {AUTOATTACK_CLASSES} classes or more, because its targeted loss "
                f"compares the four largest logits, but the images have {len(about.classes)}: set "
                "adversarial.autoattack to false; fgsm and pgd work with any number of classes"
            )

    def measure(self, subject: Subject) -> Measured:
        """Attack the network in all ways."""
        rows = subject.sample(self.n_images, seed=self.seed)
        is_wrong = wrong(subject.logits(subject.test, rows), torch.from_numpy(subject.test.labels[rows]))
        right = rows[~is_wrong.numpy()]
        errors = {
            condition: 1 - (len(right) - int(misled.sum())) / len(rows)
            for condition, misled in self._attacks(subject, right)
        }
        values = [Value("clean_error", fraction(is_wrong), len(rows))]
        values += [Value("robust_error", error, len(rows), condition) for condition, error in errors.items()]
        values += self._masking(errors, zero_gradient(subject, right), n=len(rows), n_right=len(right))
        if self.autoattack:
            values.append(self._autoattack(subject))
        return Measured(tuple(values))

    @property
    def _distances(self) -> list[float]:
        return sorted({*self.eps_255, EPS_255})

    def _attacks(self, subject: Subject, rows: np.ndarray) -> Iterator[tuple[str, Tensor]]:
        """Yield the condition of each attack and the images that it misleads, bool [n]."""
        for eps_255 in self._distances:
            yield _condition("fgsm", eps_255), self._misled(subject, rows, eps_255, steps=1, step_frac=1, start=None)
        for steps in self.pgd_steps:
            last = [UNBOUNDED_EPS_255] if steps == self.pgd_steps[-1] else []
            for eps_255 in [*self._distances, *last]:
                misled = self._misled(
                    subject, rows, eps_255, steps=steps, step_frac=self.step_frac, start="start of pgd"
                )
                yield _condition(f"pgd{steps}", eps_255), misled
        yield _condition("random", EPS_255), self._misled_at_random(subject, rows)

    def _misled(
        self, subject: Subject, rows: np.ndarray, eps_255: float, *, steps: int, step_frac: float, start: str | None
    ) -> Tensor:
        """Return the images that steps along the gradient's sign mislead, bool [n].

        Args:
            subject: the network, with the test images.
            rows: images that the network classifies correctly, int64 [n].
            eps_255: distance.
            steps: number of steps.
            step_frac: length of a step as a fraction of the distance.
            start: purpose of the random draw that the search starts from; None: start at the image.
        """
        eps = eps_255 / 255

        def misled(chunk: np.ndarray) -> Tensor:
            pixels, labels = subject.shown(subject.test, chunk)
            # drawn per row: torch's global generator would give an image another start in another batch
            first = pixels if start is None else (pixels + eps * noise(subject, chunk, self.seed, start)).clamp(0, 1)
            examples = sign_ascent(
                first,
                loss_of=lambda images: _loss(subject.saved.model, images, labels),
                step=step_frac * eps,
                steps=steps,
                project=lambda images: (pixels + (images - pixels).clamp(-eps, eps)).clamp(0, 1),
            )
            return wrong(subject.saved.model(examples), labels)

        return _over_rows(subject, misled, rows, grad=True)

    def _misled_at_random(self, subject: Subject, rows: np.ndarray) -> Tensor:
        """Return the images that some random corner of the cube around them misleads, bool [n]."""

        def misled(chunk: np.ndarray) -> Tensor:
            pixels, labels = subject.shown(subject.test, chunk)
            flags = torch.zeros_like(labels, dtype=torch.bool)
            for draw in range(self.n_random):
                corner = noise(subject, chunk, self.seed, "corner", draw).sign()
                flags |= wrong(subject.saved.model((pixels + EPS_255 / 255 * corner).clamp(0, 1)), labels)
            return flags

        return _over_rows(subject, misled, rows, grad=False)

    def _masking(self, errors: dict[str, float], no_gradient: float, *, n: int, n_right: int) -> list[Value]:
        """Return whether gradients are masked, and the values that this is judged by."""
        fgsm, pgd = (1 - errors[_condition(kind, EPS_255)] for kind in ("fgsm", f"pgd{self.pgd_steps[-1]}"))
        signs = masked_gradients(
            fgsm=fgsm,
            random=1 - errors[_condition("random", EPS_255)],
            pgd={eps: 1 - errors[_condition(f"pgd{self.pgd_steps[-1]}", eps)] for eps in self._distances},
            unbounded=1 - errors[_condition(f"pgd{self.pgd_steps[-1]}", UNBOUNDED_EPS_255)],
            zero_gradient=no_gradient,
        )
        at = f"eps={EPS_255:g}/255"
        judged = {
            "fgsm_minus_pgd": fgsm - pgd,
            "masked_one_step": masked_one_step(fgsm, pgd),
            "masked_gradients": signs,
        }
        values = [Value("zero_gradient", no_gradient, n_right)]
        return values + [Value(name, float(value) if n_right else math.nan, n, at) for name, value in judged.items()]

    def _autoattack(self, subject: Subject) -> Value:
        from pyautoattack import AutoAttack

        rows = subject.sample(self.autoattack_n_images, seed=self.seed)
        pixels, labels = subject.shown(subject.test, rows)
        model, targets = subject.saved.model, min(9, len(subject.test.classes) - 1)
        assert not model.training
        with _fenced(subject.device):
            attack = AutoAttack(
                model,
                eps=EPS_255 / 255,
                seed=derive_seed(self.seed, "autoattack"),
                version="standard",
                device=subject.device,
            )
            attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = targets
            batch = max(1, AUTOATTACK_BATCH_BYTES // (4 * pixels[0].numel()))
            examples, _ = attack.run_standard_evaluation(pixels.contiguous(), labels, batch_size=batch)
        with torch.inference_mode():
            misled = wrong(model(examples), labels)
        condition = _condition("autoattack", EPS_255)
        return Value("robust_error", fraction(misled), len(rows), condition, library=library("pyautoattack"))


def _over_rows(subject: Subject, function: Callable[[np.ndarray], Tensor], rows: np.ndarray, *, grad: bool) -> Tensor:
    if not len(rows):
        return torch.zeros(0, dtype=torch.bool)
    return subject.over_rows(function, subject.test, rows, grad=grad)


def _loss(model: nn.Module, pixels: Tensor, labels: Tensor) -> Tensor:
    """Return the summed cross-entropy; its gradient is zero if the network breaks the chain from the pixels."""
    logits: Tensor = model(pixels)
    if not logits.requires_grad:
        logits = logits + 0 * pixels.sum()
    return cross_entropy(logits, labels, reduction="sum")


def masked_one_step(fgsm: float, pgd: float) -> bool:
    """Return whether accuracy under one step is far above accuracy under many: by 0.1 and at least twice as high.

    Examples:
        >>> masked_one_step(fgsm=0.4, pgd=0.1), masked_one_step(fgsm=0.4, pgd=0.3)
        (True, False)
    """
    return fgsm - pgd >= 0.1 and fgsm >= 2 * pgd


def masked_gradients(
    *, fgsm: float, random: float, pgd: dict[float, float], unbounded: float, zero_gradient: float
) -> bool:
    """Return whether one of the signs of masked gradients is present (Athalye, Carlini and Wagner, section 3.1).

    Args:
        fgsm: accuracy under one step at :data:`EPS_255`, in [0, 1].
        random: accuracy under random corners at the same distance.
        pgd: accuracy under many steps by distance, rising.
        unbounded: accuracy under many steps at :data:`UNBOUNDED_EPS_255`.
        zero_gradient: fraction of images whose loss has no gradient.
    """
    accuracies = list(pgd.values())
    return (
        min(fgsm, random) < pgd[EPS_255] - 0.01
        or any(more > less + 0.01 for less, more in itertools.pairwise(accuracies))
        or unbounded > 0.05
        or zero_gradient > 0.05
    )


def zero_gradient(subject: Subject, rows: np.ndarray) -> float:
    """Return the fraction of test images whose loss has a zero gradient at each pixel; NaN without rows."""
    if not len(rows):
        return math.nan

    def flat(pixels: Tensor, labels: Tensor) -> Tensor:
        pixels.requires_grad_()
        (gradient,) = torch.autograd.grad(_loss(subject.saved.model, pixels, labels), pixels)
        return (gradient == 0).flatten(1).all(dim=1)

    return fraction(subject.over_batches(flat, subject.test, rows, grad=True))


def noise(subject: Subject, rows: np.ndarray, *purpose: int | str) -> Tensor:
    """Draw from [-1, 1) for each pixel, float32 [B, 3, H, W] on the device; a row's draw is the same in any batch."""
    shape = subject.test.images.shape[1:]
    drawn = np.stack([generator(*purpose, int(row)).random(shape, dtype=np.float32) for row in rows])
    return torch.from_numpy(2 * drawn - 1).permute(0, 3, 1, 2).to(subject.device)


def _condition(attack: str, eps_255: float) -> str:
    return f"{attack} eps={eps_255:g}/255"


@contextlib.contextmanager
def _fenced(device: torch.device) -> Iterator[None]:
    """Restore torch's global generators, which AutoAttack seeds, and the tracing of calls, which it replaces."""
    tracer = sys.gettrace()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        sys.settrace(tracer)
