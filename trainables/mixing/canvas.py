"""The canvas: everything that a mask family needs to draw a batch of masks."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np

from trainables.device_paths import on_host

if TYPE_CHECKING:
    import torch

    from trainables.mixing.batch_view import BatchView


Numbers: TypeAlias = Any
"""NumPy arrays; tensors on the device where a place is known there alone, as the place of a peak in an image is."""


def namespace(values: Numbers) -> Any:
    """Return the module with the functions for ``values``: NumPy or torch."""
    if isinstance(values, np.ndarray):
        return np
    import torch

    return torch


def beside(values: np.ndarray, others: Numbers) -> Numbers:
    """Return an array as it can be combined with others: as it is, or as a tensor on their device."""
    if isinstance(others, np.ndarray):
        return values
    import torch

    return torch.from_numpy(values).to(others.device, non_blocking=True)


def as_whole(values: Numbers) -> Numbers:
    """Return whole numbers as int32."""
    if isinstance(values, np.ndarray):
        return values.astype(np.int32)
    import torch

    return values.to(torch.int32)


def as_float(values: Numbers) -> Numbers:
    """Return numbers as float32."""
    return values.astype(np.float32) if isinstance(values, np.ndarray) else values.float()


class Placement(Protocol):
    """What a canvas needs of the rule that places a shape: see :class:`~trainables.mixing.position.PlacingRule`."""

    wraps: ClassVar[bool]

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> Numbers:
        """Draw the centres of shapes, float64 [2, B]."""

    def offsets(self, centre_px: Numbers, length_px: int) -> Numbers:
        """Return the signed distance of each pixel to the centre along one axis, float64 [B, length_px]."""


@dataclass(frozen=True)
class Canvas:
    """Everything that a mask family needs to draw a batch of masks.

    Attributes:
        height_px: height of what is mixed.
        width_px: width of what is mixed.
        position: the rule that places a shape.
        rng: the only source of randomness; it is on the host, so that CPU and GPU draw the same masks.
        device: where masks are made.
        batch: the batch that is about to be mixed; None if the masks do not depend on it.
        partner: index in that batch of the partner of each mask, int64, on the host: [B]; with K partners per sample
            [B * K], those of a sample after one another.

    Examples:
        >>> import torch
        >>> from trainables.mixing.masks.box import Box
        >>> from trainables.mixing.position import InsidePosition
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> canvas = Canvas(height_px=4, width_px=6, position=InsidePosition(), rng=rng, device=cpu)
        >>> Box().draw(np.array([0.25]), canvas).int().squeeze().tolist()
        [[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]]
    """

    height_px: int
    width_px: int
    position: Placement
    rng: np.random.Generator
    device: torch.device
    batch: BatchView | None = None
    partner: np.ndarray | None = None

    @cached_property
    def sides_px(self) -> np.ndarray:
        """Height and width, float64 [2, 1]."""
        return np.array([[self.height_px], [self.width_px]], dtype=np.float64)

    def offsets(self, centres_px: Numbers) -> tuple[Numbers, Numbers]:
        """Return signed distances to centres, float64 [2, B]: those of rows [B, H] and of columns [B, W]."""
        return self.offsets_along(0, centres_px), self.offsets_along(1, centres_px)

    def offsets_along(self, axis: Literal[0, 1], centres_px: Numbers) -> Numbers:
        """Return signed distances to centres, float64 [2, B], of rows (0), [B, H], or of columns (1), [B, W]."""
        return self.position.offsets(centres_px[axis], (self.height_px, self.width_px)[axis])

    def edges_within(self, centres_px: Numbers, sides_px: np.ndarray) -> Numbers:
        """Return the edges of shapes in whole pixels, int64 [B, 4]: the first argument of ``rendering.rectangles``.

        A line is in the shape if the pixels' centres are less than half a side from the shape's centre. What is outside
        the image is cut off, unless the placing rule wraps around.

        Args:
            centres_px: centres of the shapes, float64 [2, B]; pixel i has its own centre at ``i + 0.5``.
            sides_px: height and width of the shapes, float64 [2, B]; on the torus at most those of the image.

        Examples:
            >>> import torch
            >>> from trainables.mixing.position import ClipPosition
            >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
            >>> canvas = Canvas(height_px=8, width_px=20, position=ClipPosition(), rng=rng, device=cpu)
            >>> canvas.edges_within(np.array([[4.0], [1.0]]), np.array([[4.0], [6.0]])).tolist()
            [[2, 0, 6, 4]]
        """
        return self.edges(_ends(centres_px, beside(sides_px, centres_px)))

    def edges_along(self, axis: Literal[0, 1], centres_px: Numbers, sides_px: np.ndarray) -> Numbers:
        """Return the edges along one axis, int64 [B, 2]: rows (0) or columns (1); see :meth:`edges_within`."""
        only = slice(axis, axis + 1)
        return self.edges(_ends(centres_px[only], beside(sides_px[only], centres_px)), axis)

    def edges(self, ends_px: Numbers, axis: Literal[0, 1] | None = None) -> Numbers:
        """Return whole numbers as edges, one row per shape; what is outside is cut off, unless the rule wraps around.

        Args:
            ends_px: first row, first column, row and column after the last ones, [4, B]; changed in place.
            axis: only rows (0) or columns (1) are given, [2, B].
        """
        limits = None if self.position.wraps else _limits(self.height_px, self.width_px, axis)
        if isinstance(ends_px, np.ndarray):
            if limits is not None:
                np.minimum(ends_px, limits, out=ends_px)
                np.maximum(ends_px, 0, out=ends_px)
            return ends_px.astype(np.int64).T
        if limits is not None:
            for ends, length_px in zip(ends_px, limits[:, 0].tolist(), strict=True):
                ends.clamp_(0, length_px)  # by numbers: an array of limits would be copied to the device
        return ends_px.long().T

    @property
    def on_host(self) -> bool:
        """Whether masks are made by NumPy; see :func:`~trainables.mixing.rendering.on_host`."""
        return on_host(self.device)

    def on_device(self, values: Numbers) -> torch.Tensor:
        """Return a small array as a tensor on the device of the masks, without a synchronisation."""
        import torch

        tensor: torch.Tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
        return tensor if self.device.type == "cpu" else tensor.to(self.device, non_blocking=True)

    def partner_images(self) -> torch.Tensor:
        """Return the partners' images, [B, C, H, W] or [B * K, C, H, W].

        Raises:
            ValueError: the canvas has no batch, images or partners.
        """
        if self.batch is None or self.batch.images is None or self.partner is None:
            raise ValueError("this policy needs the partners' images, but the batch has none")
        return self.batch.images[self.on_device(self.partner)]

    def partner_boxes(self) -> np.ndarray:
        """Return the boxes of the partners' objects, int64 [B, 4] or [B * K, 4].

        Raises:
            ValueError: the canvas has no batch, boxes or partners.
        """
        if self.batch is None or self.batch.boxes is None or self.partner is None:
            raise ValueError("this policy needs the partners' boxes, but the batch has none")
        boxes: np.ndarray = self.batch.boxes[self.partner]
        return boxes


def _ends(centres_px: Numbers, sides_px: Numbers) -> Numbers:
    """Return the first lines of shapes along k axes, then the lines after the last ones: float64 [2 k, B]."""
    xp, first, half = namespace(centres_px), centres_px - 0.5, sides_px / 2
    start, stop = xp.floor(first - half) + 1, xp.ceil(first + half)
    # a side of 0 exactly on a pixel's centre: the run must be empty, not negative
    return xp.concatenate((start, xp.maximum(start, stop)))


@functools.lru_cache(maxsize=8)
def _limits(height_px: int, width_px: int, axis: Literal[0, 1] | None) -> np.ndarray:
    """Return the greatest edges along both axes or along one, float64 [4, 1] or [2, 1]."""
    sides = [[height_px], [width_px]] if axis is None else [[(height_px, width_px)[axis]]]
    return np.array(sides * 2, dtype=np.float64)
