"""A bank of periodic maps: each mask is a shifted view of one of them.

A new random field or a new set of patches for every mask would cost more than the rest of the mixing. A periodic map
with the same distribution at every pixel may be shifted freely. So a bank of some hundred maps gives half a million
masks or more, all with the right distribution, and reading one costs one copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from trainables.mixing.canvas import Canvas

BANK_BYTES = 1 << 25
"""Memory of a bank, unless ``FEWEST_MAPS`` need more."""

FEWEST_MAPS, MOST_MAPS = 64, 512
"""The fewest maps even if they exceed ``BANK_BYTES``, and the most. 512 maps of 32 px fill 4 MB, which stays in the
cache, and give half a million masks. A bank of 2,048 maps did not stay there, and reading it took 1.7 times as long."""


def maps_that_fit(height_px: int, width_px: int, item_bytes: int) -> int:
    """Return the number of maps of the given size in a bank.

    Examples:
        >>> maps_that_fit(32, 32, 2), maps_that_fit(224, 224, 2)
        (512, 83)
    """
    return min(max(BANK_BYTES // (4 * height_px * width_px * item_bytes), FEWEST_MAPS), MOST_MAPS)


@dataclass(frozen=True, eq=False)
class TorusBank:
    """Every shift of every map, without a copy of each.

    Attributes:
        windows: [N, H, W, H, W], map by shift: an array for masks made on the host, otherwise a tensor. It is a view of
            maps that are tiled twice in both directions, so that a shifted map is an ordinary strided window.
    """

    windows: np.ndarray | torch.Tensor

    @classmethod
    def of(cls, maps: np.ndarray, device: torch.device) -> TorusBank:
        """Build a bank of maps [N, H, W] of an integer type."""
        count, height_px, width_px = maps.shape
        tiled = np.tile(maps, (1, 2, 2))
        shape = (count, height_px, width_px, height_px, width_px)
        steps = (4 * height_px * width_px, 2 * width_px, 1, 2 * width_px, 1)
        if device.type != "cpu":
            import torch

            return cls(torch.from_numpy(tiled).to(device).as_strided(shape, steps))
        strides = tuple(step * maps.itemsize for step in steps)
        return cls(np.lib.stride_tricks.as_strided(tiled, shape, strides, writeable=False))

    def places(self, uniform: np.ndarray) -> np.ndarray:
        """Return (map, row shift, column shift), int64 [3, B], for numbers uniform on [0, 1), float64 [3, B]."""
        limits = np.array(self.windows.shape[:3])
        places: np.ndarray = (uniform * limits[:, None]).astype(np.int64)
        return places

    def below(self, limits: np.ndarray, places: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Return where the shifted maps are below each sample's limit: bool [B, 1, H, W].

        Args:
            limits: int64 [B], within the range of the maps' type.
            places: the result of :meth:`places`.
            canvas: the device of the masks.
        """
        if isinstance(self.windows, np.ndarray):  # NumPy copies windows five times as fast as torch
            maps = self.windows[places[0], places[1], places[2]]
            return canvas.on_device((maps < limits.astype(maps.dtype)[:, None, None])[:, None])
        index = canvas.on_device(np.concatenate([places, limits[None]]))  # one transfer instead of two
        device_maps = self.windows[index[0], index[1], index[2]]
        return (device_maps < index[3].to(device_maps.dtype)[:, None, None])[:, None]
