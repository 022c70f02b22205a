"""What a batch of masks is drawn on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np

from trainables.mixing.runs import runs_within

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
    """What a batch of masks is drawn on.

    Attributes:
        height_px: height of what is mixed.
        width_px: width of what is mixed.
        position: places a shape.
        rng: the only source of randomness; it lives on the host, so that CPU and GPU draw the same masks.
        device: where masks are made.
        batch: what may be looked at; None where nothing may.
        partner: index of each sample's partner in that batch, int64 [B], on the host.
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
        """Signed distances of pixels to centres, float64 [2, B]: those of rows [B, H] and of columns [B, W]."""
        return self.offsets_along(0, centres_px), self.offsets_along(1, centres_px)

    def offsets_along(self, axis: Literal[0, 1], centres_px: np.ndarray) -> np.ndarray:
        """Signed distances to centres, float64 [2, B], of rows (axis 0), [B, H], or of columns (axis 1), [B, W]."""
        return self.position.offsets(centres_px[axis], (self.height_px, self.width_px)[axis])

    def lines_within(self, axis: Literal[0, 1], centres_px: np.ndarray, sides_px: np.ndarray) -> np.ndarray:
        """Rows (axis 0), bool [B, H], or columns (axis 1), bool [B, W], less than half a side from centres.

        Centres and sides are float64 [2, B].
        """
        length_px = (self.height_px, self.width_px)[axis]
        return runs_within(centres_px[axis], sides_px[axis], length_px, wraps=self.position.wraps)

    @property
    def on_host(self) -> bool:
        """Whether masks are made where NumPy can: then its faster ways are worth a branch."""
        return self.device.type == "cpu"

    def on_device(self, values: np.ndarray) -> torch.Tensor:
        """Move a small array to where masks are made, without waiting for the device."""
        import torch

        there = torch.from_numpy(values)
        return there if self.on_host else there.to(self.device, non_blocking=True)

    def cross(self, rows: np.ndarray, columns: np.ndarray) -> torch.Tensor:
        """Return the rectangles, bool [B, 1, H, W], where chosen rows, bool [B, H], meet columns, bool [B, W]."""
        if self.on_host:  # copies of whole rows of pixels: a quarter of the time of a broadcast
            count, width_px = columns.shape
            patterns = np.concatenate([np.zeros((1, width_px), dtype=bool), columns])
            chosen = rows * np.arange(1, count + 1)[:, None]
            return self.on_device(patterns.take(chosen, axis=0, mode="clip")[:, None])
        return self.on_device(rows)[:, None, :, None] & self.on_device(columns)[:, None, None, :]

    def partner_images(self) -> torch.Tensor:
        """Return the partners' images [B, C, H, W]."""
        if self.batch is None or self.batch.images is None or self.partner is None:
            raise ValueError("this policy looks at images, but was given none")
        return self.batch.images[self.on_device(self.partner)]

    def partner_boxes(self) -> np.ndarray:
        """Return the boxes of the partners' objects, int64 [B, 4]."""
        if self.batch is None or self.batch.boxes is None or self.partner is None:
            raise ValueError("this policy looks at objects' boxes, but was given none")
        boxes: np.ndarray = self.batch.boxes[self.partner]
        return boxes
