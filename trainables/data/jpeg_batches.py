"""Training batches from JPEGs: crops are decoded for each batch, on the threads of the trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from trainables.augment.config import Augment
from trainables.augment.crops import boxes_in_windows
from trainables.data.batches import TrainBatches
from trainables.data.epoch_draw import EpochDraw
from trainables.data.jpegs.images import JpegImages
from trainables.data.upload import computed_ahead, empty_bytes, upload
from trainables.share import Share


class Exchange(Protocol):
    """Shares the decoding of a batch among the workers of a trial."""

    def share(self, n_batch: int) -> Share:
        """Return the rows that this worker decodes."""

    def whole(self, images: Tensor, share: Share) -> Tensor:
        """Return the images of the whole batch, uint8 [B, H, W, C], from the rows of each worker, on the device."""


class JpegBatches(TrainBatches):
    """Batches of crops that are decoded from JPEGs; the draws are those of :class:`TrainBatches`.

    With windows, each crop is cut out of the stored image and resized. Without them, the centre view gets a border of
    ``pad_px`` and is cropped back to its size, as images that are stored as pixels.

    On a CPU, all threads of the trial decode a batch just before its step. On a GPU, batches are decoded ahead, on as
    many threads as the trial has cores. If several workers train one trial, each of them decodes its share of a batch.

    Attributes:
        exchange: how workers share the decoding; None: there is one worker.
    """

    exchange: Exchange | None = None

    def __init__(
        self,
        images: JpegImages,
        labels: np.ndarray,
        rows: np.ndarray,
        *,
        pad_px: int,
        batch_size: int,
        flip: bool,
        device: torch.device,
        boxes: np.ndarray | None = None,
        augment: Augment | None = None,
    ) -> None:
        """Take JPEGs and the rows to train on; the arguments are those of :class:`TrainBatches`."""
        count, height_px, width_px, channels = images.shape
        shape = (count, height_px + 2 * pad_px, width_px + 2 * pad_px, channels)
        super().__init__(
            np.broadcast_to(np.uint8(0), shape),  # the shape alone: no pixel of it is read
            labels,
            rows,
            pad_px=pad_px,
            batch_size=batch_size,
            flip=flip,
            device=device,
            boxes=boxes,
            augment=augment,
        )
        self._images = images
        self._n_threads = torch.get_num_threads()
        stored = None if boxes is None else images.boxes
        self._stored_boxes = None if stored is None else stored[rows].astype(np.int64)

    def on_host(self, part: EpochDraw) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the labels of drawn samples, int64 [B], and their boxes after crop and flip, int64 [B, 4] or None."""
        if part.windows is None or self._stored_boxes is None:
            return super().on_host(replace(part, windows=None))
        height_px, width_px = self._sides_px
        boxes = boxes_in_windows(self._stored_boxes[part.samples], part.windows, height_px, width_px)
        y0, x0, y1, x1 = boxes.T
        x0, x1 = np.where(part.flipped, width_px - x1, x0), np.where(part.flipped, width_px - x0, x1)
        return self._labels[part.samples], np.stack([y0, x0, y1, x1], axis=1)

    def changes(self, part: EpochDraw) -> dict[str, np.ndarray]:
        """Return what the training step needs to change the images: the crops are resized already."""
        return super().changes(replace(part, windows=None))

    def _stored_px(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        heights, widths = self._images.sizes_px[self._rows[samples]].T
        return heights, widths

    def _made(self, draw: EpochDraw, parts: Sequence[EpochDraw]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels of each batch, on the device."""
        ahead = self._device.type != "cpu"
        blocks = computed_ahead(self._decoded, parts) if ahead else map(self._decoded, parts)
        for part, block in zip(parts, blocks, strict=True):
            images = block.to(self._device, non_blocking=True)
            if self.exchange is not None:
                images = self.exchange.whole(images, self.exchange.share(len(part)))
            yield self._flipped(images, part), upload(self._labels[part.samples], self._device)

    def _flipped(self, images: Tensor, part: EpochDraw) -> Tensor:
        if not self._flip:
            return images
        if self._device.type == "cpu":
            for index in np.flatnonzero(part.flipped).tolist():  # one by one: an index would copy the images twice
                images[index] = images[index].flip(1)
            return images
        flipped = upload(part.flipped, self._device)
        return torch.where(flipped[:, None, None, None], images.flip(2), images)

    def _decoded(self, part: EpochDraw) -> Tensor:
        """Decode the crops of this worker's rows of a batch, uint8 [b, H, W, C], on the host."""
        mine = slice(None) if self.exchange is None else self.exchange.share(len(part)).rows
        rows = self._rows[part.samples[mine]]
        shape = (len(rows), *self._images.shape[1:])
        block = empty_bytes(int(np.prod(shape)), self._device).view(shape)
        if part.windows is not None:
            self._images.read_windows(rows, part.windows[mine], block.numpy(), n_threads=self._n_threads)
        else:
            self._images.read(rows, block.numpy(), n_threads=self._n_threads)
            _shift(block.numpy(), self._pad_px - part.corners[:, mine])
        return block


def _shift(images: np.ndarray, shifts_px: np.ndarray) -> None:
    """Move each image down and to the right in its place; what becomes free is 0.

    Args:
        images: uint8 [B, H, W, C].
        shifts_px: int64 [2, B], negative for up and left.
    """
    for image, down, right in zip(images, *shifts_px.tolist(), strict=True):
        if down or right:
            moved = np.zeros_like(image)
            moved[_to(down), _to(right)] = image[_to(-down), _to(-right)]
            image[:] = moved


def _to(shift_px: int) -> slice:
    """Return the part of a side that is filled after a shift."""
    return slice(shift_px, None) if shift_px >= 0 else slice(None, shift_px)
