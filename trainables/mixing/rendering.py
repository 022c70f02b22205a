"""Rendering: from the parameters of masks to pixels, by NumPy on the host and by tensor operations on other devices.

Parameters are drawn on the host and contain all that is random. Rendering has no randomness, reads nothing back from
the device, and neither its shapes nor its branches depend on a value. So a GPU may record it once and replay it. Both
ways give the same bits: borders are whole pixels, and no comparison of rounded numbers is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainables.device_paths import on_host
from trainables.mixing.runs import runs

if TYPE_CHECKING:
    from torch import Tensor


def lines(start: Tensor, stop: Tensor, length_px: int) -> Tensor:
    """Return which pixels of an axis are in runs around its end: bool, the shape of ``start`` with an axis added.

    Args:
        start: first pixel of each run, an integer from ``-L`` to ``2 L``; ``L`` is the length of the axis.
        stop: the pixel after the last one, from ``start`` to ``start + L``, at most ``2 L``.
        length_px: pixels of the axis.

    Examples:
        >>> import torch
        >>> lines(torch.tensor([1, 3]), torch.tensor([3, 6]), 5).int().tolist()
        [[0, 1, 1, 0, 0], [1, 0, 0, 1, 1]]
    """
    import torch

    if on_host(start.device):
        return torch.from_numpy(runs(start.numpy(), stop.numpy(), length_px))
    pixel = torch.arange(length_px, device=start.device)
    return (pixel - start[..., None]) % length_px < (stop - start)[..., None]


def rectangles(edges: Tensor, height_px: int, width_px: int) -> Tensor:
    """Return rectangles, bool [n, 1, H, W], from their edges in whole pixels.

    Args:
        edges: (y0, x0, y1, x1), first row and column, row and column after the last ones: int [n, 4] or
            [B, count, 4]; rows and columns as for :func:`lines`.
        height_px: height of the image.
        width_px: width of the image.

    Examples:
        >>> import torch
        >>> rectangles(torch.tensor([[0, 2, 1, 4]]), 2, 3).int().tolist()  # it continues in the first column
        [[[[1, 0, 1], [0, 0, 0]]]]
    """
    import torch

    if not on_host(edges.device):
        top, left, bottom, right = edges.reshape(-1, 4).unbind(dim=1)
        return lines(top, bottom, height_px)[:, None, :, None] & lines(left, right, width_px)[:, None, None, :]
    y0, x0, y1, x1 = edges.numpy().reshape(-1, 4).T
    rows = runs(y0, y1, height_px)
    # copies of whole rows of pixels: a quarter of the time of a broadcast
    patterns = np.zeros((len(rows) + 1, width_px), dtype=bool)  # the first one is empty
    runs(x0, x1, width_px, out=patterns[1:])
    pattern_of_row = rows.astype(np.int64)  # before the product: a product of two types takes twice as long
    pattern_of_row *= np.arange(1, len(rows) + 1)[:, None]
    return torch.from_numpy(patterns.take(pattern_of_row, axis=0, mode="clip")[:, None])


def cells_as_pixels(cells: Tensor, height_px: int, width_px: int) -> Tensor:
    """Extend the values of cells, [n, k, k], over the pixels of the image, as evenly as possible: [n, 1, H, W].

    Examples:
        >>> import torch
        >>> cells_as_pixels(torch.tensor([[[1, 2], [3, 4]]]), 2, 3)[0, 0].tolist()
        [[1, 1, 2], [3, 3, 4]]
    """
    import torch

    device, per_side = cells.device, cells.shape[1]
    rows, columns = (torch.arange(px, device=device) * per_side // px for px in (height_px, width_px))
    return cells.index_select(1, rows).index_select(2, columns)[:, None]


def across(values: Tensor, axis: int, height_px: int, width_px: int) -> Tensor:
    """Extend the values of rows (axis 0) or of columns (axis 1), [n, L], over the image: [n, 1, H, W]."""
    import torch

    if not on_host(values.device):
        values = values[:, None, None, :] if axis else values[:, None, :, None]
        return values.expand(-1, 1, height_px, width_px)
    if axis:
        return torch.from_numpy(np.repeat(values.numpy()[:, None, None], height_px, axis=2))
    return torch.from_numpy(np.repeat(values.numpy(), width_px, axis=1).reshape(-1, 1, height_px, width_px))


def emptied(mask: Tensor, samples: Tensor) -> Tensor:
    """Return masks [B, 1, ...] with nothing in the given samples, bool [B].

    Examples:
        >>> import torch
        >>> emptied(torch.ones(2, 1, 1, 1), torch.tensor([True, False])).flatten().tolist()
        [0.0, 1.0]
    """
    if not on_host(mask.device):
        return mask.masked_fill(samples[:, None, None, None], 0)
    import torch

    values = mask.numpy().copy()  # torch takes five to twelve times as long
    values[samples.numpy()] = 0
    return torch.from_numpy(values)


def union(shapes: Tensor, count: int) -> Tensor:
    """Join every ``count`` shapes [n * count, ...] into one: bool, or float32 for soft masks, [n, ...].

    Soft masks are joined as ``1 - (1 - a)(1 - b)``, which keeps the mean that
    :func:`~trainables.mixing.masks.shapes.frac_of_each` relies on.
    """
    if count == 1:
        return shapes
    import torch

    of_sample = shapes.reshape(-1, count, *shapes.shape[1:])
    if on_host(shapes.device):  # NumPy: torch takes ten times as long over an axis in the middle
        return torch.from_numpy(joined(of_sample.numpy()))
    if not shapes.is_floating_point():
        return of_sample.any(dim=1)
    rest = 1 - of_sample[:, 0]
    for index in range(1, count):  # in NumPy's order: a product in another order is rounded differently
        rest = rest * (1 - of_sample[:, index])
    return 1 - rest


def joined(of_sample: np.ndarray) -> np.ndarray:
    """Join masks or mask values along axis 1, as :func:`union` does."""
    hard = of_sample.dtype == bool
    values: np.ndarray = np.any(of_sample, axis=1) if hard else 1 - np.prod(1 - of_sample, axis=1)
    return values
