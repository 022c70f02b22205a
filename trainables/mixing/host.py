"""Paste on the host in one pass per sample: torch would write the whole batch after each step."""

from __future__ import annotations

import numpy as np

from trainables.mixing.compiled import passes

_UNSIGNED = {1: np.uint8, 4: np.uint32}


def paste_pixels(
    originals: np.ndarray, pasted: np.ndarray, index: np.ndarray, mask: np.ndarray, *, out: np.ndarray
) -> None:
    """Write the originals into ``out``, with pasted pixels where the mask is set.

    Args:
        originals: pixels, float32 or uint8 [n, H, W, C].
        pasted: pixels of the same type, [m, H, W, C].
        index: which of the m images is pasted into each sample, int64 [n].
        mask: where, bool, or how much, float32 [n, 1, H, W]; one number per sample, [n, 1, 1, 1], is valid everywhere.
        out: like ``originals``; the same memory, or without shared memory.

    Examples:
        >>> originals, pasted = np.zeros((1, 1, 2, 3), dtype=np.uint8), np.full((1, 1, 2, 3), 9, dtype=np.uint8)
        >>> mask, out = np.array([False, True]).reshape(1, 1, 1, 2), np.empty_like(originals)
        >>> paste_pixels(originals, pasted, np.array([0]), mask, out=out)
        >>> out.tolist()
        [[[[0, 0, 0], [9, 9, 9]]]]
    """
    mask = _by_pixel(mask, originals.shape[1:3])
    compiled = passes()
    if compiled is not None and mask.dtype == bool:
        compiled.paste(_bits(out), _bits(originals), _bits(pasted), index, mask.view(np.uint8))
    elif compiled is not None and originals.dtype == np.float32:
        compiled.blend(_numbers(out), _numbers(originals), _numbers(pasted), index, mask)
    else:
        # pasted images first, then the originals over them: no temporary batch. mode "raise" would buffer ``out``
        originals = originals.copy() if np.may_share_memory(originals, out) else originals
        np.take(pasted, index, axis=0, out=out, mode="clip")
        (_restore if mask.dtype == bool else _blend)(out, originals, mask)


def can_paste_planes(*, hard: bool, floating: bool) -> bool:
    """Return whether :func:`paste_planes` works: with numba, and not for soft masks on uint8.

    Args:
        hard: whether masks are bool.
        floating: whether pixels are float32.
    """
    return passes() is not None and (hard or floating)


def paste_planes(
    originals: np.ndarray, pasted: np.ndarray, index: np.ndarray, mask: np.ndarray, *, out: np.ndarray
) -> None:
    """Do what :func:`paste_pixels` does for images whose channels are apart in memory.

    Args:
        originals: contiguous pixels, float32 or uint8 [n, C, H, W].
        pasted: contiguous pixels of the same type, [m, C, H, W].
        index: which of the m images is pasted into each sample, int64 [n].
        mask: where, bool, or how much, float32 [n, 1, H, W].
        out: like ``originals``; the same memory, or without shared memory.
    """
    compiled = passes()
    assert compiled is not None, "see can_paste_planes"
    _, channels, height_px, width_px = originals.shape
    mask = _by_pixel(mask, (height_px, width_px))
    index = (index[:, None] * channels + np.arange(channels)).ravel()
    mixed, original, paste = (pixels.reshape(-1, height_px * width_px) for pixels in (out, originals, pasted))
    if mask.dtype == bool:
        unsigned = _UNSIGNED[out.dtype.itemsize]
        compiled.paste(mixed.view(unsigned), original.view(unsigned), paste.view(unsigned), index, mask.view(np.uint8))
    else:
        compiled.blend(mixed, original, paste, index, mask)


def can_paste_shifted(mask: np.ndarray) -> bool:
    """Return whether :func:`paste_shifted` works for a mask: with numba, and if it is hard."""
    return passes() is not None and mask.dtype == bool


def paste_shifted(
    originals: np.ndarray,
    pasted: np.ndarray,
    index: np.ndarray,
    mask: np.ndarray,
    shift_px: tuple[np.ndarray, np.ndarray],
    *,
    out: np.ndarray,
) -> None:
    """Do what :func:`paste_pixels` does for partners that are displaced around the borders, without a copy of them.

    Args:
        originals: contiguous pixels, float32 or uint8: [n, C, H, W], or [n, 1, H, W * C] with channels side by side.
        pasted: contiguous pixels of the same type and layout, [m, ...].
        index: which of the m images is pasted into each sample, int64 [n].
        mask: where, bool [n, 1, H, W].
        shift_px: rows and columns by which each one is displaced, int64 [n] each.
        out: like ``originals``; the same memory, or without shared memory.
    """
    compiled = passes()
    assert compiled is not None, "see can_paste_shifted"
    if not np.may_share_memory(originals, out):
        np.copyto(out, originals)
    unsigned = _UNSIGNED[out.dtype.itemsize]
    ones = np.ascontiguousarray(mask[:, 0]).view(np.uint8)
    compiled.paste_shifted(out.view(unsigned), pasted.view(unsigned), index, ones, *map(np.ascontiguousarray, shift_px))


def _by_pixel(mask: np.ndarray, sides_px: tuple[int, ...]) -> np.ndarray:
    """Return the mask as [n, H * W], or as [n, 1] if it is one number per sample."""
    if mask.shape[2:] not in ((1, 1), sides_px):
        mask = np.broadcast_to(mask, (len(mask), 1, *sides_px))
    return np.ascontiguousarray(mask.reshape(len(mask), -1))


def _restore(mixed: np.ndarray, originals: np.ndarray, mask: np.ndarray) -> None:
    """Copy the originals, [n, H, W, C], over the pasted pixels in ``mixed`` outside the mask."""
    item = np.dtype((np.void, originals.dtype.itemsize * originals.shape[-1]))  # a whole pixel is copied at once
    original, pasted = (pixels.view(item).reshape(len(originals), -1) for pixels in (originals, mixed))
    np.copyto(pasted, original, where=~mask)


def _blend(mixed: np.ndarray, originals: np.ndarray, mask: np.ndarray) -> None:
    """Blend the originals, [n, H, W, C], into the pasted pixels in ``mixed``."""
    original, pasted = _numbers(originals), _numbers(mixed)
    values = np.repeat(mask, originals.shape[-1], axis=1) if mask.shape[1] > 1 else mask
    blended = original * (1 - values)
    if mixed.dtype == np.uint8:
        np.rint(blended + pasted * values, out=blended)
        np.copyto(pasted, blended, casting="unsafe")
    else:
        pasted *= values
        pasted += blended


def _numbers(pixels: np.ndarray) -> np.ndarray:
    """Return a view [n, H * W * C] of pixels [n, H, W, C], or [n, H * W] of pixels [n, H, W]."""
    return pixels.reshape(len(pixels), -1)


def _bits(pixels: np.ndarray) -> np.ndarray:
    """Return a view of pixels as unsigned integers, in the shape of :func:`_numbers`."""
    return _numbers(pixels).view(_UNSIGNED[pixels.dtype.itemsize])
