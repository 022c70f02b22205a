"""Adversarial training: each batch is replaced by images of higher loss within a small distance."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from trainables.share import Share
from trainables.strict import Frozen

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.data.batches import Normalizer


class Fgsm(Frozen):
    """One step along the sign of the gradient from a random start (Wong, Rice and Kolter, ICLR 2020, algorithm 3).

    Distances are changes of a pixel value in units of 1/255 before normalisation, the same for all channels. The step
    is the authors' 1.25 times ``eps_255``. Without a random start this is the sign method of Goodfellow et al. (ICLR
    2015), to which a network soon overfits in training.

    Attributes:
        eps_255: largest change of a pixel.
        step_size_255: length of the step.
        random_start: start at a uniform draw within ``eps_255`` instead of at the image itself.

    Examples:
        >>> Fgsm(eps_255=4.0, step_size_255=5.0).steps
        1
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
        steps: steps per batch; each costs about as much as training on the batch.
        step_size_255: length of a step.
        random_start: start at a uniform draw within ``eps_255`` instead of at the image itself.

    Examples:
        >>> from trainables.config import TrialConfig
        >>> TrialConfig.model_validate({"adversarial": {"kind": "pgd", "steps": 3}}).adversarial
        Pgd(kind='pgd', eps_255=8.0, steps=3, step_size_255=2.0, random_start=True)
    """

    kind: Literal["pgd"] = "pgd"
    eps_255: float = Field(default=8.0, ge=0, le=255)
    steps: int = Field(default=7, ge=1)
    step_size_255: float = Field(default=2.0, gt=0)
    random_start: bool = True


Attack = Annotated[Fgsm | Pgd, Field(discriminator="kind")]
"""Attack of adversarial training, chosen by ``kind``."""


def attacked(
    images: Tensor,
    targets: Tensor,
    attack: Fgsm | Pgd,
    *,
    logits_of: Callable[[Tensor], Tensor],
    normalize: Normalizer,
    key: Tensor,
    share: Share | None = None,
    loss_scale: float = 1.0,
) -> Tensor:
    """Return images of higher loss; no pixel changes by more than ``eps_255`` or leaves [0, 255].

    Args:
        images: normalised and already mixed, float32 [B, C, H, W]; left unchanged.
        targets: targets of the loss, mixed like the images, float32 [B, n_classes].
        attack: distance, steps and start of the search.
        logits_of: the network; its parameters receive no gradient.
        normalize: how pixels were normalised.
        key: key of the random start, the only random draw: int32 [2] of
            :func:`trainables.counter_draws.draw_key`, on the device of the images.
        share: rows of the batch that ``images`` has; each row has the same start with any share. None: all rows.
        loss_scale: factor on the loss, so that small gradients in fp16 keep their sign.
    """
    import torch
    from torch.nn.functional import cross_entropy

    channels = images.shape[1]
    unit, black = (row[:channels].view(1, -1, 1, 1) for row in (normalize.scale, normalize.shift))
    eps, step = attack.eps_255 * unit, attack.step_size_255 * unit
    lowest, highest = torch.maximum(images - eps, black), torch.minimum(images + eps, black + 255 * unit)
    start = images
    if attack.random_start:
        start = (images + eps * _uniform(images, key, share)).clamp(lowest, highest)
    return sign_ascent(
        start,
        # a sum: the gradient of a sample must not shrink with the size of the batch
        loss_of=lambda examples: loss_scale * cross_entropy(logits_of(examples).float(), targets, reduction="sum"),
        step=step,
        steps=attack.steps,
        project=lambda examples: examples.clamp(lowest, highest),
    )


def sign_ascent(
    start: Tensor,
    *,
    loss_of: Callable[[Tensor], Tensor],
    step: Tensor | float,
    steps: int,
    project: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return images after steps along the sign of the loss's gradient, each projected (Madry et al., section 2.1).

    Training and the evaluation axis ``adversarial`` use this one loop.

    Args:
        start: float32 [B, C, H, W].
        loss_of: scalar loss of such images, to be raised.
        step: length of a step, a scalar or [1, C, 1, 1].
        steps: number of steps, at least 1.
        project: moves images back to the nearest allowed ones.

    Returns:
        float32 [B, C, H, W], without a gradient.

    Examples:
        >>> import torch
        >>> start = torch.tensor([[[[0.5, 0.5]]]])
        >>> def loss(images):
        ...     return images[..., 0].sum() - images[..., 1].sum()
        >>> sign_ascent(start, loss_of=loss, step=0.25, steps=3, project=lambda images: images.clamp(0, 1))
        tensor([[[[1., 0.]]]])
    """
    import torch

    examples = start
    for _ in range(steps):
        examples = examples.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of(examples), examples)
        examples = project(examples.detach() + step * gradient.sign())
    return examples


@contextlib.contextmanager
def unrecorded(net: nn.Module) -> Iterator[None]:
    """Keep the running averages of the batch norms of a network in training unchanged.

    They normalise by the batch itself, as in the training step that follows and as in the published code of both
    attacks. Evaluation uses running averages, which must come from the images that are trained on and not from each
    step of an attack.
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


def _uniform(images: Tensor, key: Tensor, share: Share | None) -> Tensor:
    """Draw from [-1, 1) for each pixel: float32 [B, C, H, W], channels last in memory like the images."""
    from trainables.counter_draws import uniform_rows

    count, channels, height_px, width_px = images.shape
    first = 0 if share is None else share.rows.start
    drawn = uniform_rows(key, range(first, first + count), height_px * width_px * channels)
    return drawn.mul_(2).sub_(1).view(count, height_px, width_px, channels).permute(0, 3, 1, 2)
