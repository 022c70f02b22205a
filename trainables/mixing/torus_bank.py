"""Maps that repeat in both directions, made once: a batch of masks is a look at some of them, each from anywhere.

Making a random field or a set of patches for every mask would cost more than the rest of the mixing. A periodic map
whose law is the same everywhere may be shifted at will, so that a bank of some hundred of them holds half a million
masks or more, all drawn from the right law, and reading one costs a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from trainables.mixing.canvas import Canvas

BANK_BYTES = 1 << 25
"""Memory of a bank, as long as it holds ``FEWEST_MAPS``."""

FEWEST_MAPS, MOST_MAPS = 64, 512
"""The most: those of 32 px, with all their shifts half a million, fill 4 MB and stay in the cache. 2,048 did not, and
reading them took 1.7 times as long."""


def maps_that_fit(height_px: int, width_px: int, item_bytes: int) -> int:
    """Return how many maps of the given size a bank should hold."""
    return min(max(BANK_BYTES // (4 * height_px * width_px * item_bytes), FEWEST_MAPS), MOST_MAPS)


@dataclass(frozen=True, eq=False)
class TorusBank:
    """Every shift of every map, without a copy of each.

    Attributes:
        windows: [N, H, W, H, W], map by shift: an array for masks made on the host, else a tensor. It lies over maps
            that were laid out twice in both directions, so that a shifted map is a plain piece of memory.
    """

    windows: np.ndarray | torch.Tensor

    @classmethod
    def of(cls, maps: np.ndarray, device: torch.device) -> TorusBank:
        """Take maps [N, H, W] of a whole-number type."""
        count, height_px, width_px = maps.shape
        twice = np.tile(maps, (1, 2, 2))
        shape = (count, height_px, width_px, height_px, width_px)
        steps = (4 * height_px * width_px, 2 * width_px, 1, 2 * width_px, 1)
        if device.type != "cpu":
            import torch

            return cls(torch.from_numpy(twice).to(device).as_strided(shape, steps))
        strides = tuple(step * maps.itemsize for step in steps)
        return cls(np.lib.stride_tricks.as_strided(twice, shape, strides, writeable=False))

    def places(self, uniform: np.ndarray) -> np.ndarray:
        """Turn numbers uniform on [0, 1), float64 [3, B], into (map, row shift, column shift), int64 [3, B]."""
        limits = np.array(self.windows.shape[:3])
        places: np.ndarray = (uniform * limits[:, None]).astype(np.int64)
        return places

    def below(self, limits: np.ndarray, places: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Return where the maps, as seen from the places, are below each sample's limit: bool [B, 1, H, W].

        Args:
            limits: int64 [B], within the range of the maps' type.
            places: what :meth:`places` returned.
            canvas: says where masks are made.
        """
        if isinstance(self.windows, np.ndarray):  # NumPy copies windows five times as fast as torch
            seen = self.windows[places[0], places[1], places[2]]
            return canvas.on_device((seen < limits.astype(seen.dtype)[:, None, None])[:, None])
        index = canvas.on_device(np.concatenate([places, limits[None]]))
        seen_there = self.windows[index[0], index[1], index[2]]
        return (seen_there < index[3].to(seen_there.dtype)[:, None, None])[:, None]
