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
    for _ in range(TRIES):
        if not len(missing):
            break
        full_height, full_width = heights_px[missing], widths_px[missing]
        area = full_height * full_width * rng.uniform(*spec.area_frac, size=len(missing))
        aspect = np.exp(rng.uniform(*np.log(spec.aspect), size=len(missing)))
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
