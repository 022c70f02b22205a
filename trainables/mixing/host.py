"""Pasting on the host, with a pixel and its channels as the unit: torch would loop over three channels a time."""

from __future__ import annotations

import numpy as np

from trainables.mixing.compiled import passes

_UNSIGNED = {1: np.uint8, 4: np.uint32}


def paste_pixels(
    kept: np.ndarray, foreign: np.ndarray, partner: np.ndarray, mask: np.ndarray, *, out: np.ndarray
) -> None:
    """Fill ``out`` with what is kept and, where the mask says so, with foreign pixels.

    Args:
        kept: pixels, float32 or uint8 [n, H, W, C].
        foreign: pixels of the same type, [m, H, W, C].
        partner: whose foreign pixels each sample gets, int64 [n].
        mask: where, bool, or how much, float32 [n, 1, H, W]; one number a sample, [n, 1, 1, 1], holds everywhere.
        out: like ``kept``, apart from it in memory.
    """
    mask = _by_pixel(mask, kept)
    compiled = passes()
    if compiled is not None and mask.dtype == bool:
        compiled.paste(_bits(out), _bits(kept), _bits(foreign), partner, mask.view(np.uint8))
    elif compiled is not None and kept.dtype == np.float32:
        compiled.blend(_numbers(out), _numbers(kept), _numbers(foreign), partner, mask)
    else:
        np.take(foreign, partner, axis=0, out=out, mode="clip")
        (_put_back if mask.dtype == bool else _blend)(out, kept, mask)


def _by_pixel(mask: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the mask as [n, H * W], or [n, 1] where it is one number a sample."""
    count, height_px, width_px, _ = kept.shape
    if mask.shape[2:] not in ((1, 1), (height_px, width_px)):
        mask = np.broadcast_to(mask, (count, 1, height_px, width_px))
    return np.ascontiguousarray(mask.reshape(count, -1))


def _put_back(mixed: np.ndarray, kept: np.ndarray, mask: np.ndarray) -> None:
    """Copy what is kept, [n, H, W, C], over the foreign pixels that ``mixed`` holds: each pixel at once."""
    item = np.dtype((np.void, kept.dtype.itemsize * kept.shape[-1]))
    mine, theirs = (pixels.view(item).reshape(len(kept), -1) for pixels in (kept, mixed))
    np.copyto(theirs, mine, where=~mask)


def _blend(mixed: np.ndarray, kept: np.ndarray, mask: np.ndarray) -> None:
    """Blend what is kept, [n, H, W, C], into the foreign pixels that ``mixed`` holds."""
    mine, theirs = _numbers(kept), _numbers(mixed)
    share = np.repeat(mask, kept.shape[-1], axis=1) if mask.shape[1] > 1 else mask
    blended = mine * (1 - share)
    if mixed.dtype == np.uint8:
        np.rint(blended + theirs * share, out=blended)
        np.copyto(theirs, blended, casting="unsafe")
    else:
        theirs *= share
        theirs += blended


def _numbers(pixels: np.ndarray) -> np.ndarray:
    """View pixels [n, H, W, C] as [n, H * W * C]."""
    return pixels.reshape(len(pixels), -1)


def _bits(pixels: np.ndarray) -> np.ndarray:
    """View pixels [n, H, W, C] as unsigned whole numbers, [n, H * W * C]."""
    return _numbers(pixels).view(_UNSIGNED[pixels.dtype.itemsize])
