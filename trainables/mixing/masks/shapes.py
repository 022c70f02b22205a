"""Functions that mask families share: soft borders, several shapes per mask, bands, shapes given row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from trainables.mixing.runs import runs

if TYPE_CHECKING:
    import torch

    from trainables.mixing.canvas import Canvas

ROWS: Literal[0] = 0
"""The axis along which a horizontal band has its thickness."""

COLUMNS: Literal[1] = 1
"""The axis along which a vertical band has its thickness."""


def frac_of_each(pasted_frac: np.ndarray, count: int) -> np.ndarray:
    """Return the fraction of each of ``count`` equal shapes that together cover ``pasted_frac``: float64 [B * count].

    ``1 - (1 - f)^(1/count)``: if places are uniform and independent (torus), all shapes miss a pixel with probability
    ``1 - f``. The shapes of a sample follow each other.

    Examples:
        >>> frac_of_each(np.array([0.75]), 2).tolist()
        [0.5, 0.5]
    """
    return pasted_frac if count == 1 else np.repeat(1 - (1 - pasted_frac) ** (1 / count), count)


def union(shapes: torch.Tensor, count: int, canvas: Canvas) -> torch.Tensor:
    """Join every ``count`` masks [B * count, 1, H, W] into one: bool, or float32 for soft masks, [B, 1, H, W].

    Soft masks are joined as ``1 - (1 - a)(1 - b)``, which keeps the mean that :func:`frac_of_each` relies on.
    """
    if count == 1:
        return shapes
    of_sample = shapes.reshape(-1, count, *shapes.shape[1:])
    if canvas.on_host:  # NumPy: torch takes ten times as long over an axis in the middle
        return canvas.on_device(_joined(of_sample.numpy()))
    return 1 - (1 - of_sample).prod(dim=1) if shapes.is_floating_point() else of_sample.any(dim=1)


def ramp(offsets: np.ndarray, side_px: np.ndarray, edge_px: np.ndarray) -> np.ndarray:
    """Return mask values along one axis, float32 [B, L]: 1 inside, 0 outside, one half at the border.

    Args:
        offsets: signed distances of the pixels to the shape's centre, [B, L].
        side_px: length of the shape, [B]; a shape of length 0 has no pixel.
        edge_px: width of the ramp, [B]; 0 is a step.

    Examples:
        >>> ramp(np.array([[-2.0, -1.0, 0.0, 1.0, 2.0]]), np.array([2.0]), np.array([2.0])).tolist()
        [[0.0, 0.5, 1.0, 0.5, 0.0]]
    """
    depth = side_px[:, None] / 2 - np.abs(offsets)
    at_border = np.where(side_px > 0, 0.5, 0.0)[:, None]
    values: np.ndarray = np.clip(at_border + depth / np.maximum(edge_px, 1e-9)[:, None], 0, 1).astype(np.float32)
    return values


def bands(pasted_frac: np.ndarray, canvas: Canvas, *, axis: Literal[0, 1], count: int, edge_px: float) -> torch.Tensor:
    """Draw bands across the whole image, each as thick as its fraction of the axis: [B, 1, H, W].

    Args:
        pasted_frac: requested fraction of the image, float64 [B].
        canvas: size of the image, placing rule, generator and device.
        axis: the axis along which the bands have their thickness and their place.
        count: bands per mask, joined as in :func:`union`.
        edge_px: width of a linear ramp across each border, no wider than the band or the rest of the axis.

    Returns:
        Hard masks, bool, or with an edge soft masks, float32.
    """
    length_px = canvas.sides_px[axis]
    thickness = frac_of_each(pasted_frac, count) * length_px
    edge = np.minimum(edge_px, np.minimum(thickness, length_px - thickness))
    sides = np.repeat(canvas.sides_px, len(thickness), axis=1)
    sides[axis] = thickness + edge
    centres = canvas.position.centres(sides, canvas)
    if edge_px:
        lines = ramp(canvas.offsets_along(axis, centres), thickness, edge)
    else:
        lines = canvas.lines_within(axis, centres, sides)
    if count > 1:
        lines = _joined(lines.reshape(-1, count, lines.shape[1]))
    return _across(lines, canvas, axis)


def spans(start: np.ndarray, stop: np.ndarray, canvas: Canvas) -> torch.Tensor:
    """Draw shapes with one run of pixels per row: bool [B, 1, H, W].

    Args:
        start: first column of each row, whole numbers, float64 [B, H]; may be outside the image.
        stop: the column after the last one, whole numbers, float64 [B, H], from ``start`` to ``start + W``.
        canvas: size of the image, placing rule and device. On the torus the part outside the image enters it on the
            other side, for runs between ``-W`` and ``2 W``; otherwise it is cut off.
    """
    wraps, width_px = canvas.position.wraps, canvas.width_px
    if canvas.on_host:
        return canvas.on_device(runs(start, stop, width_px, wraps=wraps)[:, None])
    import torch

    first, end = (canvas.on_device(columns.astype(np.int64))[:, None, :, None] for columns in (start, stop))
    column = torch.arange(width_px, device=first.device)
    if wraps:
        return (column - first) % width_px < end - first
    return (column >= first) & (column < end)


def _joined(of_sample: np.ndarray) -> np.ndarray:
    """Join masks or mask values along axis 1."""
    hard = of_sample.dtype == bool
    joined: np.ndarray = np.any(of_sample, axis=1) if hard else 1 - np.prod(1 - of_sample, axis=1)
    return joined


def _across(lines: np.ndarray, canvas: Canvas, axis: Literal[0, 1]) -> torch.Tensor:
    """Extend the values of rows (axis 0) or of columns (axis 1), [B, L], over the image: [B, 1, H, W]."""
    if not canvas.on_host:
        values = canvas.on_device(lines)
        values = values[:, None, :, None] if axis == ROWS else values[:, None, None, :]
        return values.expand(-1, 1, canvas.height_px, canvas.width_px)
    if axis == ROWS:
        rows = np.repeat(lines, canvas.width_px, axis=1)
        return canvas.on_device(rows.reshape(-1, 1, canvas.height_px, canvas.width_px))
    return canvas.on_device(np.repeat(lines[:, None, None], canvas.height_px, axis=2))
