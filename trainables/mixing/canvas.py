"""The canvas: everything that a mask family needs to draw a batch of masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np

from trainables.mixing.runs import runs

if TYPE_CHECKING:
    import torch

    from trainables.mixing.batch_view import BatchView


class Placement(Protocol):
    """What a canvas needs of the rule that places a shape: see :class:`~trainables.mixing.position.PlacingRule`."""

    wraps: ClassVar[bool]

    def centres(self, sides_px: np.ndarray, canvas: Canvas) -> np.ndarray:
        """Draw the centres of shapes, float64 [2, B]."""

    def offsets(self, centre_px: np.ndarray, length_px: int) -> np.ndarray:
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
        partner: index of each sample's partner in that batch, int64 [B], on the host.

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

    def offsets(self, centres_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return signed distances to centres, float64 [2, B]: those of rows [B, H] and of columns [B, W]."""
        return self.offsets_along(0, centres_px), self.offsets_along(1, centres_px)

    def offsets_along(self, axis: Literal[0, 1], centres_px: np.ndarray) -> np.ndarray:
        """Return signed distances to centres, float64 [2, B], of rows (0), [B, H], or of columns (1), [B, W]."""
        return self.position.offsets(centres_px[axis], (self.height_px, self.width_px)[axis])

    def lines_within(self, axis: Literal[0, 1], centres_px: np.ndarray, sides_px: np.ndarray) -> np.ndarray:
        """Return which rows (axis 0), bool [B, H], or columns (axis 1), bool [B, W], are in a shape.

        A line is in the shape if the pixels' centres are less than half a side from the shape's centre.

        Args:
            axis: 0 for rows, 1 for columns.
            centres_px: centres of the shapes, float64 [2, B]; pixel i has its own centre at ``i + 0.5``.
            sides_px: height and width of the shapes, float64 [2, B]; on the torus at most those of the image.
        """
        first, half = centres_px[axis] - 0.5, sides_px[axis] / 2
        start, stop = np.floor(first - half) + 1, np.ceil(first + half)
        # a side of 0 exactly on a pixel's centre: the run must be empty, not negative
        stop = np.maximum(start, stop)
        return runs(start, stop, (self.height_px, self.width_px)[axis], wraps=self.position.wraps)

    @property
    def on_host(self) -> bool:
        """Whether masks are made on the CPU, where NumPy's faster functions justify a second code path."""
        return self.device.type == "cpu"

    def on_device(self, values: np.ndarray) -> torch.Tensor:
        """Return a small array as a tensor on the device of the masks, without a synchronisation."""
        import torch

        tensor = torch.from_numpy(values)
        return tensor if self.on_host else tensor.to(self.device, non_blocking=True)

    def cross(self, rows: np.ndarray, columns: np.ndarray) -> torch.Tensor:
        """Return the rectangles, bool [B, 1, H, W], in which chosen rows, bool [B, H], meet columns, bool [B, W]."""
        if self.on_host:  # copies of whole rows of pixels: a quarter of the time of a broadcast
            count, width_px = columns.shape
            patterns = np.concatenate([np.zeros((1, width_px), dtype=bool), columns])
            pattern_of_row = rows * np.arange(1, count + 1)[:, None]  # 0: the empty pattern
            return self.on_device(patterns.take(pattern_of_row, axis=0, mode="clip")[:, None])
        return self.on_device(rows)[:, None, :, None] & self.on_device(columns)[:, None, None, :]

    def partner_images(self) -> torch.Tensor:
        """Return the partners' images [B, C, H, W].

        Raises:
            ValueError: the canvas has no batch, images or partners.
        """
        if self.batch is None or self.batch.images is None or self.partner is None:
            raise ValueError("this policy needs the partners' images, but the batch has none")
        return self.batch.images[self.on_device(self.partner)]

    def partner_boxes(self) -> np.ndarray:
        """Return the boxes of the partners' objects, int64 [B, 4].

        Raises:
            ValueError: the canvas has no batch, boxes or partners.
        """
        if self.batch is None or self.batch.boxes is None or self.partner is None:
            raise ValueError("this policy needs the partners' boxes, but the batch has none")
        boxes: np.ndarray = self.batch.boxes[self.partner]
        return boxes
