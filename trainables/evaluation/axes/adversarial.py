"""Small changes of an image that are sought in order to mislead the network."""

from __future__ import annotations

import contextlib
import itertools
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables.errors import UserError
from trainables.evaluation.base import Axis, Measured, Value, library
from trainables.evaluation.predictions import share, wrong
from trainables.evaluation.subject import ModelInfo
from trainables.seeds import derive_seed, generator

if TYPE_CHECKING:
    from trainables.evaluation.subject import Subject

EPS_255 = 8.0
"""Distance of the paper's attack, always among those measured, and the one that masked gradients are judged at."""

UNBOUNDED_EPS_255 = 255.0
"""Distance at which every image can become any other."""

AUTOATTACK_CLASSES = 4
"""Fewest classes for AutoAttack: its targeted loss compares the four largest logits."""

AUTOATTACK_BATCH_BYTES = 1 << 26
"""Memory of a batch in AutoAttack; by the image's size alone, since its random starts depend on the batch."""


class Adversarial(Axis):
    """How often a network that is known to the attacker is misled by changes too small to be seen.

    An image counts as misled where the network is wrong about it before the attack or after; so nothing is sought for
    those it is wrong about already. No pixel changes by more than eps, given in units of 1/255 of its range, nor leaves
    the range. ``fgsm`` is one step of length eps along the sign of the gradient from the image itself (Goodfellow et
    al., ICLR 2015); ``pgd20`` is 20 steps from a uniform draw within eps, each projected back (Madry et al., ICLR
    2018); ``random`` needs no gradient: it takes corners of the cube of side 2 eps around the image by chance.

    Values, with n images:

    - ``clean_error``: before any attack, on the same images.
    - ``robust_error``, setting ``fgsm eps=8/255``, ``pgd20 eps=8/255``, ``random eps=8/255``: share of those misled.
      ``pgd20 eps=255/255`` should mislead all: any image may become any other. ``autoattack eps=8/255`` on request.
    - ``zero_gradient``: share of the images that the network is right about of which the loss has no gradient at all.
    - ``fgsm_minus_pgd``, setting ``eps=8/255``: how much more robust accuracy FGSM leaves than PGD of most steps.
    - ``masked_one_step``, 0 or 1, setting ``eps=8/255``: whether the accuracy under FGSM is a fact about one step only
      (Tramèr et al., ICLR 2018): it is at least 0.1 above that under PGD and at least twice it.
    - ``masked_gradients``, 0 or 1, setting ``eps=8/255``: whether that under PGD may be too high as well, for gradients
      that lead nowhere. Any of the signs of Athalye, Carlini and Wagner (ICML 2018, section 3.1): FGSM or ``random``
      misleads more than PGD does by 0.01, PGD misleads fewer by 0.01 at a larger eps, or does not reach an error of
      0.95 at 255/255; or of more than 0.05 of the images there is no gradient. A 0 does not prove that there is none.

    The last four are nan where the network is wrong about every image.

    Attributes:
        eps_255: distances, rising, in units of 1/255; 8 is measured whether it is named or not.
        pgd_steps: steps of PGD, rising.
        step_frac: length of a step of PGD as a share of eps; 1/4 is Madry et al.'s 2/255 at 8/255.
        n_random: corners that ``random`` tries for an image.
        autoattack: also run the standard AutoAttack (Croce and Hein, ICML 2020) at 8/255: minutes to hours on a CPU.
        autoattack_n_images: test images it is run on at most, a part of the others'.
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
        """Refuse AutoAttack where there are too few classes for its loss."""
        if self.autoattack and len(about.classes) < AUTOATTACK_CLASSES:
            raise UserError(
                f"adversarial.autoattack needs {AUTOATTACK_CLASSES} classes or more, since its targeted loss compares "
                f"the four largest logits, but the images have {len(about.classes)}: set adversarial.autoattack to "
                "false; fgsm and pgd work with any number"
            )

    def measure(self, subject: Subject) -> Measured:
        """Attack the network in all ways."""
        rows, by_chance = subject.sample(self.n_images, seed=self.seed), _setting("random", EPS_255)
        before = wrong(subject.logits(subject.test, rows), torch.from_numpy(subject.test.labels[rows]))
        right = rows[~before.numpy()]
        errors = {
            attack: 1 - (len(right) - int(misled.sum())) / len(rows) for attack, misled in self._attacks(subject, right)
        }
        values = [Value("clean_error", share(before), len(rows))]
        values += [
            Value("robust_error", error, len(rows), attack, library="" if attack == by_chance else library("foolbox"))
            for attack, error in errors.items()
        ]
        values += self._masking(errors, zero_gradient(subject, right), n=len(rows), n_right=len(right))
        if self.autoattack:
            values.append(self._autoattack(subject))
        return Measured(tuple(values))

    @property
    def _distances(self) -> list[float]:
        return sorted({*self.eps_255, EPS_255})

    def _attacks(self, subject: Subject, rows: np.ndarray) -> Iterator[tuple[str, Tensor]]:
        """Yield attacks, as the settings name them, and which of the images, bool [n], each misleads."""
        fgsm = imported_foolbox().attacks.LinfFastGradientAttack()
        yield from misled_by(subject, rows, "fgsm", lambda _: fgsm, self._distances)
        for steps in self.pgd_steps:
            last = [UNBOUNDED_EPS_255] if steps == self.pgd_steps[-1] else []
            pgd = partial(self._pgd, subject, steps)
            yield from misled_by(subject, rows, f"pgd{steps}", pgd, [*self._distances, *last])
        yield _setting("random", EPS_255), self._by_chance(subject, rows)

    def _pgd(self, subject: Subject, steps: int, rows: np.ndarray) -> Any:
        attack = imported_foolbox().attacks.LinfProjectedGradientDescentAttack(steps=steps, rel_stepsize=self.step_frac)
        start = noise(subject, rows, self.seed, "start of pgd")
        # its own draw comes from torch's global generator, and depends on the size of the batch
        attack.get_random_start = lambda images, eps: images + eps * start
        return attack

    def _by_chance(self, subject: Subject, rows: np.ndarray) -> Tensor:
        """Return which images some corner of the cube around them misleads, bool [n]."""

        def misled(chunk: np.ndarray) -> Tensor:
            pixels, labels = subject.shown(subject.test, chunk)
            found = torch.zeros_like(labels, dtype=torch.bool)
            for draw in range(self.n_random):
                corner = noise(subject, chunk, self.seed, "corner", draw).sign()
                found |= wrong(subject.saved.model((pixels + EPS_255 / 255 * corner).clamp(0, 1)), labels)
            return found

        return subject.over_rows(misled, subject.test, rows) if len(rows) else torch.zeros(0, dtype=torch.bool)

    def _masking(self, errors: dict[str, float], without: float, *, n: int, n_right: int) -> list[Value]:
        """Say whether gradients are masked, and by what it is judged."""
        fgsm, pgd = (1 - errors[_setting(kind, EPS_255)] for kind in ("fgsm", f"pgd{self.pgd_steps[-1]}"))
        signs = masked_gradients(
            fgsm=fgsm,
            random=1 - errors[_setting("random", EPS_255)],
            pgd={eps: 1 - errors[_setting(f"pgd{self.pgd_steps[-1]}", eps)] for eps in self._distances},
            unbounded=1 - errors[_setting(f"pgd{self.pgd_steps[-1]}", UNBOUNDED_EPS_255)],
            zero_gradient=without,
        )
        at = f"eps={EPS_255:g}/255"
        judged = {
            "fgsm_minus_pgd": fgsm - pgd,
            "masked_one_step": masked_one_step(fgsm, pgd),
            "masked_gradients": signs,
        }
        values = [Value("zero_gradient", without, n_right)]
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
            found, _ = attack.run_standard_evaluation(pixels.contiguous(), labels, batch_size=batch)
        with torch.inference_mode():
            misled = wrong(model(found), labels)
        setting = _setting("autoattack", EPS_255)
        return Value("robust_error", share(misled), len(rows), setting, library=library("pyautoattack"))


class Differentiable(nn.Module):
    """A network whose answers have a gradient by its images, of zero where it breaks the chain on its way."""

    def __init__(self, model: nn.Module) -> None:
        """Take the network."""
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Return its logits, float32 [B, C]."""
        logits: Tensor = self.model(pixels)
        return logits + 0 * pixels.sum() if pixels.requires_grad and not logits.requires_grad else logits


