"""Ellipses: CutMix without corners."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.mixing.canvas import Canvas, as_float, beside, namespace
from trainables.mixing.masks.base import Mask
from trainables.mixing.masks.shapes import frac_of_each, render_spans, spans
from trainables.mixing.rendering import union

if TYPE_CHECKING:
    import torch

_CUT_RADII = np.linspace(0.5, math.sqrt(0.5), 1025)
_CUT_AREAS = _CUT_RADII**2 * (math.pi - 4 * np.arccos(0.5 / _CUT_RADII)) + 2 * np.sqrt(_CUT_RADII**2 - 0.25)
"""Area of a disc inside the unit square around its centre: the disc minus four segments."""


class Ellipse(Mask):
    """Ellipses with the image's proportions: semi-axes ``H*r`` and ``W*r`` such that the area is ``f*H*W``.

    CutMix's equation 2 (Yun et al., ICCV 2019) for another shape: ``r = sqrt(f / pi)`` up to the largest ellipse in
    the image, ``f = pi/4``. A larger ellipse is cut off by a frame of the image's size around its centre. Its r is such
    that the rest has the requested area; so ``f = 1`` is the whole image.

    Attributes:
        aspect_max: above 1, the height is stretched and the width shrunk by ``sqrt(a)``, ``a`` log-uniform on
            ``[1/aspect_max, aspect_max]`` (as Zhong et al., AAAI 2020, do with rectangles), no further than the image
            allows, so that the area stays the requested one.
        count: ellipses of equal size, each placed independently. Each has the fraction ``1 - (1 - f)^(1/count)``, so
            that together they cover f on average if places are uniform (torus).
        edge_px: width of a linear ramp across the border if the axes are equal (otherwise it is stretched with them),
            as far as the image has room for it. The radius compensates for it, so that the area stays the same.

    Examples:
        >>> import torch
        >>> from trainables.mixing.position import InsidePosition
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=32, width_px=32, position=InsidePosition(), rng=rng, device=cpu)
        >>> mask = Ellipse().draw(np.array([0.3, 1.0]), canvas)
        >>> [round(frac, 1) for frac in mask.float().mean(dim=(1, 2, 3)).tolist()]
        [0.3, 1.0]
    """

    family: Literal["ellipse"] = "ellipse"
    framed: ClassVar[bool] = True
    aspect_max: float = Field(default=1.0, ge=1)
    count: int = Field(default=1, ge=1, le=64)
    edge_px: float = Field(default=0.0, ge=0)

    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Draw the run of pixels in each row; with soft edges, squared distances along each axis and their limit."""
        radius = radius_of(frac_of_each(pasted_frac, self.count))
        axes_px = canvas.sides_px * self._stretches(radius, canvas)
        return self._soft(radius, axes_px, canvas) if self.edge_px else _hard(radius, axes_px, self.count, canvas)

    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Return the ellipses of each sample: bool, or float32 with soft edges, [B, 1, H, W]."""
        if not self.edge_px:
            return render_spans(parameters, width_px)
        rows = parameters["rows"].reshape(-1, 1, height_px, 1)
        distance = (rows + parameters["columns"].reshape(-1, 1, 1, width_px)).sqrt_()
        inside = parameters["inside"].reshape(-1, 1, 1, 1)
        return union(distance.neg_().add_(inside).clamp_(0, 1), self.count)

    def _stretches(self, radius: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw the factors on height and width: float64 [2, n]."""
        if self.aspect_max == 1:
            return np.ones((2, len(radius)))
        aspect = self.aspect_max ** canvas.rng.uniform(-1.0, 1.0, size=radius.shape)
        largest = 0.5 / np.clip(radius, np.finfo(np.float64).tiny, 0.5)
        stretch = np.clip(np.sqrt(aspect), 1 / largest, largest)
        return np.stack([stretch, 1 / stretch])

    def _soft(self, radius: np.ndarray, axes_px: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Place soft ellipses, given by the distance to the centre in units of the ramp: float32 [B, count, ...]."""
        stretch = (axes_px / canvas.sides_px).max(axis=0)
        edge = np.minimum(self.edge_px / math.sqrt(canvas.height_px * canvas.width_px), widest_edge(radius, stretch))
        middle = np.sqrt(radius**2 - edge**2 / 12)
        offsets = canvas.offsets(canvas.position.centres(axes_px * (2 * middle + edge), canvas))
        ramp_px = axes_px * np.maximum(edge, 1e-6)
        rows, columns = (
            as_float((along / beside(ramp[:, None], along)) ** 2).reshape(-1, self.count, along.shape[1])
            for along, ramp in zip(offsets, ramp_px, strict=True)
        )
        inside = np.where(radius > 0, 0.5 + middle / np.maximum(edge, 1e-6), 0.0).astype(np.float32)
        return {"rows": rows, "columns": columns, "inside": inside.reshape(-1, self.count)}


def radius_of(frac: np.ndarray) -> np.ndarray:
    """Return r, in units of the sides, of ellipses that cover a fraction of the image: float64, shape of ``frac``."""
    cut = np.interp(frac, _CUT_AREAS, _CUT_RADII)
    radius: np.ndarray = np.where(frac > math.pi / 4, cut, np.sqrt(frac / math.pi))
    return radius


def widest_edge(radius: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """Return the widest possible ramp of ellipses, in units of the sides: float64 [n].

    An ellipse with a ramp of width g around the radius m has the area ``pi * (m^2 + g^2 / 12)`` and ends at
    ``m + g / 2``. The ramp must not begin beyond the centre (``g <= 2m``, so ``g <= sqrt(3) r``) nor end outside the
    frame of the image's size (``m + g / 2 <= h`` with ``h = 0.5 / stretch``, so
    ``g^2 / 3 - h g + h^2 - r^2 >= 0``).
    """
    frame = 0.5 / stretch
    room = 1.5 * (frame - np.sqrt(np.maximum(4 * radius**2 - frame**2, 0) / 3))
    to_centre = math.sqrt(3) * radius
    widest: np.ndarray = np.where(2 * radius > frame, np.clip(room, 0, to_centre), to_centre)
    return widest


def _hard(radius: np.ndarray, axes_px: np.ndarray, count: int, canvas: Canvas) -> dict[str, np.ndarray]:
    """Place hard ellipses, row by row from half the width of each row."""
    semi_axes_px = axes_px * radius
    centres = canvas.position.centres(2 * semi_axes_px, canvas)
    xp, (down, across) = namespace(centres), beside(semi_axes_px[:, :, None], centres)
    half_px = canvas.offsets_along(0, centres)  # in place from here on: these arrays are most of the cost
    half_px /= xp.clip(down, 1e-9, None)
    half_px *= half_px
    xp.subtract(xp.ones_like(half_px[:1, :1]), half_px, out=half_px)
    xp.clip(half_px, 0, None, out=half_px)
    xp.sqrt(half_px, out=half_px)
    half_px *= across
    if canvas.position.wraps:
        xp.clip(half_px, None, canvas.width_px / 2, out=half_px)
    first = centres[1, :, None] - 0.5
    start, stop = first - half_px, xp.add(first, half_px, out=half_px)
    return spans(xp.ceil(start, out=start), xp.ceil(stop, out=stop), count, canvas)
