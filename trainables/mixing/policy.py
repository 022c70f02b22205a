"""Mixing a batch in two steps: a draw that holds all the randomness, and its application, which has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.mixing.config import Mix
from trainables.mixing.masks.base import Canvas


@dataclass(frozen=True)
class MixDraw:
    """What was drawn for one batch.

    Attributes:
        applied: which samples are mixed, bool [B], on the host.
        partner: index of each sample's partner, int64 [B].
        mask: where foreign pixels go, broadcasting to [B, 1, H, W]: bool (hard) or float32 (soft); zero for samples
            that are not mixed.
        lam: realised share of the original, float32 [B]: 1 minus the mean of the mask.
        lam_drawn: share of the original before clipping, float64 [B], on the host.
        content: pixels to paste instead of a partner's, broadcasting to [B, C, H, W]; None: the partner's.
    """

    applied: np.ndarray
    partner: Tensor
    mask: Tensor
    lam: Tensor
    lam_drawn: np.ndarray
    content: Tensor | None

    @property
    def idle(self) -> bool:
        """Whether no sample of the batch is mixed."""
        return not self.applied.any()


def draw_mix(mix: Mix, shape: Sequence[int], *, rng: np.random.Generator, device: torch.device) -> MixDraw:
    """Draw everything that is random about mixing a batch of ``shape`` (B, C, H, W), each sample for itself.

    The same numbers are drawn whatever the gate decides, so that ``prob`` does not shift later draws; only
    ``prob = 0`` draws nothing.
    """
    count, channels, height_px, width_px = shape
    if mix.apply.prob == 0:
        return _idle_draw(count, device)
    coins = rng.uniform(size=1 if mix.apply.gate == "batch" else count)
    applied = np.broadcast_to(coins < mix.apply.prob, (count,))
    partner = torch.from_numpy(mix.pairing.draw(count, rng)).to(device, non_blocking=True)
    pasted_frac = mix.size.draw(count, rng)
    canvas = Canvas(height_px=height_px, width_px=width_px, position=mix.position, rng=rng, device=device)
    mask = mix.mask.draw(pasted_frac, canvas)
    if not applied.all():
        mask[torch.from_numpy(~applied).to(device, non_blocking=True)] = 0
    content = None
    if mix.content == "zero":
        content = torch.zeros((), device=device)
    elif mix.content == "noise":
        noise = rng.standard_normal((count, height_px, width_px, channels), dtype=np.float32)
        content = torch.from_numpy(noise).to(device).permute(0, 3, 1, 2)
    return MixDraw(
        applied=applied,
        partner=partner,
        mask=mask,
        lam=1 - mask.flatten(1).sum(dim=1) / mask[0].numel(),
        lam_drawn=1 - pasted_frac,
        content=content,
    )


def _idle_draw(count: int, device: torch.device) -> MixDraw:
    return MixDraw(
        applied=np.zeros(count, dtype=bool),
        partner=torch.arange(count, device=device),
        mask=torch.zeros((count, 1, 1, 1), dtype=torch.bool, device=device),
        lam=torch.ones(count, device=device),
        lam_drawn=np.ones(count),
        content=None,
    )


def mix_images(images: Tensor, draw: MixDraw) -> Tensor:
    """Paste foreign pixels into float images [B, C, H, W]; ``images`` itself is left as it was.

    A hard mask copies pixels, bit for bit; a soft one blends ``(1 - mask) * original + mask * foreign``.
    """
    if draw.idle:
        return images
    if draw.mask.dtype == torch.bool and _has_few_channels_last(images):
        return _copy_pixels(images, draw)
    foreign = images[draw.partner] if draw.content is None else draw.content.to(images.dtype)
    if draw.mask.dtype == torch.bool:
        return torch.where(draw.mask, foreign, images)
    weight = draw.mask.to(images.dtype)
    return images * (1 - weight) + foreign * weight


def _has_few_channels_last(images: Tensor) -> bool:
    return (
        images.device.type == "cpu"
        and images.dtype in (torch.float32, torch.uint8)
        and images.shape[1] <= 4
        and images.is_contiguous(memory_format=torch.channels_last)
        and not images.requires_grad
    )


def _copy_pixels(images: Tensor, draw: MixDraw) -> Tensor:
    """Do what ``torch.where`` does, on the host and four times as fast: torch would loop over three channels a time."""
    originals = images.permute(0, 2, 3, 1).numpy()
    if draw.content is None:
        mixed = originals[draw.partner.numpy()]
    else:
        content = draw.content.to(images.dtype).expand(images.shape).permute(0, 2, 3, 1)
        mixed = np.array(content.numpy(), order="C")
    kept = np.empty(originals.shape, dtype=bool)
    for channel in range(images.shape[1]):
        np.logical_not(draw.mask[:, 0].numpy(), out=kept[..., channel])
    np.copyto(mixed, originals, where=kept)
    return torch.from_numpy(mixed).permute(0, 3, 1, 2)


def mix_targets(labels: Tensor, draw: MixDraw, *, n_classes: int, smoothing: float = 0.0) -> Tensor:
    """Return target distributions, float32 [B, n_classes], of labels int64 [B].

    A partner's class gets the share of pixels really pasted (Yun et al., equation 1 with lam after clipping); other
    content leaves the label alone. Smoothing is applied once, to the mixed target.
    """
    targets = torch.nn.functional.one_hot(labels, n_classes).float()
    if draw.content is None and not draw.idle:
        lam = draw.lam[:, None]
        targets = targets * lam + targets[draw.partner] * (1 - lam)
    return targets * (1 - smoothing) + smoothing / n_classes if smoothing else targets
