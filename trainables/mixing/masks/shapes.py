"""What mask families share: soft borders, several shapes in an image, bands and shapes given row by row."""

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
    """Return the fraction of each of ``count`` equal shapes that cover ``pasted_frac`` together: float64 [B * count].

    ``1 - (1 - f)^(1/count)``: where places are uniform and independent (torus) a pixel is missed by all of them with
    probability ``1 - f``. A sample's shapes follow each other.
    """
    return pasted_frac if count == 1 else np.repeat(1 - (1 - pasted_frac) ** (1 / count), count)


def union(each: torch.Tensor, count: int, canvas: Canvas) -> torch.Tensor:
    """Join every ``count`` masks [B * count, 1, H, W] to one: bool, or for soft masks float32, [B, 1, H, W].

    Soft masks are joined as ``1 - (1 - a)(1 - b)``, which keeps the mean that :func:`frac_of_each` counts on.
    """
    if count == 1:
        return each
    of_sample = each.reshape(-1, count, *each.shape[1:])
    if canvas.on_host:  # torch takes ten times as long over an axis in the middle
        return canvas.on_device(_joined(of_sample.numpy()))
    return 1 - (1 - of_sample).prod(dim=1) if each.is_floating_point() else of_sample.any(dim=1)


def ramp(offsets: np.ndarray, side_px: np.ndarray, edge_px: np.ndarray) -> np.ndarray:
    """Return weights along one axis, float32 [B, L]: 1 inside, 0 outside, one half at the border.

    Args:
        offsets: signed distances of the pixels to the middle, [B, L].
        side_px: length of the shape, [B]; of length 0 there is nothing.
        edge_px: width of the ramp, [B]; 0 is a step.
    """
    depth = side_px[:, None] / 2 - np.abs(offsets)
    at_border = np.where(side_px > 0, 0.5, 0.0)[:, None]
    weights: np.ndarray = np.clip(at_border + depth / np.maximum(edge_px, 1e-9)[:, None], 0, 1).astype(np.float32)
    return weights


def bands(pasted_frac: np.ndarray, canvas: Canvas, *, axis: Literal[0, 1], count: int, edge_px: float) -> torch.Tensor:
    """Draw bands across the whole image, each as thick as its fraction of the axis: [B, 1, H, W].

    Args:
        pasted_frac: wanted share of the partner, float64 [B].
        canvas: what they are drawn on.
        axis: along which they have their thickness and their place.
        count: bands in each mask, joined as in :func:`union`.
        edge_px: width of a linear ramp across each border, no wider than the band or what is left beside it.

    Returns:
        Hard masks, bool, or with an edge soft ones, float32.
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
    """Draw shapes of which every row is one run of pixels: bool [B, 1, H, W].

    Args:
        start: first column of each row, whole numbers, float64 [B, H]; may lie outside the image.
        stop: the column after its last, whole numbers, float64 [B, H], from ``start`` to ``start + W``.
        canvas: what they are drawn on. On the torus what leaves the image comes in on the other side, for runs
            between ``-W`` and ``2 W``; elsewhere it is cut off.
    """
    wraps, width_px = canvas.position.wraps, canvas.width_px
    if canvas.on_host:
        return canvas.on_device(runs(start, stop, width_px, wraps=wraps)[:, None])
    import torch

    first_there, end_there = (canvas.on_device(ends.astype(np.int64))[:, None, :, None] for ends in (start, stop))
    column = torch.arange(width_px, device=first_there.device)
    if wraps:
        return (column - first_there) % width_px < end_there - first_there
    return (column >= first_there) & (column < end_there)


def _joined(of_sample: np.ndarray) -> np.ndarray:
    """Join masks or weights along axis 1."""
    hard = of_sample.dtype == bool
    joined: np.ndarray = np.any(of_sample, axis=1) if hard else 1 - np.prod(1 - of_sample, axis=1)
    return joined


def _across(lines: np.ndarray, canvas: Canvas, axis: Literal[0, 1]) -> torch.Tensor:
    """Stretch what holds for rows (axis 0) or for columns (axis 1), [B, L], over the image: [B, 1, H, W]."""
    if not canvas.on_host:
        there = canvas.on_device(lines)
        there = there[:, None, :, None] if axis == ROWS else there[:, None, None, :]
        return there.expand(-1, 1, canvas.height_px, canvas.width_px)
    if axis == ROWS:
        rows = np.repeat(lines, canvas.width_px, axis=1)
        return canvas.on_device(rows.reshape(-1, 1, canvas.height_px, canvas.width_px))
    return canvas.on_device(np.repeat(lines[:, None, None], canvas.height_px, axis=2))
