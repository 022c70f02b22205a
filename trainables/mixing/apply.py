"""Application of a draw to images and labels: no randomness here."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainables.mixing.draw import MixDraw, Paste
from trainables.mixing.host import paste_pixels


def mix_images(images: Tensor, draw: MixDraw, *, out: Tensor | None = None) -> Tensor:
    """Paste foreign pixels into images, or into maps of a network; what is given stays as it was.

    A hard mask copies pixels, bit for bit; a soft one blends ``(1 - mask) * original + mask * foreign``, rounded
    where images are uint8. Memory layout and type stay those of ``images``.

    Args:
        images: [B, C, H, W], floating point or uint8.
        draw: what goes where.
        out: same shape, type and memory layout, not sharing memory with ``images``: may be written and returned.
            In a loop it spares the allocation, which costs more than the mixing for batches of tens of megabytes.

    Raises:
        TypeError: standard normal noise, and images of whole numbers.
    """
    if draw.idle:
        return images
    if len(draw.pastes) == 1 and draw.pastes[0].rows is None:
        return _pasted(images, images, draw.pastes[0], out)
    mixed = images.clone()
    for paste in draw.pastes:
        rows = slice(None) if paste.rows is None else torch.from_numpy(paste.rows).to(images.device, non_blocking=True)
        mixed[rows] = _pasted(images[rows], images, paste, None)
    return mixed


def mix_targets(labels: Tensor, draw: MixDraw, *, n_classes: int, smoothing: float = 0.0) -> Tensor:
    """Return target distributions, float32 [B, n_classes], of labels int64 [B].

    The original's class gets ``draw.weight``, the partner's the rest (Yun et al., equation 1 with lam after
    clipping). Smoothing is applied once, to the mixed target.
    """
    if labels.device.type == "cpu":
        targets = torch.from_numpy(_targets_on_host(labels.numpy(), draw, n_classes))
    else:
        weight = draw.weight[:, None]
        targets = torch.zeros((len(labels), n_classes), device=labels.device).scatter_(1, labels[:, None], weight)
        if not draw.idle:
            targets.scatter_add_(1, labels[draw.partner][:, None], 1 - weight)
    return targets * (1 - smoothing) + smoothing / n_classes if smoothing else targets


def _targets_on_host(labels: np.ndarray, draw: MixDraw, n_classes: int) -> np.ndarray:
    """Do the same by NumPy, in half the time: of arrays this small the calls are the cost."""
    rows, weight = np.arange(len(labels)), draw.weight.numpy()
    targets = np.zeros((len(labels), n_classes), dtype=np.float32)
    targets[rows, labels] = weight
    if not draw.idle:
        targets[rows, labels[draw.partner.numpy()]] += 1 - weight
    return targets


def _pasted(originals: Tensor, batch: Tensor, paste: Paste, out: Tensor | None) -> Tensor:
    """Return ``originals`` [n, C, H, W], some samples of ``batch`` [B, C, H, W], with the paste in them."""
    if _lies_on_host(originals):
        return _pasted_on_host(originals, batch, paste, out)
    foreign = _foreign(batch, paste)
    if paste.mask.dtype == torch.bool:
        return torch.where(~paste.mask, originals, foreign.to(originals.dtype))  # the first one's layout is kept
    if originals.is_floating_point():
        weight = paste.mask.to(originals.dtype)
        return originals * (1 - weight) + foreign.to(originals.dtype) * weight
    return (originals * (1 - paste.mask) + foreign * paste.mask).round().to(originals.dtype)


def _foreign(batch: Tensor, paste: Paste) -> Tensor:
    if paste.content is not None:
        if paste.content.ndim and not batch.is_floating_point():
            raise TypeError(f"content 'noise' is standard normal and needs floating-point images, got {batch.dtype}")
        return paste.content
    partners = _selected(batch, paste.partner)
    return partners if paste.source is None else paste.source.show(partners)


def _selected(images: Tensor, index: Tensor) -> Tensor:
    """Return the indexed images in their own memory layout, which torch's selection forgets at six times the cost."""
    if images.is_contiguous(memory_format=torch.channels_last):
        return images.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
    return images.index_select(0, index)


def _lies_on_host(images: Tensor) -> bool:
    """Whether pixels can be copied as they lie: three or four channels that change fastest."""
    return (
        images.device.type == "cpu"
        and images.dtype in (torch.float32, torch.uint8)
        and images.shape[1] <= 4
        and images.is_contiguous(memory_format=torch.channels_last)
        and not images.requires_grad
    )


def _lies_alike(out: Tensor, images: Tensor) -> bool:
    """Whether memory fits images; that of a whole batch does not fit a smaller last one."""
    return out.shape == images.shape and out.stride() == images.stride() and out.dtype == images.dtype


def _pasted_on_host(originals: Tensor, batch: Tensor, paste: Paste, out: Tensor | None) -> Tensor:
    if out is None or not _lies_alike(out, originals):
        out = torch.empty_like(originals)
    foreign, partner = _foreign_on_host(batch, paste)
    paste_pixels(_pixels_last(originals), foreign, partner, paste.mask.numpy(), out=_pixels_last(out))
    return out


def _foreign_on_host(batch: Tensor, paste: Paste) -> tuple[np.ndarray, np.ndarray]:
    """Return foreign pixels [m, H, W, C] and which of them each of the n samples gets, int64 [n]."""
    if paste.content is None and paste.source is None:
        return _pixels_last(batch), paste.partner.numpy()
    foreign, n = _foreign(batch, paste).to(batch.dtype), len(paste.partner)
    one = not foreign.ndim
    whole = foreign.expand(1, *batch.shape[1:]) if one else foreign
    pixels = _pixels_last(whole.contiguous(memory_format=torch.channels_last))
    return pixels, np.zeros(n, dtype=np.int64) if one else np.arange(n)


def _pixels_last(images: Tensor) -> np.ndarray:
    """View images [B, C, H, W] that are channels last in memory as [B, H, W, C]."""
    pixels: np.ndarray = images.permute(0, 2, 3, 1).numpy()
    return pixels
