"""Windows of random area and aspect, drawn for all images of an epoch at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from trainables.augment.config import ResizedCrop

TRIES = 10
"""Draws of area and aspect before the largest central window is used, as in torchvision."""


def draw_windows(
    heights_px: np.ndarray, widths_px: np.ndarray, spec: ResizedCrop, rng: np.random.Generator
) -> np.ndarray:
    """Draw one window per image, by the law of torchvision's ``RandomResizedCrop``.

    Args:
        heights_px: height of each stored image, int64 [n].
        widths_px: width of each stored image, int64 [n].
        spec: ranges of area and aspect.
        rng: generator of the draws. An image draws again only if its window did not fit.

    Returns:
        Top, left, height and width of each window in pixels of its stored image, int64 [n, 4].

    Examples:
        >>> from trainables.augment.config import ResizedCrop
        >>> sides = np.full(2, 32)
        >>> draw_windows(sides, sides, ResizedCrop(area_frac=(1, 1), aspect=(1, 1)), np.random.default_rng(0))
        array([[ 0,  0, 32, 32],
               [ 0,  0, 32, 32]])
    """
    windows = _central(heights_px, widths_px, spec.aspect)
    missing = np.arange(len(heights_px))
    narrowest, widest = (float(np.log(aspect)) for aspect in spec.aspect)
    for _ in range(TRIES):
        if not len(missing):
            break
        full_height, full_width = heights_px[missing], widths_px[missing]
        area = full_height * full_width * rng.uniform(spec.area_frac[0], spec.area_frac[1], size=len(missing))
        aspect = np.exp(rng.uniform(narrowest, widest, size=len(missing)))
        height, width = (np.rint(np.sqrt(side)).astype(np.int64) for side in (area / aspect, area * aspect))
        fits = (height > 0) & (height <= full_height) & (width > 0) & (width <= full_width)
        height, width = height[fits], width[fits]
        top = rng.integers(full_height[fits] - height + 1)
        left = rng.integers(full_width[fits] - width + 1)
        windows[missing[fits]] = np.stack([top, left, height, width], axis=1)
        missing = missing[~fits]
    return windows


def _central(heights_px: np.ndarray, widths_px: np.ndarray, aspect: tuple[float, float]) -> np.ndarray:
    """Return the largest central windows whose aspect is in range, int64 [n, 4]."""
    lowest, highest = aspect
    height = np.minimum(heights_px, np.rint(widths_px / lowest).clip(1)).astype(np.int64)
    width = np.minimum(widths_px, np.rint(heights_px * highest).clip(1)).astype(np.int64)
    return np.stack([(heights_px - height) // 2, (widths_px - width) // 2, height, width], axis=1)


def mirrored_windows(windows: np.ndarray, flipped: np.ndarray, width_px: int) -> np.ndarray:
    """Return the windows that cut the same out of images of which some are mirrored left to right.

    Args:
        windows: top, left, height and width, int64 [B, 4].
        flipped: whether each image is mirrored, bool [B].
        width_px: width of the stored images.

    Examples:
        >>> mirrored_windows(np.array([[0, 1, 5, 4]]), np.array([True]), 8)
        array([[0, 3, 5, 4]])
    """
    top, left, height, width = windows.T
    return np.stack([top, np.where(flipped, width_px - left - width, left), height, width], axis=1)


def boxes_in_windows(boxes: np.ndarray, windows: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Return boxes of objects after a crop that was resized.

    Args:
        boxes: (y0, x0, y1, x1) in half-open pixels of the stored images, int64 [B, 4].
        windows: top, left, height and width of the crops in the same pixels, int64 [B, 4].
        height_px: height of the result of the crops.
        width_px: width of the result of the crops.

    Returns:
        Boxes in pixels of the results, rounded outwards, int64 [B, 4]; empty if the crop removed the object.

    Examples:
        >>> boxes, windows = np.array([[2, 3, 6, 5], [0, 0, 2, 2]]), np.array([[2, 2, 4, 4], [4, 4, 4, 4]])
        >>> boxes_in_windows(boxes, windows, 8, 8)
        array([[0, 2, 8, 6],
               [0, 0, 0, 0]])
    """
    corners, sides = np.tile(windows[:, :2], 2), np.tile(windows[:, 2:], 2)
    inside = np.clip(boxes - corners, 0, sides)
    scaled = inside * np.array([height_px, width_px, height_px, width_px])
    result = np.concatenate([scaled[:, :2] // sides[:, :2], -(-scaled[:, 2:] // sides[:, 2:])], axis=1)
    removed = (inside[:, :2] >= inside[:, 2:]).any(axis=1, keepdims=True)
    return np.where(removed, 0, result)
