"""Training batches from images in memory: order, random crop and flip, computed per batch, not per sample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.augment.config import Augment
from trainables.augment.crops import boxes_in_windows, mirrored_windows
from trainables.augment.draw import device_arrays
from trainables.data.epoch_draw import EpochDraw, draw_epoch
from trainables.data.resident import ResidentImages
from trainables.data.upload import computed_ahead, empty_bytes, upload
from trainables.data.windows import windows_of


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
        changes: what :func:`trainables.augment.apply.augmented` needs to change the images, on the host.
    """

    images: Tensor
    labels: Tensor
    classes: np.ndarray
    boxes: np.ndarray | None
    changes: Mapping[str, np.ndarray]


class TrainBatches:
    """Batches of augmented uint8 images in a new random order each epoch.

    The images are already padded: padding a batch costs more than cropping it. Where they are decides how a batch is
    made, and changes no value:

    - On the CPU the images stay in pages that all trials of a node share.
    - Resident on a GPU, rows, crops and flips are indexed there. Their indices are copied once per epoch.
    - Streamed to a GPU, a thread gathers batches ahead, and each batch is one copy.

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
        resident: ResidentImages | None = None,
        augment: Augment | None = None,
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
            resident: the images in the memory of the device; None: the batches are made on the host.
            augment: changes that are drawn with the crops; the training step applies them. None: none.
        """
        self._labels = labels[rows]
        self._boxes = None if boxes is None else boxes[rows].astype(np.int64)
        self._batch_size = batch_size
        self._pad_px = pad_px
        self._flip = flip
        self._device = device
        self._augment = augment or Augment()
        self._rows = rows
        self._windows = windows_of(padded, pad_px)
        self._crops: _Crops | None = None
        if resident is not None:
            places, on_device = upload(resident.places(rows), device), upload(self._labels, device)
            self._crops = _Crops(resident.windows(pad_px), places, on_device)

    @property
    def is_resident(self) -> bool:
        """Whether the images are in the memory of the device: :meth:`gather` needs that."""
        return self._crops is not None

    def __len__(self) -> int:
        """Return the number of batches per epoch, including a smaller last batch."""
        return math.ceil(len(self._labels) / self._batch_size)

    def draw_epoch(self, *, order_rng: np.random.Generator, augment_rng: np.random.Generator) -> EpochDraw:
        """Draw the order, crops, flips and changes of an epoch on the host, without making its batches."""
        return draw_epoch(
            len(self._labels),
            batch_size=self._batch_size,
            pad_px=self._pad_px,
            flip=self._flip,
            order_rng=order_rng,
            augment_rng=augment_rng,
            augment=self._augment,
            sides_px=self._sides_px,
            stored_px=self._stored_px,
        )

    def on_host(self, part: EpochDraw) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the labels of drawn samples, int64 [B], and their boxes after crop and flip, int64 [B, 4] or None."""
        labels = self._labels[part.samples]
        if self._boxes is None:
            return labels, None
        boxes = self._moved(self._boxes[part.samples], part.corners, part.flipped)
        if part.windows is not None:
            height_px, width_px = self._sides_px
            windows = mirrored_windows(part.windows, part.flipped, width_px)
            boxes = boxes_in_windows(boxes, windows, height_px, width_px)
        return labels, boxes

    def changes(self, part: EpochDraw) -> dict[str, np.ndarray]:
        """Return what the training step needs to change the images of drawn samples; {} if nothing is changed."""
        height_px, width_px = self._sides_px
        return device_arrays(
            self._augment,
            part.changes,
            windows=part.windows,
            flipped=part.flipped,
            height_px=height_px,
            width_px=width_px,
        )

    def epoch(self, *, order_rng: np.random.Generator, augment_rng: np.random.Generator) -> Iterator[TrainBatch]:
        """Yield each sample once."""
        draw = self.draw_epoch(order_rng=order_rng, augment_rng=augment_rng)
        parts = list(draw.batches(self._batch_size))
        for part, (images, labels) in zip(parts, self._made(draw, parts), strict=True):
            yield TrainBatch(images, labels, *self.on_host(part), self.changes(part))

    def gather(self, samples: Tensor, tops: Tensor, lefts: Tensor, flipped: Tensor) -> tuple[Tensor, Tensor]:
        """Return images, uint8 [B, H, W, C], and labels, int64 [B], by operations on the device alone.

        Args:
            samples: index of each sample among the training rows, int64 [B], on the device, as the other arguments.
            tops: upper edge of each crop in the image with its border, int64 [B].
            lefts: left edge of each crop, int64 [B].
            flipped: whether each image is mirrored, bool [B].

        Raises:
            ValueError: the images are not resident.
        """
        if self._crops is None:
            raise ValueError("the images are not in the memory of the device: read them from epoch()")
        crops = self._crops
        images = crops.windows[crops.places[samples], tops, lefts]
        return (_mirrored(images, flipped) if self._flip else images), crops.labels[samples]

    @property
    def _sides_px(self) -> tuple[int, int]:
        """Height and width of the images that are trained on."""
        height_px, width_px = self._windows.shape[3:5]
        return height_px, width_px

    def _stored_px(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return heights and widths of the stored images of samples, int64 [n] each."""
        height_px, width_px = self._sides_px
        return np.full(len(samples), height_px), np.full(len(samples), width_px)

    def _made(self, draw: EpochDraw, parts: Sequence[EpochDraw]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels of each batch, on the device."""
        if self._crops is not None:
            sizes = [len(part) for part in parts]
            table = upload(np.stack([draw.samples, *draw.corners, draw.flipped]), self._device)
            for samples, tops, lefts, flipped in (part.unbind() for part in torch.split(table, sizes, dim=1)):
                yield self.gather(samples, tops, lefts, flipped.bool())
        elif self._device.type == "cpu":
            for part in parts:
                yield self._cropped(part), torch.from_numpy(self._labels[part.samples])
        else:
            yield from self._streamed(parts)

    def _moved(self, boxes: np.ndarray, corners: np.ndarray, flipped: np.ndarray) -> np.ndarray:
        """Return the boxes after crop and flip, int64 [B, 4]."""
        height_px, width_px = self._sides_px
        shift = self._pad_px - corners
        y0, x0, y1, x1 = boxes.T + np.concatenate([shift, shift])
        x0, x1 = np.where(flipped, width_px - x1, x0), np.where(flipped, width_px - x0, x1)
        limits = np.array([height_px, width_px, height_px, width_px])
        clipped: np.ndarray = np.clip(np.stack([y0, x0, y1, x1], axis=1), 0, limits)
        return clipped

    def _cropped(self, part: EpochDraw) -> Tensor:
        images = self._windows[self._rows[part.samples], part.corners[0], part.corners[1]]
        mirrored = torch.from_numpy(images[part.flipped]).flip(2)  # torch reverses pixels faster than NumPy
        images[part.flipped] = mirrored.numpy()
        return torch.from_numpy(images)

    def _streamed(self, parts: Sequence[EpochDraw]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches that a thread gathers ahead; labels, flips and crops are one block of bytes, so one copy."""
        for packed in computed_ahead(self._packed, parts):
            count, first = packed.count, _first_pixel(packed.count)
            block = packed.block.to(self._device, non_blocking=True)
            labels, flipped = block[: 8 * count].view(torch.int64), block[8 * count : 9 * count].view(torch.bool)
            images = block[first:].view(count, *self._windows.shape[3:])
            yield (_mirrored(images, flipped) if self._flip else images), labels

    def _packed(self, part: EpochDraw) -> _Packed:
        count, first = len(part), _first_pixel(len(part))
        block = empty_bytes(first + count * math.prod(self._windows.shape[3:]), self._device)
        array = block.numpy()
        array[: 8 * count] = self._labels[part.samples].view(np.uint8)
        array[8 * count : 9 * count] = part.flipped
        images = array[first:].reshape(count, *self._windows.shape[3:])
        # one large image after another: an index by three arrays would make another copy of the batch
        for image, row, top, left in zip(images, self._rows[part.samples], *part.corners, strict=True):
            image[:] = self._windows[row, top, left]
        return _Packed(block, count)


@dataclass(frozen=True, eq=False)
class _Crops:
    """What batches are gathered from on a device.

    Attributes:
        windows: view of all crops, uint8 [N, 2 pad_px + 1, 2 pad_px + 1, H, W, C].
        places: index into ``windows`` of each training row, int64 [n].
        labels: label of each training row, int64 [n].
    """

    windows: Tensor
    places: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class _Packed:
    """A batch on the host in one block of bytes: labels, flips, and from :func:`_first_pixel` on the crops."""

    block: Tensor
    count: int


def _first_pixel(count: int) -> int:
    """Return where the crops of a batch of ``count`` images begin in its block: aligned for wide reads."""
    return -(-9 * count // 64) * 64


def _mirrored(images: Tensor, flipped: Tensor) -> Tensor:
    return torch.where(flipped[:, None, None, None], images.flip(2), images)
