"""Apply a draw to images and labels; nothing is random here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trainables.mixing.host import can_paste_planes, can_paste_shifted, paste_pixels, paste_planes, paste_shifted
from trainables.mixing.pastes import Paste, RenderedDraw
from trainables.mixing.source import Displaced


def mix_images(images: Tensor, draw: RenderedDraw, *, out: Tensor | None = None) -> Tensor:
    """Return images, or maps of a network, with the drawn pixels pasted in; ``images`` is not changed.

    A hard mask copies pixels, bit for bit. A soft mask blends ``(1 - mask) * original + mask * pasted``, rounded if
    images are uint8. Memory layout and type are those of ``images``.

    Args:
        images: [B, C, H, W], floating point or uint8.
        draw: what is pasted where.
        out: tensor of the same shape, type and memory layout, without shared memory with ``images``; it may be written
            and returned. In a loop it saves the allocation, which costs more than the mixing for batches of tens of
            megabytes.

    Raises:
        TypeError: the content is standard normal noise, but images are integers.

    Examples:
        >>> from trainables.mixing.batch_view import BatchView
        >>> from trainables.mixing.config import Mix
        >>> from trainables.mixing.draw import draw_mix
        >>> images = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 8, 8)  # a black and a white image
        >>> mix = Mix.model_validate({"preset": "mixup", "size": {"kind": "fixed"}, "pairing": {"kind": "flip"}})
        >>> batch = BatchView((2, 3, 8, 8), np.array([0, 1]))
        >>> draw = draw_mix(mix, batch, rng=np.random.default_rng(0), device=torch.device("cpu"))
        >>> mix_images(images, draw).mean(dim=(1, 2, 3)).tolist()
        [0.25, 0.75]
        >>> mix_targets(torch.tensor([0, 1]), draw, n_classes=2).tolist()
        [[0.75, 0.25], [0.25, 0.75]]
    """
    if draw.idle:
        return images
    mixed, first = images, draw.pastes[0]
    if first.rows is None and first.samples is None:  # one policy mixes all samples, so this is true of all its pastes
        for paste in draw.pastes:
            # pixels come from ``images``, never from ``mixed``: a partner may be covered by a paste already
            mixed = out = _mixed(mixed, images, paste, out)
        return mixed
    if first.samples is not None:
        return _chosen(images, draw.pastes)
    mixed = images.clone()
    for paste in draw.pastes:
        rows = slice(None) if paste.rows is None else torch.from_numpy(paste.rows).to(images.device, non_blocking=True)
        mixed[rows] = _mixed(mixed[rows], images, paste, None)
    return mixed


def _chosen(images: Tensor, pastes: Sequence[Paste]) -> Tensor:
    """Return images with the pastes of each sample; the number of rows must not depend on the draw."""
    mixed = images
    for paste in pastes:
        assert paste.samples is not None
        mixed = torch.where(~paste.samples[:, None, None, None], mixed, _mixed(mixed, images, paste, None))
    return mixed


def mix_targets(labels: Tensor, draw: RenderedDraw, *, n_classes: int, smoothing: float = 0.0) -> Tensor:
    """Return target distributions, float32 [B, n_classes], for labels int64 [B].

    The original's class gets ``draw.weight``, each partner's class its row of ``draw.partner_weights``. With one
    partner that is the rest (Yun et al., equation 1 with lam after clipping). Smoothing is applied once, to the mixed
    target. See :func:`mix_images` for an example.
    """
    if labels.device.type == "cpu":
        targets = torch.from_numpy(_targets_on_host(labels.numpy(), draw, n_classes))
    else:
        weight = draw.weight[:, None]
        targets = torch.zeros((len(labels), n_classes), device=labels.device).scatter_(1, labels[:, None], weight)
        if not draw.idle:
            for partner, partner_weight in zip(draw.partners, draw.partner_weights, strict=True):
                targets.scatter_add_(1, labels[partner][:, None], partner_weight[:, None])
    return targets * (1 - smoothing) + smoothing / n_classes if smoothing else targets


def _targets_on_host(labels: np.ndarray, draw: RenderedDraw, n_classes: int) -> np.ndarray:
    """Return unsmoothed targets computed by NumPy, in half the time: for arrays this small, torch's calls are the cost.

    ``add.at`` also adds up correctly if several partners have the same class, unlike ``+=``, and is faster than it.
    """
    rows = np.arange(len(labels))
    targets = np.zeros((len(labels), n_classes), dtype=np.float32)
    targets[rows, labels] = draw.weight.numpy()
    if not draw.idle:
        np.add.at(targets, (rows, labels[draw.partners.numpy()]), draw.partner_weights.numpy())
    return targets


def _mixed(originals: Tensor, batch: Tensor, paste: Paste, out: Tensor | None) -> Tensor:
    """Return ``originals`` [n, C, H, W], some samples of ``batch`` [B, C, H, W], with the paste in them."""
    if _has_host_layout(originals):
        return _mixed_on_host(originals, batch, paste, out, by_planes=False)
    hard = paste.mask.dtype == torch.bool
    if _has_host_planes(originals) and can_paste_planes(hard=hard, floating=originals.is_floating_point()):
        return _mixed_on_host(originals, batch, paste, out, by_planes=True)
    pasted = _pasted_pixels(batch, paste)
    if hard:
        # originals come first: the result has the memory layout of the first argument
        return torch.where(~paste.mask, originals, pasted.to(originals.dtype))
    if originals.is_floating_point():
        mask = paste.mask.to(originals.dtype)
        return originals * (1 - mask) + pasted.to(originals.dtype) * mask
    return (originals * (1 - paste.mask) + pasted * paste.mask).round().to(originals.dtype)


def _pasted_pixels(batch: Tensor, paste: Paste) -> Tensor:
    """Return the pixels to paste, broadcasting to [n, C, H, W]."""
    if paste.content is not None:
        if paste.content.ndim and not batch.is_floating_point():
            raise TypeError(f"content 'noise' is standard normal and needs floating-point images, got {batch.dtype}")
        return paste.content
    partners = _selected(batch, paste.partner)
    return partners if paste.source is None else paste.source.show(partners)


def _selected(images: Tensor, index: Tensor) -> Tensor:
    """Return the indexed images in the layout of ``images``: torch's selection loses it and takes six times as long."""
    if images.is_contiguous(memory_format=torch.channels_last):
        return images.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
    return images.index_select(0, index)


