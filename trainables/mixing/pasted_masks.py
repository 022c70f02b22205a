"""The masks of a batch in the order in which they are pasted, and what of each image is visible."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.device_paths import on_host
from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Mix
from trainables.mixing.masks.division import Division
from trainables.mixing.partners import own_fracs, shown_parts
from trainables.mixing.rendering import rectangles

BLOCK_PX = 1024
"""Pixels that are counted together: 128 in each of eight bytes."""


@dataclass(frozen=True, eq=False)
class PastedMasks:
    """Masks that are pasted one after another, and what remains visible of each image.

    Attributes:
        mask: where pixels are pasted, broadcasting to [n, P, H, W]: bool or float32. P is the number K of partners; it
            is K + 1 if the original is pasted too, before them: see ``Mix.moves_original``.
        lam: realised fraction of the original image, float32 [n].
        partner_fracs: realised fraction of each partner, float32 [K, n].
        frames: the rectangles (y0, x0, y1, x1) that images are displaced in or resized to, int64 [n, P, 4], none of
            them empty; None: the bounding boxes of the masks.
    """

    mask: Tensor
    lam: Tensor
    partner_fracs: Tensor
    frames: Tensor | None = None

    def __getitem__(self, part: slice | Tensor) -> PastedMasks:
        """Return the masks of some samples."""
        frames = None if self.frames is None else self.frames[part]
        return PastedMasks(self.mask[part], self.lam[part], self.partner_fracs[:, part], frames)


def plan_pasted(mix: Mix, fracs: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
    """Draw the parameters of a policy's masks, [n * K, ...] each, for a division of the image [n, ...].

    Args:
        mix: the policy.
        fracs: what each partner shall show of the image, float64 [n, K].
        canvas: where masks are drawn.
    """
    return mix.mask.parameters(fracs if isinstance(mix.mask, Division) else _own_fracs(fracs), canvas)


def draw_pasted(mix: Mix, fracs: np.ndarray, canvas: Canvas) -> PastedMasks:
    """Draw a policy's masks with the random numbers of :func:`plan_pasted`."""
    if isinstance(mix.mask, Division):
        parameters = {name: canvas.on_device(values) for name, values in plan_pasted(mix, fracs, canvas).items()}
        return render_pasted(mix, parameters, canvas.height_px, canvas.width_px)
    return _in_order(mix.mask.draw(_own_fracs(fracs), canvas), mix.partners.count)


def render_pasted(mix: Mix, parameters: Mapping[str, Tensor], height_px: int, width_px: int) -> PastedMasks:
    """Return the masks with given parameters, by operations that work on any device."""
    if isinstance(mix.mask, Division):
        return _divided(parameters["edges"], height_px, width_px, moves_original=mix.moves_original)
    return _in_order(mix.mask.render(parameters, height_px, width_px), mix.partners.count)


def _own_fracs(fracs: np.ndarray) -> np.ndarray:
    """Return the size of each mask, float64 [n * K]: the masks of a sample follow each other."""
    own = fracs if fracs.shape[1] == 1 else own_fracs(fracs)
    return own.reshape(-1)


def _in_order(mask: Tensor, n_partners: int) -> PastedMasks:
    """Return masks [n * K, 1, H, W], those of a sample after one another, in the order of pasting."""
    if n_partners > 1:
        mask = mask.reshape(-1, n_partners, *mask.shape[2:])
    return PastedMasks(mask, *_visible(shown_parts(mask)))


def _divided(edges: Tensor, height_px: int, width_px: int, *, moves_original: bool) -> PastedMasks:
    """Return rectangles, int64 [n, K + 1, 4], the original's first, in the order of pasting."""
    count, n_images, _ = edges.shape
    mask = rectangles(edges, height_px, width_px).reshape(count, n_images, height_px, width_px)
    lam, partner_fracs = _visible(mask[:, 1:])
    if not moves_original:
        return PastedMasks(mask[:, 1:], lam, partner_fracs)
    # an empty rectangle: an image that is resized to nothing would bring NaN into gradients
    empty = (edges[..., 2:] <= edges[..., :2]).any(dim=2)
    y0, x0, y1, x1 = edges.unbind(dim=2)
    whole = (y0.masked_fill(empty, 0), x0.masked_fill(empty, 0))
    ends = (y1.masked_fill(empty, height_px), x1.masked_fill(empty, width_px))
    frames = torch.stack([*whole, *ends], dim=2)
    return PastedMasks(mask, lam, partner_fracs, frames)


def _visible(shown: Tensor) -> tuple[Tensor, Tensor]:
    """Return the fraction of the original, float32 [n], and of the partners, float32 [K, n], from [n, K, H, W]."""
    if shown.shape[1] == 1:
        lam = realised_lam(shown)
        # NumPy on the host: torch takes ten times as long for so few numbers
        rest = torch.from_numpy(1 - lam.numpy()) if on_host(lam.device) else 1 - lam
        return lam, rest[None]
    if shown.dtype != torch.bool:
        fracs = shown.flatten(2).mean(dim=2).T
        return (1 - fracs.sum(dim=0)).clamp(min=0), fracs
    pixels = math.prod(shown.shape[2:])
    if on_host(shown.device):
        masks = shown.contiguous().numpy().reshape(-1, pixels)
        ones = _count_ones(masks).reshape(len(shown), -1)
        lam, shares = 1 - ones.sum(axis=1) / pixels, ones.T / pixels
        return torch.from_numpy(lam.astype(np.float32)), torch.from_numpy(shares.astype(np.float32))
    counts = shown.flatten(2).sum(dim=2).double()
    whole = torch.full_like(counts, pixels)
    return (1 - counts.sum(dim=1) / whole[:, 0]).float(), (counts / whole).float().T


def realised_lam(mask: Tensor) -> Tensor:
    """Return the fraction of the image that each mask leaves, float32 [n]; exact before rounding for hard masks.

    Examples:
        >>> realised_lam(torch.tensor([True, False, False, False]).view(1, 1, 2, 2)).tolist()
        [0.75]
    """
    if mask.dtype != torch.bool:
        return 1 - mask.flatten(1).mean(dim=1)
    pixels = math.prod(mask.shape[1:])
    if not on_host(mask.device):
        ones = mask.flatten(1).sum(dim=1).double()
        # a quotient of tensors: a GPU multiplies by the reciprocal of a number, which is rounded differently
        return (1 - ones / torch.full_like(ones, pixels)).float()
    return torch.from_numpy((1 - _count_ones(mask.numpy().reshape(mask.shape[0], -1)) / pixels).astype(np.float32))


def _count_ones(masks: np.ndarray) -> np.ndarray:
    """Return the number of ones in each mask, bool [n, pixels]: int64 [n].

    If the pixels fill whole blocks, eight are counted at a time, in a tenth of the time: eight bytes are added as one
    number. Within a block no byte can overflow into the next one. Their few bytes are added by a product with ones, in
    a fifth of the time of a sum: exactly, because float32 holds all whole numbers up to 2^24.
    """
    if masks.shape[1] % BLOCK_PX or masks.shape[1] > 1 << 24:
        counted: np.ndarray = masks.sum(axis=1, dtype=np.int64)
        return counted
    lanes = np.einsum("ij->i", masks.view(np.uint64).reshape(-1, BLOCK_PX // 8)).view(np.uint8).reshape(len(masks), -1)
    ones: np.ndarray = (lanes.astype(np.float32) @ np.ones(lanes.shape[1], dtype=np.float32)).astype(np.int64)
    return ones
