"""Steps that mask families share: soft borders, several shapes per mask, bands, shapes given row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from trainables.mixing.canvas import Numbers, as_float, as_whole, beside, namespace
from trainables.mixing.rendering import across, joined, lines, union

if TYPE_CHECKING:
    from torch import Tensor

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


def ramp(offsets: Numbers, side_px: np.ndarray, edge_px: np.ndarray) -> Numbers:
    """Return mask values along one axis, float32 [B, L]: 1 inside, 0 outside, one half at the border.

    Args:
        offsets: signed distances of the pixels to the shape's centre, [B, L].
        side_px: length of the shape, [B]; a shape of length 0 has no pixel.
        edge_px: width of the ramp, [B]; 0 is a step.

    Examples:
        >>> ramp(np.array([[-2.0, -1.0, 0.0, 1.0, 2.0]]), np.array([2.0]), np.array([2.0])).tolist()
        [[0.0, 0.5, 1.0, 0.5, 0.0]]
    """
    xp = namespace(offsets)
    half, width = beside(side_px[:, None] / 2, offsets), beside(np.maximum(edge_px, 1e-9)[:, None], offsets)
    at_border = beside(np.where(side_px > 0, 0.5, 0.0)[:, None], offsets)
    return as_float(xp.clip(at_border + (half - xp.abs(offsets)) / width, 0, 1))


def bands(
    pasted_frac: np.ndarray, canvas: Canvas, *, axis: Literal[0, 1], count: int, edge_px: float
) -> dict[str, Numbers]:
    """Draw the parameters of bands across the whole image, each as thick as its fraction of the axis.

    Args:
        pasted_frac: requested fraction of the image, float64 [B].
        canvas: size of the image, placing rule and generator.
        axis: the axis along which the bands have their thickness and their place.
        count: bands per mask, joined as in :func:`~trainables.mixing.rendering.union`.
        edge_px: width of a linear ramp across each border, no wider than the band or the rest of the axis.

    Returns:
        Hard bands: ``edges``, int64 [B, count, 2]. With an edge: ``values`` of the rows or columns, float32 [B, L].
    """
    length_px = canvas.sides_px[axis]
    thickness = frac_of_each(pasted_frac, count) * length_px
    edge = np.minimum(edge_px, np.minimum(thickness, length_px - thickness))
    sides = np.repeat(canvas.sides_px, len(thickness), axis=1)
    sides[axis] = thickness + edge
    centres = canvas.position.centres(sides, canvas)
    if not edge_px:
        return {"edges": canvas.edges_along(axis, centres, sides).reshape(-1, count, 2)}
    values = ramp(canvas.offsets_along(axis, centres), thickness, edge)
    return {"values": joined(values.reshape(-1, count, values.shape[1])) if count > 1 else values}


def render_bands(parameters: Mapping[str, Tensor], axis: Literal[0, 1], height_px: int, width_px: int) -> Tensor:
    """Return the masks of :func:`bands`: bool, or float32 with soft edges, [B, 1, H, W]."""
    values = parameters.get("values")
    if values is None:
        edges = parameters["edges"]
        start, stop = edges.unbind(dim=2)
        values = union(lines(start, stop, (height_px, width_px)[axis]).flatten(0, 1), edges.shape[1])
    return across(values, axis, height_px, width_px)


def spans(start: Numbers, stop: Numbers, count: int, canvas: Canvas) -> dict[str, Numbers]:
    """Return the parameters of shapes with one run of pixels per row: int32 [B, count, H] each.

    Args:
        start: first column of each row, whole numbers, float64 [B * count, H]; may be outside the image.
        stop: the column after the last one, whole numbers, float64 [B * count, H], from ``start`` to ``start + W``.
        count: shapes per mask.
        canvas: size of the image and placing rule. On the torus the part outside the image enters it on the other side,
            for runs between ``-W`` and ``2 W``; otherwise it is cut off.
    """
    columns = {"start": start, "stop": stop}
    if not canvas.position.wraps:
        columns = {name: namespace(ends).clip(ends, 0, canvas.width_px, out=ends) for name, ends in columns.items()}
    return {name: as_whole(ends).reshape(-1, count, canvas.height_px) for name, ends in columns.items()}


def render_spans(parameters: Mapping[str, Tensor], width_px: int) -> Tensor:
    """Return the masks of :func:`spans`: bool [B, 1, H, W]."""
    start, stop = parameters["start"], parameters["stop"]
    _, count, height_px = start.shape
    start, stop = start.reshape(-1, 1, height_px), stop.reshape(-1, 1, height_px)
    return union(lines(start, stop, width_px), count)