def _has_host_layout(images: Tensor) -> bool:
    """Return whether whole pixels can be copied on the host: at most four channels, adjacent in memory."""
    return images.shape[1] <= 4 and images.is_contiguous(memory_format=torch.channels_last) and _is_plain(images)


def _has_host_planes(images: Tensor) -> bool:
    """Return whether whole channels can be copied on the host: each is contiguous in memory."""
    return images.is_contiguous() and _is_plain(images)


def _is_plain(images: Tensor) -> bool:
    """Return whether NumPy can write such images: on the host, float32 or uint8, without gradients."""
    return images.device.type == "cpu" and images.dtype in (torch.float32, torch.uint8) and not images.requires_grad


def _mixed_on_host(originals: Tensor, batch: Tensor, paste: Paste, out: Tensor | None, *, by_planes: bool) -> Tensor:
    """Return what :func:`_mixed` returns, in ``out`` if it fits."""
    fits = (  # the memory for a whole batch does not fit a smaller last one
        out is not None
        and out.shape == originals.shape
        and out.stride() == originals.stride()
        and out.dtype == originals.dtype
    )
    if out is None or not fits:
        out = torch.empty_like(originals)
    mask = paste.mask.numpy()
    shift_px = _shift_px(paste, in_place=out is originals)
    if shift_px is not None and can_paste_shifted(mask):
        rows, mixed = (_planes(images) if by_planes else _rows(images) for images in (originals, out))
        shown = _planes(batch) if by_planes else _rows(batch)
        mask = np.broadcast_to(mask, (len(mask), 1, *originals.shape[2:]))
        paste_shifted(rows, shown, paste.partner.numpy(), mask, shift_px, out=mixed)
        return out
    pasted, index = _pasted_on_host(batch, paste)
    pixels, write = (_planes, paste_planes) if by_planes else (_channels_last, paste_pixels)
    before = pixels(originals)
    write(before, before if pasted is originals else pixels(pasted), index, mask, out=pixels(out))
    return out


def _shift_px(paste: Paste, *, in_place: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the rows and columns by which partners are displaced, int64 [n] each; None if they are not.

    In place, partners at the same place count as displaced by nothing: only pasted pixels are written, in a third of
    the time.
    """
    if isinstance(paste.source, Displaced):
        return paste.source.dy.numpy(), paste.source.dx.numpy()
    if in_place and paste.source is None and paste.content is None:
        nothing = np.zeros(len(paste.partner), dtype=np.int64)
        return nothing, nothing
    return None


def _pasted_on_host(batch: Tensor, paste: Paste) -> tuple[Tensor, np.ndarray]:
    """Return m images of pixels to paste, [m, C, H, W], and the index of the one for each sample, int64 [n].

    Partners at the same place are not copied: the index refers to the batch itself.
    """
    if paste.content is None and paste.source is None:
        return batch, paste.partner.numpy()
    pasted, n = _pasted_pixels(batch, paste).to(batch.dtype), len(paste.partner)
    constant = not pasted.ndim
    images = pasted.expand(1, *batch.shape[1:]) if constant else pasted
    return images, np.zeros(n, dtype=np.int64) if constant else np.arange(n)


def _channels_last(images: Tensor) -> np.ndarray:
    """Return pixels [B, H, W, C] of images [B, C, H, W]: a view if they are channels last in memory."""
    pixels: np.ndarray = images.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).numpy()
    return pixels


def _rows(images: Tensor) -> np.ndarray:
    """Return pixels [B, 1, H, W * C] of images [B, C, H, W], their channels side by side."""
    pixels = _channels_last(images)
    return pixels.reshape(*pixels.shape[:1], 1, pixels.shape[1], -1)


def _planes(images: Tensor) -> np.ndarray:
    """Return pixels [B, C, H, W]: a view if they are contiguous in memory."""
    planes: np.ndarray = images.contiguous().numpy()
    return planes
