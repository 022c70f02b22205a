"""Training images in the memory of a GPU: copied once per process, and shared by its trials."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from trainables.data.image_set import ImageArray
from trainables.data.jpegs.images import JpegImages
from trainables.data.windows import windows_of
from trainables.units import format_bytes

RESIDENT_FRAC = 0.5
"""Largest fraction of the free memory that the images may take; networks and their feature maps need the rest."""

_COPY_BYTES = 1 << 26
"""Size of the parts in which images are copied to a device: the host keeps no second copy of all of them."""


@dataclass(frozen=True, eq=False)
class ResidentImages:
    """Images of a data set in the memory of a device.

    Attributes:
        pixels: the images with their border, uint8 [n, H + 2 pad_px, W + 2 pad_px, C].
        rows: rows of the data set that are held, int64 [n], rising; None: all.
    """

    pixels: Tensor
    rows: np.ndarray | None

    @property
    def n_bytes(self) -> int:
        """Size of the images in bytes."""
        return self.pixels.numel()

    def holds(self, rows: np.ndarray) -> bool:
        """Return whether all of these rows of the data set are held."""
        if self.rows is None or not len(rows):
            return True
        nearest = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return bool((self.rows[nearest] == rows).all())

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return the index into ``pixels`` of each row of the data set, int64; the rows must be held.

        Examples:
            >>> held = ResidentImages(torch.zeros(2, 1, 1, 3, dtype=torch.uint8), np.array([4, 7]))
            >>> held.places(np.array([7, 4])), held.holds(np.array([5]))
            (array([1, 0]), False)
        """
        return rows if self.rows is None else np.searchsorted(self.rows, rows)

    def windows(self, pad_px: int) -> Tensor:
        """Return a view of all crops: uint8 [n, 2 pad_px + 1, 2 pad_px + 1, H, W, C]."""
        return windows_of(self.pixels, pad_px)


@dataclass
class _Process:
    """State of this process.

    Attributes:
        held: for each device the images that it holds, with the array that they were copied from.
        streams: whether no images are held, see :func:`set_streaming`.
    """

    held: dict[torch.device, tuple[np.ndarray, ResidentImages]] = field(default_factory=dict)
    streams: bool = False


_process = _Process()


def set_streaming(always: bool) -> None:
    """Set whether trials that are built from now on leave the memory of a GPU to their network, and stream images.

    A trial that ran out of memory may fit then. The values are the same.

    Examples:
        >>> set_streaming(True)
        >>> hold_images(np.zeros((2, 4, 4, 3), np.uint8), np.arange(2), torch.device("meta")) is None
        True
        >>> set_streaming(False)
    """
    _process.streams = always


def hold_images(padded: ImageArray, rows: np.ndarray, device: torch.device) -> ResidentImages | None:
    """Return images in the memory of a device; copy them unless a trial of this process has done so.

    If more than half of the images are needed, all are held, so that trials with other splits share them. A device
    holds the images of one data set: those of the previous one are released first.

    Args:
        padded: uint8 [N, H + 2 pad_px, W + 2 pad_px, C]; JPEGs are always streamed.
        rows: rows that the trial needs, int64.
        device: device of the trial.

    Returns:
        The images; None on a CPU, which reads the memory-mapped files, and if the device has no room for them, or
        leaves it to the network (:func:`set_streaming`): they must then be streamed. The values are the same.
    """
    if device.type == "cpu" or not isinstance(padded, np.ndarray):
        return None
    source, resident = _process.held.get(device, (None, None))
    if resident is not None and source is padded and resident.holds(rows) and not _process.streams:
        return resident
    del resident
    _process.held.pop(device, None)
    if _process.streams:
        return None
    needed = np.unique(rows)
    n_bytes, room = padded[:1].nbytes, room_bytes(device)
    choices: list[np.ndarray | None] = [None, needed] if 2 * len(needed) > len(padded) else [needed]
    for kept in choices:
        if n_bytes * (len(padded) if kept is None else len(kept)) > room:
            continue
        try:
            copied = ResidentImages(_copied(padded, kept, device), kept)
        except torch.OutOfMemoryError:  # another process has taken the memory meanwhile
            torch.cuda.empty_cache()
            continue
        _process.held[device] = padded, copied
        return copied
    return None


def release_images() -> None:
    """Release the images that this process holds on its devices, after the trials that use them have ended."""
    _process.held.clear()


def room_bytes(device: torch.device) -> float:
    """Return how much of a device's memory images may take now, in bytes; without limit if it cannot be asked.

    The limit of this process counts too, see ``torch.cuda.set_per_process_memory_fraction``.
    """
    if device.type != "cuda" or not torch.cuda.is_available():
        return float("inf")
    free, total = torch.cuda.mem_get_info(device)
    used = torch.cuda.memory_allocated(device)
    unused = torch.cuda.memory_reserved(device) - used
    return RESIDENT_FRAC * min(free + unused, torch.cuda.get_per_process_memory_fraction(device) * total - used)


def describe_images(padded: ImageArray, resident: ResidentImages | None, device: torch.device) -> str:
    """Return where a trial on a device reads its images from, as a sentence.

    Args:
        padded: as for :func:`hold_images`.
        resident: what it returned.
        device: device of the trial.

    Examples:
        >>> describe_images(np.zeros((2, 4, 4, 3), np.uint8), None, torch.device("cpu"))
        'the images are read from memory-mapped files'
    """
    if isinstance(padded, JpegImages):
        return f"the images are decoded from JPEGs ({format_bytes(padded.n_bytes)}, memory-mapped) for each batch"
    if device.type == "cpu":
        return "the images are read from memory-mapped files"
    if resident is None:
        reason = "leave the network the memory" if _process.streams else "do not fit in the memory"
        return f"the images {reason} of {device}: their batches are streamed"
    size = format_bytes(resident.n_bytes)
    return f"the images are in the memory of {device} ({size}), for all trials of this process"


def _copied(padded: np.ndarray, rows: np.ndarray | None, device: torch.device) -> Tensor:
    count = len(padded) if rows is None else len(rows)
    pixels = torch.empty((count, *padded.shape[1:]), dtype=torch.uint8, device=device)
    step = max(1, _COPY_BYTES // max(1, padded[:1].nbytes))
    for start in range(0, count, step):
        part = slice(start, start + step)
        pixels[part] = torch.from_numpy(np.array(padded[part if rows is None else rows[part]])).to(device)
    return pixels
