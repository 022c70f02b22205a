"""Training batches from images in memory: order, random crop and flip, computed per batch, not per sample."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalizer:
    """Per-channel normalisation of uint8 images to float32 of mean 0 and standard deviation 1.

    Attributes:
        scale: float32 [W * C], factor on the 0..255 value, repeated for each pixel of a row: an inner loop over
            whole rows is 12 times as fast as a loop over three channels.
        shift: float32 [W * C], added after scaling.

    Examples:
        >>> mean, std = np.full(3, 0.5, np.float32), np.full(3, 0.5, np.float32)
        >>> normalize = Normalizer.from_statistics(mean, std, width_px=2, device=torch.device("cpu"))
        >>> normalize(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1).expand(1, 1, 2, 3))[0, 0]
        tensor([[-1.,  1.]])
    """

    scale: Tensor
    shift: Tensor

    @classmethod
    def from_statistics(cls, mean: np.ndarray, std: np.ndarray, *, width_px: int, device: torch.device) -> Normalizer:
        """Build from the mean and standard deviation per channel, float32 [C] in [0, 1] units."""
        deviation = np.maximum(std, 1e-3)  # a constant channel must not divide by zero
        rows = (np.tile(values, width_px) for values in (1 / (255 * deviation), -mean / deviation))
        return cls(*(torch.tensor(row, dtype=torch.float32, device=device) for row in rows))

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise uint8 [B, H, W, C] into float32 [B, C, H, W], channels last in memory."""
        rows = images.reshape(*images.shape[:2], -1).float().mul_(self.scale).add_(self.shift)
        return rows.view(images.shape).permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class TrainBatch:
    """One training batch.

    Attributes:
        images: uint8 [B, H, W, C], on the device.
        labels: int64 [B], on the device.
        classes: the labels on the host.
        boxes: the objects' (y0, x0, y1, x1) in half-open pixels after crop and flip, int64 [B, 4], on the host; empty
            if the crop removed the object. None if the data has no boxes.
    """

    images: Tensor
    labels: Tensor
    classes: np.ndarray
    boxes: np.ndarray | None


