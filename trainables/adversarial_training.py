"""Adversarial training: each batch is replaced by the worst images that lie within a small distance of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.strict import Frozen

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.data.batches import Normalizer


class Fgsm(Frozen):
    """One step along the sign of the gradient from a random start (Wong, Rice and Kolter, ICLR 2020, algorithm 3).

    Distances are of a pixel's value, in units of 1/255 before normalisation, the same for all channels. The step is
    the authors' 1.25 times ``eps_255``. Without a random start it is the sign method of Goodfellow et al. (ICLR 2015),
    which training soon overfits.

    Attributes:
        eps_255: largest change of a pixel.
        step_size_255: length of the step.
        random_start: begin at a uniform draw within ``eps_255`` instead of the image itself.
    """

    kind: Literal["fgsm"] = "fgsm"
    eps_255: float = Field(default=8.0, ge=0, le=255)
    step_size_255: float = Field(default=10.0, gt=0)
    random_start: bool = True
    steps: ClassVar[int] = 1


class Pgd(Frozen):
    """Several steps, each projected back (Madry et al., ICLR 2018, section 2.1); the defaults are theirs for CIFAR-10.

    Attributes:
        eps_255: largest change of a pixel, in units of 1/255 before normalisation.
        steps: steps a batch; each costs about as much as training on it.
        step_size_255: length of a step.
        random_start: begin at a uniform draw within ``eps_255`` instead of the image itself.
    """

    kind: Literal["pgd"] = "pgd"
    eps_255: float = Field(default=8.0, ge=0, le=255)
    steps: int = Field(default=7, ge=1)
    step_size_255: float = Field(default=2.0, gt=0)
    random_start: bool = True


Attack = Annotated[Fgsm | Pgd, Field(discriminator="kind")]


def attacked(
    images: Tensor,
    targets: Tensor,
    attack: Fgsm | Pgd,
    *,
    logits_of: Callable[[Tensor], Tensor],
    normalize: Normalizer,
    rng: np.random.Generator,
) -> Tensor:
    """Return images of a higher loss: none of their pixels moves by more than ``eps_255`` or out of [0, 255].

    Args:
        images: normalised, float32 [B, C, H, W], mixed already; they stay as they were.
        targets: what the loss is taken against, mixed as the images are, float32 [B, n_classes].
        attack: how they are sought.
        logits_of: the network; its parameters receive no gradient.
        normalize: how pixels were normalised.
        rng: source of the random start, the only thing drawn.
    """
    import torch
    from torch.nn.functional import cross_entropy

    channels = images.shape[1]
    unit, black = (row[:channels].view(1, -1, 1, 1) for row in (normalize.scale, normalize.shift))
    eps, step = attack.eps_255 * unit, attack.step_size_255 * unit
    lowest, highest = torch.maximum(images - eps, black), torch.minimum(images + eps, black + 255 * unit)
    examples = images
    if attack.random_start:
        examples = (images + eps * _uniform(images, rng)).clamp(lowest, highest)
    for _ in range(attack.steps):
        examples = examples.detach().requires_grad_()
        # a sum: a sample's gradient must not fade with the size of the batch
        loss = cross_entropy(logits_of(examples).float(), targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, examples)
        examples = (examples.detach() + step * gradient.sign()).clamp(lowest, highest)
    return examples


@contextlib.contextmanager
def unrecorded(net: nn.Module) -> Iterator[None]:
    """Let batch norms of a network in training forget what passes meanwhile.

    They normalise by the batch itself, as in the step that follows and as in the published code of both attacks; but
    the averages that evaluation uses are those of the images trained on, not of every step of the search for them.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _uniform(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw from [-1, 1) for every pixel: float32 [B, C, H, W], channels last in memory as images are."""
    import torch

    count, channels, height_px, width_px = images.shape
    drawn = rng.random((count, height_px, width_px, channels), dtype=np.float32)
    return torch.from_numpy(2 * drawn - 1).permute(0, 3, 1, 2).to(images.device, non_blocking=True)
