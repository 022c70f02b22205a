"""The draw for a batch as mixing needs it: partners, fractions, and what is pasted where."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from trainables.mixing.source import Displaced, Resized


@dataclass(frozen=True, eq=False)
class Paste:
    """What is pasted into some samples of a batch, and where.

    Attributes:
        rows: the samples, int64 [n], on the host; None: all of them, n = B.
        partner: index of each sample's partner in the batch, int64 [n].
        mask: where pixels are pasted, broadcasting to [n, 1, H, W]: bool (hard) or float32 (soft); zero for samples
            that are not mixed.
        content: pixels to paste instead of the partner's, broadcasting to [n, C, H, W]; None: the partner's.
        source: which patch of the partner is pasted; None: the one at the same place.
        samples: which of all B samples are concerned, bool [B], on the device; None: the samples in ``rows``.
        is_original: whether the sample itself is pasted, moved to its part of a divided image.
    """

    rows: np.ndarray | None
    partner: Tensor
    mask: Tensor
    content: Tensor | None = None
    source: Displaced | Resized | None = None
    samples: Tensor | None = None
    is_original: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class RenderedDraw:
    """The draw for one batch as it is on the device: all that mixing needs.

    Attributes:
        partners: indices of each sample's K partners, int64 [K, B].
        lam: realised fraction of the original image, float32 [B]: 1 minus the mean of what is pasted.
        weight: fraction of the original's class in the label, float32 [B].
        partner_weights: fraction of each partner's class in the label, float32 [K, B].
        pastes: what is pasted where, in this order: each one covers the ones before. All pastes of a sample belong to
            one policy.
    """

    partners: Tensor
    lam: Tensor
    weight: Tensor
    partner_weights: Tensor
    pastes: tuple[Paste, ...]

    @property
    def partner(self) -> Tensor:
        """Index of each sample's first partner, int64 [B]: the only one of most policies."""
        return self.partners[0]

    @property
    def idle(self) -> bool:
        """Whether no sample of the batch is mixed, as far as the host knows."""
        return not self.pastes


class DrawParts(TypedDict):
    """The attributes of a :class:`RenderedDraw` before it is made: every batch makes one object less."""

    partners: Tensor
    lam: Tensor
    weight: Tensor
    partner_weights: Tensor
    pastes: tuple[Paste, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class MixDraw(RenderedDraw):
    """The draw for one batch, with what the host knows of it.

    Attributes:
        applied: which samples are mixed, bool [B], on the host.
        lam_nominal: fraction of the original image before clipping, float64 [B], on the host; 1 for samples that are
            not mixed.
    """

    applied: np.ndarray
    lam_nominal: np.ndarray


def no_mixing(count: int, device: torch.device) -> RenderedDraw:
    """Return the draw in which no sample is mixed and every sample is its own partner."""
    ones, partners = torch.ones(count, device=device), torch.arange(count, device=device)[None]
    return RenderedDraw(
        partners=partners, lam=ones, weight=ones, partner_weights=torch.zeros(1, count, device=device), pastes=()
    )


def chosen_rendered(first: RenderedDraw, second: RenderedDraw, chosen: Tensor, applied: Tensor) -> RenderedDraw:
    """Return the second draw for the ``chosen`` samples and the first one for the others, without reading a value.

    Args:
        first: draw of the first policy for all samples.
        second: draw of the second policy for all samples.
        chosen: samples that the second policy mixes, bool [B], on the device.
        applied: samples that are mixed, bool [B], on the device.
    """
    return RenderedDraw(
        **_chosen_parts(first, second, chosen),
        pastes=(
            *(replace(paste, samples=applied & ~chosen) for paste in first.pastes),
            *(replace(paste, samples=applied & chosen) for paste in second.pastes),
        ),
    )


def chosen_draw(first: MixDraw, second: MixDraw, second_mixes: np.ndarray, chosen: Tensor) -> MixDraw:
    """Return the second draw for the samples in ``second_mixes``, bool [B], and the first one for the others.

    Args:
        first: draw of the first policy for all samples.
        second: draw of the second policy for all samples.
        second_mixes: samples that the second policy mixes, on the host.
        chosen: the same on the device.
    """
    return MixDraw(
        applied=np.where(second_mixes, second.applied, first.applied),
        lam_nominal=np.where(second_mixes, second.lam_nominal, first.lam_nominal),
        **_chosen_parts(first, second, chosen),
        pastes=(*_restricted(first, ~second_mixes), *_restricted(second, second_mixes)),
    )


def _chosen_parts(first: RenderedDraw, second: RenderedDraw, chosen: Tensor) -> dict[str, Tensor]:
    n_partners = max(len(first.partners), len(second.partners))
    (ours, our_weights), (theirs, their_weights) = (_padded(draw, n_partners) for draw in (first, second))
    return {
        "partners": torch.where(chosen, theirs, ours),
        "lam": torch.where(chosen, second.lam, first.lam),
        "weight": torch.where(chosen, second.weight, first.weight),
        "partner_weights": torch.where(chosen, their_weights, our_weights),
    }


def _padded(draw: RenderedDraw, n_partners: int) -> tuple[Tensor, Tensor]:
    """Return partners and their weights, [n_partners, B]: further partners repeat the first one with the weight 0."""
    missing = n_partners - len(draw.partners)
    if not missing:
        return draw.partners, draw.partner_weights
    nothing = torch.zeros_like(draw.partner_weights[:1]).expand(missing, -1)
    partners = torch.cat([draw.partners, draw.partners[:1].expand(missing, -1)])
    return partners, torch.cat([draw.partner_weights, nothing])


def _restricted(draw: MixDraw, chosen: np.ndarray) -> tuple[Paste, ...]:
    """Return the pastes of one policy's draw for the chosen samples, bool [B], that the policy mixes."""
    rows = np.flatnonzero(chosen & draw.applied)
    if not len(rows):
        return ()
    index = on_device(rows, draw.lam.device)
    return tuple(
        Paste(
            rows=rows,
            partner=paste.partner[index],
            mask=paste.mask[index],
            content=paste.content[index] if paste.content is not None and paste.content.ndim else paste.content,
            source=None if paste.source is None else paste.source[index],
            is_original=paste.is_original,
        )
        for paste in draw.pastes
    )


def on_device(values: np.ndarray, device: torch.device) -> Tensor:
    """Return a small array as a tensor on a device; the host does not wait for the copy."""
    tensor = torch.from_numpy(values)
    return tensor if device.type == "cpu" else tensor.to(device, non_blocking=True)
