"""The law of mask families that divide the image among all images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from trainables.contracts.law import require
from trainables.mixing.masks.base import Mask
from trainables.mixing.masks.division import Division
from trainables.mixing.partners import Partners
from trainables.mixing.rendering import rectangles
from trainables.mixing.size import UniformSize

if TYPE_CHECKING:
    from trainables.mixing.size import Size


def requested_fracs(mask: Mask, fractions: np.ndarray) -> np.ndarray:
    """Return the fractions themselves, or what the partners of a division get if ``size`` gives these fractions."""
    if not isinstance(mask, Division):
        return fractions
    given = cast("Size", SimpleNamespace(draw=lambda count, rng: fractions))
    return mask.draw_fracs(given, Partners(count=mask.n_partners or 1), len(fractions), np.random.default_rng(0))


def check_a_division_covers_the_image_once(mask: Mask) -> None:
    """Check that the rectangles of a division cover each pixel once, and are as large as requested, to whole pixels."""
    if not isinstance(mask, Division):
        return
    size, rng = UniformSize(lo=0, hi=1), np.random.default_rng(7)
    for height, width in ((16, 16), (9, 31), (1, 1)):
        for count in (mask.n_partners,) if mask.n_partners else (1, 2, 5):
            fracs = mask.draw_fracs(size, Partners(count=count, alpha=None if count == 1 else 1.0), 50, rng)
            require(fracs.shape == (50, count), f"the fractions of {count} partners have the shape {fracs.shape}")
            edges = torch.from_numpy(mask.borders(fracs, height, width))
            rectangle = rectangles(edges, height, width).reshape(50, count + 1, height, width)
            where = f"{count} partners, {height}x{width} px"
            require((rectangle.sum(dim=1) == 1).all(), f"{where}: a pixel is in no rectangle, or in more than one")
            missed = np.abs(rectangle[:, 1:].flatten(2).sum(dim=2).numpy() - fracs * height * width).max()
            require(missed <= height + width, f"{where}: a rectangle misses the requested area by {missed:.1f} px")
