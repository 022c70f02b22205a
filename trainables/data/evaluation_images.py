"""Images to be measured, without crop and flip, on the device of a trial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from trainables.data.image_set import ImageArray
from trainables.data.jpegs.images import JpegImages
from trainables.data.resident import ResidentImages
from trainables.data.upload import computed_ahead, empty_bytes, upload


def evaluation_images(
    images: ImageArray, batches: Sequence[np.ndarray], device: torch.device, resident: ResidentImages | None = None
) -> Iterator[Tensor]:
    """Yield the images of each batch of rows, uint8 [B, H, W, C], on the device.

    On a CPU they are read from ``images``. On another device they are indexed there if all of them are resident: one
    copy for all indices. Otherwise a thread gathers batches ahead, and each batch is one copy.

    Args:
        images: uint8 [N, H, W, C]; JPEGs are decoded on as many threads as torch uses.
        batches: rows of each batch, int64.
        device: device of the results.
        resident: the same images, with a border, in the memory of the device; None: they are not there.

    Examples:
        >>> images = np.arange(12, dtype=np.uint8).reshape(4, 1, 1, 3)
        >>> [batch.flatten().tolist() for batch in evaluation_images(images, [np.array([3, 0])], torch.device("cpu"))]
        [[9, 10, 11, 0, 1, 2]]
    """
    if not batches:
        return
    if resident is not None and resident.holds(rows := np.concatenate(batches)):
        pad_px = (resident.pixels.shape[1] - images.shape[1]) // 2
        centres = resident.windows(pad_px)[:, pad_px, pad_px]
        for places in torch.split(upload(resident.places(rows), device), [len(batch) for batch in batches]):
            yield centres[places]
    elif device.type == "cpu":
        for batch in batches:
            yield torch.from_numpy(images[batch])
    else:
        yield from _streamed(images, batches, device)


def _streamed(images: ImageArray, batches: Sequence[np.ndarray], device: torch.device) -> Iterator[Tensor]:
    shape, n_threads = images.shape[1:], torch.get_num_threads()

    def gathered(rows: np.ndarray) -> Tensor:
        block = empty_bytes(len(rows) * math.prod(shape), device).view(len(rows), *shape)
        if isinstance(images, JpegImages):
            images.read(rows, block.numpy(), n_threads=n_threads)
        else:
            assert isinstance(images, np.ndarray)
            np.take(images, rows, axis=0, out=block.numpy(), mode="clip")  # mode "raise" would make another copy
        return block

    for block in computed_ahead(gathered, batches):
        yield block.to(device, non_blocking=True)