def misled_by(
    subject: Subject, rows: np.ndarray, name: str, attack_on: Callable[[np.ndarray], Any], eps_255: Sequence[float]
) -> Iterator[tuple[str, Tensor]]:
    """Yield, for each distance, the attack's setting and which images it misleads, bool [n].

    Args:
        subject: the network, with the test images.
        rows: images that it is right about, int64 [n].
        name: of the attack.
        attack_on: makes foolbox's attack for some of the rows.
        eps_255: distances.
    """
    model = imported_foolbox().PyTorchModel(
        Differentiable(subject.saved.model).eval(), bounds=(0, 1), device=subject.device
    )

    def misled(chunk: np.ndarray) -> Tensor:
        pixels, labels = subject.shown(subject.test, chunk)
        _, _, flags = attack_on(chunk)(model, pixels, labels, epsilons=[eps / 255 for eps in eps_255])
        return torch.as_tensor(flags).T

    none = torch.zeros(0, len(eps_255), dtype=torch.bool)
    flags = subject.over_rows(misled, subject.test, rows, grad=True) if len(rows) else none
    yield from zip([_setting(name, eps) for eps in eps_255], flags.T, strict=True)


def imported_foolbox() -> Any:
    """Import foolbox, silent about its own use of a name that scipy will drop."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Please import `gaussian_filter`", DeprecationWarning)
        import foolbox
    return foolbox


def masked_one_step(fgsm: float, pgd: float) -> bool:
    """Whether accuracy under one step, in [0, 1], is far above that under many: by 0.1 and twice as high."""
    return fgsm - pgd >= 0.1 and fgsm >= 2 * pgd


def masked_gradients(
    *, fgsm: float, random: float, pgd: dict[float, float], unbounded: float, zero_gradient: float
) -> bool:
    """Whether gradients lead nowhere by any sign of Athalye, Carlini and Wagner (ICML 2018), section 3.1.

    Args:
        fgsm: accuracy that one step leaves at :data:`EPS_255`, in [0, 1].
        random: the same of draws by chance.
        pgd: the same of many steps, by distance, rising.
        unbounded: the same at a distance that allows everything.
        zero_gradient: share of images whose loss has no gradient.
    """
    left = list(pgd.values())
    return (
        min(fgsm, random) < pgd[EPS_255] - 0.01
        or any(more > less + 0.01 for less, more in itertools.pairwise(left))
        or unbounded > 0.05
        or zero_gradient > 0.05
    )


def zero_gradient(subject: Subject, rows: np.ndarray) -> float:
    """Return the share of test images by none of whose pixels the loss changes; nan where there are no rows."""
    if not len(rows):
        return math.nan

    model = Differentiable(subject.saved.model)

    def flat(pixels: Tensor, labels: Tensor) -> Tensor:
        pixels.requires_grad_()
        loss = cross_entropy(model(pixels), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, pixels)
        return (gradient == 0).flatten(1).all(dim=1)

    return share(subject.over_batches(flat, subject.test, rows, grad=True))


def noise(subject: Subject, rows: np.ndarray, *purpose: int | str) -> Tensor:
    """Draw from [-1, 1) for every pixel, float32 [B, 3, H, W] on the device; for a row the same in every batch."""
    shape = subject.test.images.shape[1:]
    drawn = np.stack([generator(*purpose, int(row)).random(shape, dtype=np.float32) for row in rows])
    return torch.from_numpy(2 * drawn - 1).permute(0, 3, 1, 2).to(subject.device)


def _setting(attack: str, eps_255: float) -> str:
    return f"{attack} eps={eps_255:g}/255"


@contextlib.contextmanager
def _fenced(device: torch.device) -> Iterator[None]:
    """Give back what AutoAttack takes over: torch's global generators, which it seeds, and the tracing of calls."""
    tracer = sys.gettrace()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        sys.settrace(tracer)
