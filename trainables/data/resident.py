"""Training images in the memory of a GPU: copied once per process, and shared by its trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

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


_held: dict[torch.device, tuple[np.ndarray, ResidentImages]] = {}
"""For each device the images that it holds, with the array that they were copied from."""


def hold_images(padded: np.ndarray, rows: np.ndarray, device: torch.device) -> ResidentImages | None:
    """Return images in the memory of a device; copy them unless a trial of this process has done so.

    If more than half of the images are needed, all are held, so that trials with other splits share them. A device
    holds the images of one data set: those of the previous one are released first.

    Args:
        padded: uint8 [N, H + 2 pad_px, W + 2 pad_px, C].
        rows: rows that the trial needs, int64.
        device: device of the trial.

    Returns:
        The images; None on a CPU, which reads the memory-mapped files, and if the memory of the device has no room for
        them: they must then be streamed. The values are the same.
    """
    if device.type == "cpu":
        return None
    source, resident = _held.get(device, (None, None))
    if resident is not None and source is padded and resident.holds(rows):
        return resident
    del resident
    _held.pop(device, None)
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
        _held[device] = padded, copied
        return copied
    return None


def release_images() -> None:
    """Release the images that this process holds on its devices, after the trials that use them have ended."""
    _held.clear()


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


def describe_images(resident: ResidentImages | None, device: torch.device) -> str:
    """Return where a trial on a device reads its images from, as a sentence.

    Examples:
        >>> describe_images(None, torch.device("cpu"))
        'the images are read from memory-mapped files'
    """
    if device.type == "cpu":
        return "the images are read from memory-mapped files"
    if resident is None:
        return f"the images do not fit in the memory of {device}: their batches are streamed"
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
