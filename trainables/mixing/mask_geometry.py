"""Geometry of masks: where they paste, and how long their boundary is."""

from __future__ import annotations

import numpy as np


def coverage_of(shown: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Return how often each pixel is pasted: float [H, W].

    Args:
        shown: what is visible of K partners, bool or float, broadcasting to [B, K, H, W]; fewer than 256 samples.
        height_px: height of the image.
        width_px: width of the image.

    Examples:
        >>> coverage_of(np.array([[[[True, False]]], [[[True, True]]]]), height_px=2, width_px=2).tolist()
        [[1.0, 0.5], [1.0, 0.5]]
    """
    if shown.dtype == np.bool_:  # the sum of fewer than 256 masks fits into a byte, eight times as fast as wider types
        pasted = shown[:, 0] if shown.shape[1] == 1 else shown.any(axis=1)
        mean = pasted.view(np.uint8).sum(axis=0, dtype=np.uint8) / len(shown)
    else:
        mean = (shown[:, 0] if shown.shape[1] == 1 else shown.sum(axis=1)).mean(axis=0)
    coverage: np.ndarray = np.broadcast_to(mean, (height_px, width_px))
    return coverage


def boundary_px(shown: np.ndarray, height_px: int, width_px: int) -> float:
    """Return the mean length of the boundaries between images, pairs of pixels; the image's borders do not count.

    Soft masks count by their total variation.

    Args:
        shown: what is visible of K partners, bool or float, broadcasting to [B, K, H, W].
        height_px: height of the image.
        width_px: width of the image.

    Examples:
        >>> boundary_px(np.array([[[[True, False, False]]]]), height_px=4, width_px=3)  # one border, 4 pixels long
        4.0
        >>> boundary_px(np.array([[[[1, 0, 0]], [[0, 1, 0]]]], dtype=bool), height_px=1, width_px=3)  # three images
        2.0
    """
    n_partners, rows, columns = shown.shape[1:]
    if n_partners > 1:
        # each boundary is one of two images: half of the variation of all images, the original among them
        hard = shown.dtype == np.bool_
        original = ~shown.any(axis=1, keepdims=True) if hard else 1 - shown.sum(axis=1, keepdims=True)
        shown = np.concatenate([original, shown], axis=1)
    down: float = _variation(shown[:, :, 1:], shown[:, :, :-1]) * (width_px / columns)
    across: float = _variation(shown[..., 1:], shown[..., :-1]) * (height_px / rows)
    return (down + across) / len(shown) / (1 if n_partners == 1 else 2)


def _variation(mask: np.ndarray, neighbour: np.ndarray) -> float:
    """Return the sum of absolute differences between masks and their neighbours."""
    if mask.dtype == np.bool_:
        return float(np.count_nonzero(mask != neighbour))
    difference = mask - neighbour
    np.abs(difference, out=difference)
    return float(difference.sum())


def regions(coverage: np.ndarray) -> tuple[float, float, float]:
    """Return the coverage of centre, edges and corners: means over the pixels that are equivalent by symmetry.

    Args:
        coverage: float [H, W].

    Examples:
        >>> regions(np.array([[0.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 0.0]]))
        (1.0, 0.5, 0.0)
    """
    height_px, width_px = coverage.shape
    y, x = [(height_px - 1) // 2, height_px // 2], [(width_px - 1) // 2, width_px // 2]
    ends = [0, -1]
    centre = coverage[np.ix_(y, x)].mean()
    edge = (coverage[np.ix_(ends, x)].mean() + coverage[np.ix_(y, ends)].mean()) / 2
    return float(centre), float(edge), float(coverage[np.ix_(ends, ends)].mean())
