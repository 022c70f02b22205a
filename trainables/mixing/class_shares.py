"""Label weights by what is seen of each class: the label rule of SnapMix."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.mixing.source import Displaced, Resized


def class_shares(
    maps: Tensor, partner: Tensor, mask: Tensor, source: Displaced | Resized | None, *, height_px: int, width_px: int
) -> tuple[Tensor, Tensor]:
    """Return the shares of the original's and of the partner's class map that a mixed image shows, float32 [B] each.

    Huang, Wang and Tao (AAAI 2021, section "Label generation"): with the maps S of original a and partner b scaled to
    the sum 1, and boxes B_a that is covered and B_b that is pasted, ``rho_a = 1 - sum of S_a in B_a`` and
    ``rho_b = sum of S_b in B_b``. They need not sum to 1: both objects may be hidden, or both may be seen. Here B_a is
    any mask, and B_b is what it shows of the partner.

    Args:
        maps: class activation maps of each image's class, float32 [B, h, w].
        partner: index of each sample's partner, int64 [B].
        mask: where the partner is pasted, broadcasting to [B, 1, H, W]; empty for samples that are not mixed.
        source: which patch of the partner is pasted; None: the one at the same place.
        height_px: height of the images.
        width_px: width of the images.

    Examples:
        >>> maps = torch.tensor([[[0.0, 4.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 2.0]]])
        >>> right = torch.tensor([[False, True], [False, True]]).expand(2, 1, 2, 2)
        >>> own, pasted = class_shares(maps, torch.tensor([1, 0]), right, None, height_px=2, width_px=2)
        >>> own.tolist(), pasted.tolist()  # the first image's object is hidden, half of its partner's is seen
        ([0.0, 0.5], [0.5, 1.0])
    """
    percent = percent_maps(maps, height_px=height_px, width_px=width_px)
    where = mask[:, 0].to(percent.dtype)
    own = 1 - (percent * where).sum(dim=(1, 2))
    pasted = percent[partner]
    if source is None:
        return own, (pasted * where).sum(dim=(1, 2))
    shown = source.show(pasted[:, None])[:, 0]
    seen = (shown * where).sum(dim=(1, 2))
    if isinstance(source, Displaced):
        return own, seen
    # resizing keeps the sum of a map only up to its filter: the share of the patch times the part of it that is seen
    whole = shown.sum(dim=(1, 2))
    part = torch.where(whole > 0, seen / whole, 0.0)
    return own, part * (pasted * source.within(height_px, width_px)).sum(dim=(1, 2))


def percent_maps(maps: Tensor, *, height_px: int, width_px: int) -> Tensor:
    """Return maps of the size of the images, at least 0, that sum to 1: float32 [B, H, W].

    As in the authors' code: bilinear, then minus the least value, then divided by the sum. A constant map becomes the
    same value everywhere, so that shares are areas.

    Examples:
        >>> percent_maps(torch.tensor([[[1.0, 1.0, 3.0]], [[2.0, 2.0, 2.0]]]), height_px=1, width_px=3)[0].tolist()
        [[0.0, 0.0, 1.0]]
    """
    large = torch.nn.functional.interpolate(
        maps[:, None].float(), (height_px, width_px), mode="bilinear", align_corners=False
    )[:, 0]
    above = large - large.amin(dim=(1, 2), keepdim=True)
    total = above.sum(dim=(1, 2), keepdim=True)
    # checked on the small map too: scaling would amplify the rounding errors of enlarging a constant map
    varies = (maps.amax(dim=(1, 2), keepdim=True) > maps.amin(dim=(1, 2), keepdim=True)) & (total > 0)
    return torch.where(varies, above / total, 1 / (height_px * width_px))
