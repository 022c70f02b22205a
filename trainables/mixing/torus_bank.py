"""A bank of periodic maps: each mask is a shifted view of one of them.

A new random field or a new set of patches for every mask would cost more than the rest of the mixing. A periodic map
with the same distribution at every pixel may be shifted freely. So a bank of some hundred maps gives half a million
masks or more, all with the right distribution, and reading one costs one copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainables.device_paths import on_host

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


def shift_windows(maps: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return every shift of every map without a copy of each: a tensor [N, H, W, H, W], map by shift.

    It is a view of maps that are tiled twice in both directions, so that a shifted map is an ordinary strided window.

    Args:
        maps: periodic maps of an integer type, [N, H, W].
        device: where the maps are kept.

    Examples:
        >>> import torch
        >>> windows = shift_windows(np.array([[[1, 2, 3]]]), torch.device("cpu"))
        >>> windows[0, 0, 1].tolist()  # the map, moved by one column
        [[2, 3, 1]]
    """
    import torch

    count, height_px, width_px = maps.shape
    tiled = torch.from_numpy(np.tile(maps, (1, 2, 2))).to(device)
    steps = (4 * height_px * width_px, 2 * width_px, 1, 2 * width_px, 1)
    return tiled.as_strided((count, height_px, width_px, height_px, width_px), steps)


def places(uniform: np.ndarray, n_maps: int, canvas: Canvas) -> np.ndarray:
    """Return (map, row shift, column shift), int64 [B, 3], for numbers uniform on [0, 1), float64 [3, B]."""
    limits = np.array([[n_maps], [canvas.height_px], [canvas.width_px]])
    chosen: np.ndarray = (uniform * limits).astype(np.int64).T
    return chosen


def below(windows: torch.Tensor, places: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """Return where the shifted maps are below each sample's limit: bool [B, 1, H, W].

    Args:
        windows: the result of :func:`shift_windows`.
        places: (map, row shift, column shift), int64 [B, 3].
        limits: int64 [B], within the range of the maps' type.
    """
    if on_host(windows.device):  # NumPy copies windows five times as fast as torch
        import torch

        index, maps = places.numpy().T, windows.numpy()
        shifted = maps[index[0], index[1], index[2]]
        return torch.from_numpy((shifted < limits.numpy().astype(maps.dtype)[:, None, None])[:, None])
    chosen, down, right = places.unbind(dim=1)
    return (windows[chosen, down, right] < limits.to(windows.dtype)[:, None, None])[:, None]
