"""Paste on the host, one pixel with all its channels at a time: torch would loop over three channels at a time."""

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
        out: like ``originals``, without shared memory.

    Examples:
        >>> originals, pasted = np.zeros((1, 1, 2, 3), dtype=np.uint8), np.full((1, 1, 2, 3), 9, dtype=np.uint8)
        >>> mask, out = np.array([False, True]).reshape(1, 1, 1, 2), np.empty_like(originals)
        >>> paste_pixels(originals, pasted, np.array([0]), mask, out=out)
        >>> out.tolist()
        [[[[0, 0, 0], [9, 9, 9]]]]
    """
    mask = _by_pixel(mask, originals)
    compiled = passes()
    if compiled is not None and mask.dtype == bool:
        compiled.paste(_bits(out), _bits(originals), _bits(pasted), index, mask.view(np.uint8))
    elif compiled is not None and originals.dtype == np.float32:
        compiled.blend(_numbers(out), _numbers(originals), _numbers(pasted), index, mask)
    else:
        # pasted images first, then the originals over them: no temporary batch. mode "raise" would buffer ``out``
        np.take(pasted, index, axis=0, out=out, mode="clip")
        (_restore if mask.dtype == bool else _blend)(out, originals, mask)


def _by_pixel(mask: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """Return the mask as [n, H * W], or as [n, 1] if it is one number per sample."""
    count, height_px, width_px, _ = originals.shape
    if mask.shape[2:] not in ((1, 1), (height_px, width_px)):
        mask = np.broadcast_to(mask, (count, 1, height_px, width_px))
    return np.ascontiguousarray(mask.reshape(count, -1))


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
    """Return a view [n, H * W * C] of pixels [n, H, W, C]."""
    return pixels.reshape(len(pixels), -1)


def _bits(pixels: np.ndarray) -> np.ndarray:
    """Return a view [n, H * W * C] of pixels [n, H, W, C] as unsigned integers."""
    return _numbers(pixels).view(_UNSIGNED[pixels.dtype.itemsize])