class TrainBatches:
    """Batches of augmented uint8 images in a new random order each epoch.

    The images are already padded: padding a batch costs more than cropping it. On the CPU the images stay in pages that
    all trials of a node share. On a GPU the rows in use are copied to its memory.

    Examples:
        >>> images, labels = np.zeros((10, 12, 12, 3), np.uint8), np.arange(10) % 2
        >>> batches = TrainBatches(
        ...     images, labels, np.arange(10), pad_px=2, batch_size=4, flip=True, device=torch.device("cpu")
        ... )
        >>> order, augment = np.random.default_rng(0), np.random.default_rng(1)
        >>> [list(batch.images.shape) for batch in batches.epoch(order_rng=order, augment_rng=augment)]
        [[4, 8, 8, 3], [4, 8, 8, 3], [2, 8, 8, 3]]
    """

    def __init__(
        self,
        padded: np.ndarray,
        labels: np.ndarray,
        rows: np.ndarray,
        *,
        pad_px: int,
        batch_size: int,
        flip: bool,
        device: torch.device,
        boxes: np.ndarray | None = None,
    ) -> None:
        """Take images with a border of ``pad_px`` and the rows to train on.

        Args:
            padded: uint8 [N, H + 2 pad_px, W + 2 pad_px, C], never written to.
            labels: int64 [N].
            rows: images to train on, int64 [n].
            pad_px: width of the border and largest shift of a crop from the centre. 0 turns the crop off.
            batch_size: images per batch; the last batch of an epoch may be smaller.
            flip: mirror each image left to right with probability 0.5.
            device: device of the batches.
            boxes: int32 [N, 4], each object's (y0, x0, y1, x1) in half-open pixels of the image without its border.
        """
        self._labels = labels[rows]
        self._boxes = None if boxes is None else boxes[rows].astype(np.int64)
        self._batch_size = batch_size
        self._pad_px = pad_px
        self._flip = flip
        self._device = device
        on_host = device.type == "cpu"
        self._rows = rows if on_host else np.arange(len(rows))
        windows = _windows(padded if on_host else padded[rows], pad_px)
        self._windows = windows if on_host else _on_device(windows, device)

    def __len__(self) -> int:
        """Return the number of batches per epoch, including a smaller last batch."""
        return math.ceil(len(self._labels) / self._batch_size)

    def epoch(self, *, order_rng: np.random.Generator, augment_rng: np.random.Generator) -> Iterator[TrainBatch]:
        """Yield each sample once."""
        order = order_rng.permutation(len(self._labels))
        for start in range(0, len(order), self._batch_size):
            chosen = order[start : start + self._batch_size]
            corners = augment_rng.integers(2 * self._pad_px + 1, size=(2, len(chosen)))
            flipped = augment_rng.uniform(size=len(chosen)) < 0.5 if self._flip else np.zeros(len(chosen), dtype=bool)
            classes = self._labels[chosen]
            yield TrainBatch(
                images=self._crop(self._rows[chosen], corners, flipped),
                labels=torch.from_numpy(classes).to(self._device, non_blocking=True),
                classes=classes,
                boxes=None if self._boxes is None else self._moved(self._boxes[chosen], corners, flipped),
            )

    def _moved(self, boxes: np.ndarray, corners: np.ndarray, flipped: np.ndarray) -> np.ndarray:
        """Return the boxes after crop and flip, int64 [B, 4]."""
        height_px, width_px = self._windows.shape[3:5]
        shift = self._pad_px - corners
        y0, x0, y1, x1 = boxes.T + np.concatenate([shift, shift])
        x0, x1 = np.where(flipped, width_px - x1, x0), np.where(flipped, width_px - x0, x1)
        limits = np.array([height_px, width_px, height_px, width_px])
        clipped: np.ndarray = np.clip(np.stack([y0, x0, y1, x1], axis=1), 0, limits)
        return clipped

    def _crop(self, rows: np.ndarray, corners: np.ndarray, flipped: np.ndarray) -> Tensor:
        if isinstance(self._windows, np.ndarray):
            images = self._windows[rows, corners[0], corners[1]]
            mirrored = torch.from_numpy(images[flipped]).flip(2)  # torch reverses pixels faster than NumPy
            images[flipped] = mirrored.numpy()
            return torch.from_numpy(images)
        index = torch.from_numpy(np.stack([rows, *corners])).to(self._device, non_blocking=True)
        cropped = self._windows[index[0], index[1], index[2]]
        mirror = torch.from_numpy(flipped).to(self._device, non_blocking=True)
        return torch.where(mirror[:, None, None, None], cropped.flip(2), cropped)


def _windows(padded: np.ndarray, pad_px: int) -> np.ndarray:
    """Return a view of all crops of all images, without a copy: uint8 [N, 2 pad_px + 1, 2 pad_px + 1, H, W, C]."""
    count, full_height, full_width, channels = padded.shape
    of_image, of_row, of_column, of_channel = padded.strides
    return np.lib.stride_tricks.as_strided(
        np.asarray(padded),
        (count, 2 * pad_px + 1, 2 * pad_px + 1, full_height - 2 * pad_px, full_width - 2 * pad_px, channels),
        (of_image, of_row, of_column, of_row, of_column, of_channel),
        writeable=False,
    )


def _on_device(windows: np.ndarray, device: torch.device) -> Tensor:
    """Return the same view of a copy in the device's memory; strides in bytes are strides in elements for uint8."""
    count, shifts, _, height_px, width_px, channels = windows.shape
    full = (count, height_px + shifts - 1, width_px + shifts - 1, channels)
    padded = np.lib.stride_tricks.as_strided(windows, full, (windows.strides[0], *windows.strides[3:]))
    return torch.tensor(padded, device=device).as_strided(windows.shape, windows.strides)
